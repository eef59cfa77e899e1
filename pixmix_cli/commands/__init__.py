"""One click command a file: parse, build the config, hand over to a pipeline."""
