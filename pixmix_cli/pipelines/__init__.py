"""The work behind each command: plan, run, store. Yields records; knows no terminal."""
