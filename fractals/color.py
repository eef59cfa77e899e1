"""Palettes and grounds, drawn in OKLab so that equal steps look equal.

A palette is a list of OKLab points [L, a, b]; a ground is a few such colours and a shape.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fractals.draws import chance, integer, pick, shuffled, uniform, weighted
from fractals.elementary import PI, cosine, power, sine
from fractals.kernels.exposure import ENCODE_STEPS, mix_palette
from fractals.kernels.ground import paint_ground
from fractals.recipe_types import Ground

__all__ = [
    "GROUND_SHAPES",
    "GROUND_SIZE",
    "draw_ground",
    "draw_palette",
    "ground_planes",
    "palette_planes",
]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

GROUND_SIZE = 128
GROUND_SHAPES = ("flat", "linear", "radial", "bands", "rings")


@lru_cache(maxsize=1)
def _encode_table() -> F64:
    # sRGB's transfer function over the square root of linear light, where it is nearly straight
    values = []
    for k in range(ENCODE_STEPS + 2):
        linear = (k / ENCODE_STEPS) * (k / ENCODE_STEPS)
        if linear <= 0.0031308:
            values.append(12.92 * linear)
        else:
            values.append(1.055 * power(linear, 1.0 / 2.4) - 0.055)
    return np.array(values)


def _shown(u: float, v: float, w: float) -> bool:
    # whether linear cone responses are a colour of sRGB
    return (
        0.0 <= 4.0767416621 * u - 3.3077115913 * v + 0.2309699292 * w <= 1.0
        and 0.0 <= -1.2684380046 * u + 2.6097574011 * v - 0.3413193965 * w <= 1.0
        and 0.0 <= -0.0041960863 * u - 0.7034186147 * v + 1.7076147010 * w <= 1.0
    )


def oklch_point(lightness: float, saturation: float, hue: float) -> list[float]:
    """[L, a, b] at a share of the largest chroma that sRGB can show there.

    lightness   0..1
    saturation  0..1 of the largest chroma in the gamut
    hue         turns, any number
    """
    angle = 2.0 * PI * hue
    ca, sa = cosine(angle), sine(angle)
    low, high = 0.0, 0.4
    # what a step of chroma adds to the three cone responses
    du = 0.3963377774 * ca + 0.2158037573 * sa
    dv = -0.1055613458 * ca - 0.0638541728 * sa
    dw = -0.0894841775 * ca - 1.2914855480 * sa
    for _ in range(9):
        middle = 0.5 * (low + high)
        u, v, w = lightness + middle * du, lightness + middle * dv, lightness + middle * dw
        if _shown(u * u * u, v * v * v, w * w * w):
            low = middle
        else:
            high = middle
    chroma = low * saturation
    return [round(lightness, 4), round(chroma * ca, 4), round(chroma * sa, 4)]


def draw_palette(rng: np.random.Generator, hue: float) -> list[list[float]]:
    """Four to seven OKLab colours, light and dark in turn, so that the palette alone has contrast.

    hue      in turns, where the palette starts
    returns  [[L, a, b], ...]
    """
    count = integer(rng, 4, 7)
    scheme = weighted(rng, [("wheel", 0.45), ("opposites", 0.25), ("triad", 0.3)])
    if scheme == "wheel":
        span = uniform(rng, 0.35, 1.0) * pick(rng, (1.0, -1.0))
        hues = [hue + span * k / (count - 1) for k in range(count)]
    elif scheme == "opposites":
        hues = [hue + 0.5 * (k % 2) + uniform(rng, -0.09, 0.09) for k in range(count)]
    else:
        hues = [hue + (k % 3) / 3.0 + uniform(rng, -0.06, 0.06) for k in range(count)]
    if chance(rng, 0.3):
        hues = shuffled(rng, hues)
    dark_first = chance(rng, 0.5)
    points = []
    for k in range(count):
        dark = (k % 2 == 0) == dark_first
        lightness = uniform(rng, 0.34, 0.55) if dark else uniform(rng, 0.66, 0.86)
        points.append(oklch_point(lightness, uniform(rng, 0.85, 1.0), hues[k]))
    return points


def palette_planes(points: list[list[float]], entries: int) -> F32:
    """A palette as a table of colours; it is kept, so it is read-only.

    points   n OKLab colours, evenly spaced from 0 to 1, joined by smooth steps
    entries  length of the table, >= 2
    returns  (3, entries) float32 sRGB in [0, 1], error below 1e-4; colours outside the gamut are
             held to its faces
    """
    return _planes(tuple(map(tuple, points)), entries)


@lru_cache(maxsize=16)
def _planes(points: tuple[tuple[float, ...], ...], entries: int) -> F32:
    # kept, because a picture is first made small, to be checked, with the same palettes
    table = np.empty((3, entries), np.float32)
    mix_palette(np.array(points, np.float64), _encode_table(), table)
    return table


def draw_ground(rng: np.random.Generator, hue: float) -> Ground:
    """What lies behind the layers: a shape and two or three OKLab colours.

    hue      in turns, a hue of the main layer: the ground takes another
    returns  {"shape", "colors", "angle" in turns, "center": [x, y] in [0, 1], "repeats"}
    """
    shape = weighted(
        rng, [("flat", 0.1), ("linear", 0.4), ("radial", 0.38), ("bands", 0.06), ("rings", 0.06)]
    )
    base = hue + pick(rng, (0.5, 0.33, -0.33, 0.42, 0.1))
    if shape == "flat":
        levels = [uniform(rng, 0.0, 0.22)]
    else:
        levels = [uniform(rng, 0.05, 0.25), uniform(rng, 0.3, 0.75)]
        if chance(rng, 0.4):
            levels.append(uniform(rng, 0.1, 0.85))
        levels = shuffled(rng, levels)
    colors = [
        oklch_point(level, uniform(rng, 0.6, 1.0), base + uniform(rng, -0.14, 0.14))
        for level in levels
    ]
    return {
        "shape": shape,
        "colors": colors,
        "angle": uniform(rng, 0.0, 1.0),
        "center": [uniform(rng, 0.1, 0.9), uniform(rng, 0.1, 0.9)],
        "repeats": uniform(rng, 0.8, 1.8),
    }


def ground_planes(ground: Ground) -> F32:
    """The ground at its own small size; it is enlarged to the picture's.

    returns  (3, 128, 128) float32 sRGB in [0, 1]
    """
    angle = 2.0 * PI * ground["angle"]
    colors = [*ground["colors"], ground["colors"][-1]][: max(2, len(ground["colors"]))]
    numbers = np.array([*ground["center"], cosine(angle), sine(angle), ground["repeats"]])
    picture = np.empty((3, GROUND_SIZE, GROUND_SIZE), np.float32)
    paint_ground(
        ground["shape"] in ("linear", "bands"),
        ground["shape"] in ("bands", "rings"),
        numbers,
        palette_planes(colors, 257),
        picture,
    )
    return picture
