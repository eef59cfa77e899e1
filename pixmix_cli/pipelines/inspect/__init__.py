"""inspect: what pictures and sets of them measure."""
