"""The sources: what datasets and mixing sets are read from, whatever their kind."""
