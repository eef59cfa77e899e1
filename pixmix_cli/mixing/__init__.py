"""PixMix on arrays: draw what will happen (a record), then do it (pixels)."""
