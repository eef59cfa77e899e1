"""PixMix's arithmetic as compiled kernels: arrays in, the caller's arrays out."""
