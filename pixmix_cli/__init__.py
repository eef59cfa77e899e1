"""PixMix mixing sets and baked datasets: a command line, and what training loops use.

The names are loaded on first use (PEP 562): importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixmix_cli.datasets.baked import BakedDataset
    from pixmix_cli.datasets.replay import PixMixDataset
    from pixmix_cli.datasets.transform import PixMix
    from pixmix_kernels import __version__ as __version__

__all__ = ["BakedDataset", "PixMix", "PixMixDataset", "__version__"]

# The version too: whether `pixmix_kernels` is ours is looked at before it is imported.
_HOMES = {
    "BakedDataset": "pixmix_cli.datasets.baked",
    "PixMix": "pixmix_cli.datasets.transform",
    "PixMixDataset": "pixmix_cli.datasets.replay",
    "__version__": "pixmix_kernels",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
