"""The pixmix command line: PixMix mixing sets and baked datasets."""

__version__ = "0.1.0"
