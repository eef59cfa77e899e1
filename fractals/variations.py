"""The variations of fractal flames, one row each: kernel, share, parameters.

To add one, write its kernel in `fractals.kernels.variations` and its row here. Both at the end: a
recipe names variations, but a kernel knows them by their places.

source  Draves & Reckase (2003), appendix
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fractals.draws import integer, pick, uniform
from fractals.elementary import PI, cosine, sine
from fractals.kernels import variations as kernels

__all__ = ["SHARES", "VARIATIONS", "Variation"]

Draw = Callable[[np.random.Generator], list[float]]
Pack = Callable[[list[float], list[float]], list[float]]


@dataclass(frozen=True, slots=True)
class Variation:
    """One variation.

    kernel      of `fractals.kernels.variations`; its name is the variation's
    share       how often it is drawn, beside the others' shares
    parameters  how many its recipe carries
    draw        a random choice of them
    pack        the kernel's p0, p1, ... from them and the map's affine part, where they differ.
                The dependent variations of Draves & Reckase (2003) take coefficients of the affine
                part: x' = a x + b y + c, y' = d x + e y + f. Those that divide by one hold it away
                from 0
    """

    kernel: Any
    share: float
    parameters: int = 0
    draw: Draw = lambda rng: []
    pack: Pack = lambda parameters, affine: parameters

    @property
    def name(self) -> str:
        """What recipes call it."""
        name: str = self.kernel.__name__
        return name

    @property
    def number(self) -> int:
        """What the compiled kernel calls it."""
        return kernels.ORDER.index(self.name)

    def packed(self, parameters: list[float], affine: list[float]) -> list[float]:
        """The kernel's four numbers.

        parameters  the recipe's
        affine      the map's a to f
        """
        return [*self.pack(parameters, affine), 0.0, 0.0, 0.0, 0.0][:4]


def _uniforms(count: int, low: float, high: float) -> Draw:
    return lambda rng: [uniform(rng, low, high) for _ in range(count)]


def _draw_root(rng: np.random.Generator) -> list[float]:
    order = pick(rng, (2, 3, 3, 4, 5, 6, -2, -3))
    return [float(order), uniform(rng, 0.7, 1.2)]


def _pack_root(parameters: list[float], affine: list[float]) -> list[float]:
    return [parameters[0], parameters[1] / parameters[0]]


def _draw_blob(rng: np.random.Generator) -> list[float]:
    return [uniform(rng, 0.7, 1.3), uniform(rng, 0.1, 0.6), float(integer(rng, 2, 8))]


def _pack_waves(parameters: list[float], affine: list[float]) -> list[float]:
    _, b, c, _, e, f = affine
    return [b, 1.0 / max(c * c, 0.01), e, 1.0 / max(f * f, 0.01)]


def _pack_popcorn(parameters: list[float], affine: list[float]) -> list[float]:
    return [affine[2], affine[5]]


def _pack_rings(parameters: list[float], affine: list[float]) -> list[float]:
    return [max(affine[2] * affine[2], 0.01)]


def _pack_fan(parameters: list[float], affine: list[float]) -> list[float]:
    return [PI * max(affine[2] * affine[2], 0.01), affine[5]]


def _draw_perspective(rng: np.random.Generator) -> list[float]:
    return [uniform(rng, 0.2, 1.2), uniform(rng, 1.5, 3.0)]


def _pack_perspective(parameters: list[float], affine: list[float]) -> list[float]:
    return [sine(parameters[0]), cosine(parameters[0]), parameters[1]]


def _draw_curl(rng: np.random.Generator) -> list[float]:
    return [uniform(rng, -0.8, 0.8), uniform(rng, -0.6, 0.6)]


# The shares follow what the contact sheets showed: those that fold the plane into broad sheets more
# often than those that make points or thin rays.
_ROWS = (
    Variation(kernels.linear, 3.0),
    Variation(kernels.sinusoidal, 2.0),
    Variation(kernels.spherical, 3.0),
    Variation(kernels.swirl, 2.0),
    Variation(kernels.horseshoe, 1.5),
    Variation(kernels.polar, 1.5),
    Variation(kernels.handkerchief, 1.0),
    Variation(kernels.heart, 1.0),
    Variation(kernels.disc, 1.5),
    Variation(kernels.spiral, 0.7),
    Variation(kernels.hyperbolic, 0.5),
    Variation(kernels.diamond, 1.0),
    Variation(kernels.ex, 0.7),
    Variation(kernels.julia, 3.0),
    Variation(kernels.bent, 1.0),
    Variation(kernels.waves, 1.0, pack=_pack_waves),
    Variation(kernels.fisheye, 0.8),
    Variation(kernels.popcorn, 0.7, pack=_pack_popcorn),
    Variation(kernels.exponential, 0.7),
    Variation(kernels.power, 0.7),
    Variation(kernels.cosine, 0.5),
    Variation(kernels.rings, 1.0, pack=_pack_rings),
    Variation(kernels.fan, 1.0, pack=_pack_fan),
    Variation(kernels.blob, 1.2, 3, _draw_blob),
    Variation(kernels.pdj, 1.5, 4, _uniforms(4, -2.5, 2.5)),
    Variation(kernels.eyefish, 1.2),
    Variation(kernels.bubble, 1.5),
    Variation(kernels.cylinder, 1.0),
    Variation(kernels.perspective, 0.6, 2, _draw_perspective, _pack_perspective),
    Variation(kernels.julian, 2.0, 2, _draw_root, _pack_root),
    Variation(kernels.juliascope, 2.0, 2, _draw_root, _pack_root),
    Variation(kernels.curl, 1.5, 2, _draw_curl),
    Variation(kernels.rectangles, 0.6, 2, _uniforms(2, 0.15, 0.8)),
    Variation(kernels.cross, 0.4),
)
VARIATIONS = {variation.name: variation for variation in _ROWS}
SHARES = tuple((variation.name, variation.share) for variation in _ROWS)
