"""The pixmix command line: PixMix mixing sets and baked datasets."""

from pixmix_kernels import __version__ as __version__
