"""PixMix on arrays: draw what will happen (a record), then do it (pixels).

The public names are loaded on first use (PEP 562): the settings need neither numpy nor numba.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pixmix_cli.mixing.config import PRESETS, PixMixConfig
    from pixmix_cli.mixing.draws import Draws, draw
    from pixmix_cli.mixing.mixer import Mixer

__all__ = ["PRESETS", "Draws", "Mixer", "PixMixConfig", "draw"]

_HOMES = {
    "PRESETS": "config",
    "Draws": "draws",
    "Mixer": "mixer",
    "PixMixConfig": "config",
    "draw": "draws",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
