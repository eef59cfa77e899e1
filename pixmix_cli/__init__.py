"""The pixmix command line: PixMix mixing sets and baked datasets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pixmix_kernels import __version__ as __version__


def __getattr__(name: str) -> str:
    """The version, on first use: whether `pixmix_kernels` is ours is looked at before."""
    if name != "__version__":
        raise AttributeError(f"module 'pixmix_cli' has no attribute {name!r}")
    from pixmix_kernels import __version__

    return __version__
