"""An affine chaos game with colour as people usually write it with Numba: the peer of our kernel.

Points first, as float coordinates in one array; the map by comparing a random number with
cumulative probabilities; then the range of the points, and a histogram of counts and colours in a
second pass; then the logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from fractals.ifs import symmetries

F64 = NDArray[np.float64]


@njit(cache=True, fastmath=True)
def iterate(maps: F64, cumulative: F64, colors: F64, points: int) -> F64:
    """(points, 3) float64: x, y and the index of a colour averaged along the orbit."""
    out = np.empty((points, 3))
    x, y, c = 0.0, 0.0, 0.5
    for i in range(points):
        level = np.random.random()
        k = 0
        while k < len(cumulative) - 1 and cumulative[k] < level:
            k += 1
        x, y = (
            maps[k, 0] * x + maps[k, 1] * y + maps[k, 2],
            maps[k, 3] * x + maps[k, 4] * y + maps[k, 5],
        )
        c = 0.5 * (c + colors[k])
        out[i, 0] = x
        out[i, 1] = y
        out[i, 2] = c
    return out


@njit(cache=True, fastmath=True)
def render(points: F64, left: float, top: float, scale: float, size: int) -> F64:
    """(size, size, 2) float64: counts and sums of colours."""
    out = np.zeros((size, size, 2))
    for i in range(len(points)):
        column = int((points[i, 0] - left) * scale)
        row = int((points[i, 1] - top) * scale)
        if 0 <= row < size and 0 <= column < size:
            out[row, column, 0] += 1.0
            out[row, column, 1] += points[i, 2]
    return out


def system(layer: Mapping[str, Any]) -> tuple[F64, F64, F64]:
    """Maps (n, 6), cumulative probabilities, colours of a recipe's layer, symmetries included."""
    group = symmetries(layer["symmetry"]["order"], layer["symmetry"]["mirror"])
    maps, weights, colors = [], [], []
    for one in layer["maps"]:
        a, b, c, d, e, f = one["affine"]
        for p, q, r, s in group:
            maps.append(
                [
                    p * a + q * d,
                    p * b + q * e,
                    p * c + q * f,
                    r * a + s * d,
                    r * b + s * e,
                    r * c + s * f,
                ]
            )
            weights.append(one["weight"])
            colors.append(one["color"])
    return np.array(maps), np.cumsum(weights) / np.sum(weights), np.array(colors)


def picture(maps: F64, cumulative: F64, colors: F64, points: int, size: int) -> NDArray[np.uint8]:
    """(size, size, 3) uint8."""
    orbit = iterate(maps, cumulative, colors, points)
    low, high = orbit[:, :2].min(axis=0), orbit[:, :2].max(axis=0)
    scale = (size - 1) / max(float((high - low).max()), 1e-9)
    cells = render(orbit, float(low[0]), float(low[1]), scale, size)
    counts = cells[..., 0]
    light = np.log1p(counts) / np.log1p(counts.max())
    hue = cells[..., 1] / np.maximum(counts, 1.0)
    palette = 0.5 + 0.5 * np.cos(2 * np.pi * (np.arange(256)[:, None] / 256 + np.arange(3) / 3))
    rgb = palette[(hue * 255).astype(np.int64)] * light[..., None]
    return (rgb * 255).astype(np.uint8)
