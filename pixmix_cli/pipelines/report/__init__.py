"""report: a page about sets of pictures."""
