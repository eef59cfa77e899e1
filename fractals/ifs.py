"""Affine iterated function systems: how they are drawn, and packed for the kernels.

A map is {"affine": [a, b, c, d, e, f], "weight": p, "color": q}: x' = a x + b y + c,
y' = d x + e y + f, chosen with probability p; colours along the orbit move to q.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fractals.draws import chance, integer, pick, shuffled, uniform, weighted
from fractals.elementary import PI, cosine, sine
from fractals.recipe_types import AffineGenome, AffineMap

__all__ = [
    "MAX_MAPS",
    "MAX_SYMMETRIES",
    "TABLE_SIZE",
    "choice_table",
    "conjugate",
    "draw_ifs",
    "draw_singular_values",
    "pack_ifs",
    "symmetries",
]

F64 = NDArray[np.float64]

MAX_MAPS = 64  # of a recipe; and maps times symmetries must fit a byte
MAX_SYMMETRIES = 12
TABLE_SIZE = 4096
# A map with a larger singular value is hardly contractive: its orbit leaves the frame first.
MAX_SINGULAR_VALUE = 0.96
# Probability in proportion to the area a map covers starves maps that are nearly singular.
MIN_PROBABILITY = 0.01


def draw_singular_values(rng: np.random.Generator, maps: int) -> list[tuple[float, float]]:
    """Two singular values for each map, so that the whole is neither dust nor a blob.

    maps     2..8
    returns  [(s1, s2), ...] with 0 <= s2 <= s1 <= MAX_SINGULAR_VALUE
    source   Anderson & Farrell (2022), section 3.1: sum of s1 + 2 s2 between (5 + n) / 2 and
             (6 + n) / 2
    """
    target = uniform(rng, 0.5 * (5 + maps), 0.5 * (6 + maps))
    first = [float(rng.random()) for _ in range(maps)]
    pairs = [(s, s * float(rng.random())) for s in first]
    total = sum(s1 + 2.0 * s2 for s1, s2 in pairs)
    # towards 0 or towards 1, linearly: the order of the two values and the range are kept
    if total >= target:
        q = target / total
        pairs = [(s1 * q, s2 * q) for s1, s2 in pairs]
    else:
        q = (3.0 * maps - target) / (3.0 * maps - total)
        pairs = [(1.0 - (1.0 - s1) * q, 1.0 - (1.0 - s2) * q) for s1, s2 in pairs]
    top = MAX_SINGULAR_VALUE
    return [(min(s1, top), min(s2, top)) for s1, s2 in pairs]


def _rotation(angle: float) -> tuple[float, float, float, float]:
    c, s = cosine(angle), sine(angle)
    return c, -s, s, c


def _product(
    p: tuple[float, float, float, float], q: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    return (
        p[0] * q[0] + p[1] * q[2],
        p[0] * q[1] + p[1] * q[3],
        p[2] * q[0] + p[3] * q[2],
        p[2] * q[1] + p[3] * q[3],
    )


def linear_part(s1: float, s2: float, theta: float, phi: float, flip: float) -> list[float]:
    """[a, b, d, e] of rotation(theta) diag(s1, flip s2) rotation(phi)."""
    left = _rotation(theta)
    right = _rotation(phi)
    scaled = (left[0] * s1, left[1] * s2 * flip, left[2] * s1, left[3] * s2 * flip)
    return list(_product(scaled, right))


def draw_ifs(rng: np.random.Generator) -> AffineGenome:
    """The maps of a random contractive affine IFS.

    returns  {"maps": [...], "final": None, "symmetry": {"order": k, "mirror": bool}}
    """
    order = weighted(rng, [(1, 0.72), (2, 0.07), (3, 0.07), (4, 0.05), (5, 0.05), (6, 0.04)])
    mirror = chance(rng, 0.35 if order > 1 else 0.06)
    # with symmetries few maps already fill the plane
    count = integer(rng, 2, 3) if order > 1 else integer(rng, 2, 6)
    spread = uniform(rng, 0.6, 1.1)
    values = draw_singular_values(rng, count)
    colors = shuffled(rng, [k / (count - 1) for k in range(count)])
    maps: list[AffineMap] = []
    areas = []
    for k in range(count):
        a, b, d, e = linear_part(
            values[k][0],
            values[k][1],
            uniform(rng, -PI, PI),
            uniform(rng, -PI, PI),
            pick(rng, (1.0, 1.0, -1.0)),
        )
        c, f = uniform(rng, -spread, spread), uniform(rng, -spread, spread)
        maps.append(
            {
                "affine": [round(v, 6) for v in (a, b, c, d, e, f)],
                "color": round(colors[k], 4),
                "weight": 0.0,  # settled below, by the areas of all
            }
        )
        areas.append(abs(a * e - b * d))
    floor = MIN_PROBABILITY * max(sum(areas), 1e-6) + 1e-9
    weights = [max(area, floor) for area in areas]
    total = sum(weights)
    for one, weight in zip(maps, weights, strict=True):
        one["weight"] = round(weight / total, 6)
    return {"maps": maps, "final": None, "symmetry": {"order": order, "mirror": mirror}}


def symmetries(order: int, mirror: bool) -> list[tuple[float, float, float, float]]:
    """The rotations, and with mirror the reflections, of a regular polygon, as 2x2 matrices."""
    out = [_rotation(2.0 * PI * k / order) if k else (1.0, 0.0, 0.0, 1.0) for k in range(order)]
    if mirror:
        out += [(-m[0], m[1], -m[2], m[3]) for m in out]
    return out


def conjugate(affine: F64, frame: F64) -> F64:
    """The map seen in pixels: frame, after the map, after the frame's inverse.

    affine   (6,) float64
    frame    (6,) float64, a similarity from map coordinates to pixels
    returns  (6,) float64
    """
    a, b, c, d, e, f = (float(v) for v in affine)
    p, q, r, s, t, u = (float(v) for v in frame)
    det = p * t - q * s
    ip, iq, js, jt = t / det, -q / det, -s / det, p / det
    # linear part: F M F^-1
    m = _product((p, q, s, t), _product((a, b, d, e), (ip, iq, js, jt)))
    cx = p * c + q * f + r
    cy = s * c + t * f + u
    return np.array(
        [
            m[0],
            m[1],
            cx - (m[0] * r + m[1] * u),
            m[2],
            m[3],
            cy - (m[2] * r + m[3] * u),
        ]
    )


def choice_table(weights: list[float]) -> NDArray[np.uint8]:
    """Which map for each of 4,096 equally likely numbers; every map gets one at least.

    weights  n positive numbers, n <= 256
    returns  (4096,) uint8, not decreasing
    """
    total = sum(weights)
    free = TABLE_SIZE - len(weights)
    bounds = [0]
    running = 0.0
    for k, weight in enumerate(weights):
        running += weight
        bounds.append(k + 1 + math.floor(free * min(running / total, 1.0) + 0.5))
    bounds[-1] = TABLE_SIZE
    table = np.empty(TABLE_SIZE, np.uint8)
    for k in range(len(weights)):
        table[bounds[k] : bounds[k + 1]] = k
    return table


def pack_ifs(layer: AffineGenome, frame: F64) -> tuple[F64, NDArray[np.uint64], NDArray[np.uint8]]:
    """Arrays for the affine kernels: every map, times every symmetry, in pixel coordinates.

    layer    with "maps" and "symmetry", checked
    frame    (6,) float64, similarity from map coordinates to pixels
    returns  maps (n, 6) float64, colors (n,) uint64: one point's cell, 1 << 40 | 16-bit colour,
             table (4096,) uint8
    """
    group = symmetries(layer["symmetry"]["order"], layer["symmetry"]["mirror"])
    maps = []
    colors = []
    weights = []
    for one in layer["maps"]:
        a, b, c, d, e, f = one["affine"]
        for g in group:
            m = _product(g, (a, b, d, e))
            x, y = g[0] * c + g[1] * f, g[2] * c + g[3] * f
            maps.append(conjugate(np.array([m[0], m[1], x, m[2], m[3], y]), frame))
            colors.append((1 << 40) + math.floor(one["color"] * 65535.0 + 0.5))
            weights.append(one["weight"] / len(group))
    return np.array(maps), np.array(colors, np.uint64), choice_table(weights)
