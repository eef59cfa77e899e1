"""Fractals for mixing sets: affine iterated function systems and fractal flames.

The public names are loaded on first use (PEP 562), so that importing the package, or its
configuration, imports neither numba nor the kernels.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__distribution__ = "pixmix"  # pixmix_cli looks for this line

if TYPE_CHECKING:
    from fractals.config import FractalConfig
    from fractals.errors import FractalError
    from fractals.generate import Fractal, generate_fractal, render_recipe, warm_up

__all__ = [
    "Fractal",
    "FractalConfig",
    "FractalError",
    "generate_fractal",
    "render_recipe",
    "warm_up",
]

_HOMES = {
    "Fractal": "fractals.generate",
    "FractalConfig": "fractals.config",
    "FractalError": "fractals.errors",
    "generate_fractal": "fractals.generate",
    "render_recipe": "fractals.generate",
    "warm_up": "fractals.generate",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'fractals' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOMES))
