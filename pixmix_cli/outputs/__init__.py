"""The outputs: what a run writes, its lock, journal and manifest, here or elsewhere."""
