"""Who runs the tasks: processes of this machine, or Ray."""
