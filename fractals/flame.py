"""Fractal flames: how a genome is drawn, and how it is packed for the kernel.

A map of a flame is an affine part, a weighted sum of variations, and a post transform:
{"affine": [6], "variations": [[name, weight, [parameters]]], "post": [6] or None, "weight": p,
"color": q, "speed": s}. Formulas: Draves & Reckase (2003), appendix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractals.draws import chance, integer, pick, shuffled, uniform, weighted
from fractals.elementary import PI
from fractals.ifs import linear_part, symmetries
from fractals.recipe_types import FlameGenome, FlameMap, Transform
from fractals.variations import SHARES, VARIATIONS

__all__ = ["MAX_VARIATIONS", "draw_flame", "pack_flame"]

MAX_VARIATIONS = 3  # a map
MIN_PROBABILITY = 0.01

_IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def _draw_affine(rng: np.random.Generator) -> list[float]:
    # singular values around one half to one: variations stretch and fold, the affine part
    # should neither collapse nor throw away
    s1 = uniform(rng, 0.5, 1.15)
    s2 = s1 * uniform(rng, 0.35, 1.0)
    flip = pick(rng, (1.0, 1.0, -1.0))
    a, b, d, e = linear_part(s1, s2, uniform(rng, -PI, PI), uniform(rng, -PI, PI), flip)
    c, f = uniform(rng, -0.9, 0.9), uniform(rng, -0.9, 0.9)
    return [round(v, 5) for v in (a, b, c, d, e, f)]


def _draw_variations(rng: np.random.Generator, house: str | None) -> list[list[Any]]:
    count = weighted(rng, [(1, 0.55), (2, 0.35), (3, 0.1)])
    names: list[str] = []
    if house is not None:
        names.append(house)
    while len(names) < count:
        name = weighted(rng, SHARES)
        if name not in names:
            names.append(name)
    raw = [uniform(rng, 0.3, 1.0) for _ in names]
    total = sum(raw)
    return [
        [name, round(w / total, 4), VARIATIONS[name].draw(rng)]
        for name, w in zip(names, raw, strict=True)
    ]


def _draw_post(rng: np.random.Generator) -> list[float]:
    s = uniform(rng, 0.6, 1.1)
    a, b, d, e = linear_part(s, s * uniform(rng, 0.6, 1.0), uniform(rng, -PI, PI), 0.0, 1.0)
    c, f = uniform(rng, -0.7, 0.7), uniform(rng, -0.7, 0.7)
    return [round(v, 5) for v in (a, b, c, d, e, f)]


def draw_flame(rng: np.random.Generator) -> FlameGenome:
    """A random flame genome.

    returns  {"maps": [...], "final": map or None, "symmetry": {"order": k, "mirror": bool}}
    """
    order = weighted(
        rng, [(1, 0.66), (2, 0.08), (3, 0.08), (4, 0.06), (5, 0.05), (6, 0.04), (8, 0.03)]
    )
    mirror = chance(rng, 0.4 if order > 1 else 0.08)
    count = integer(rng, 1, 3) if order > 2 else integer(rng, 2, 5)
    # a house variation shared by some maps gives the whole one character
    house = weighted(rng, SHARES) if chance(rng, 0.35) else None
    colors = shuffled(rng, [(k + 0.5) / count for k in range(count)])
    maps: list[FlameMap] = []
    for k in range(count):
        maps.append(
            {
                "affine": _draw_affine(rng),
                "variations": _draw_variations(rng, house if chance(rng, 0.6) else None),
                "post": _draw_post(rng) if chance(rng, 0.4) else None,
                "weight": uniform(rng, 0.25, 1.0),
                "color": round(colors[k], 4),
                "speed": uniform(rng, 0.35, 0.65),
            }
        )
    total = sum(one["weight"] for one in maps)
    for one in maps:
        one["weight"] = round(max(one["weight"] / total, MIN_PROBABILITY), 5)
    final: Transform | None = None
    if chance(rng, 0.3):
        final = {
            "affine": _draw_affine(rng),
            "variations": _draw_variations(rng, None)[:2],
            "post": None,
        }
    return {"maps": maps, "final": final, "symmetry": {"order": order, "mirror": mirror}}


def _fill_row(
    one: Transform,
    tint: tuple[float, float],
    group_element: tuple[float, float, float, float],
    row: NDArray[np.float32],
    numbers: NDArray[np.int32],
    arguments: NDArray[np.float32],
) -> None:
    row[:6] = one["affine"]
    a, b, c, d, e, f = one["post"] or _IDENTITY
    p, q, s, t = group_element
    row[6:12] = (
        p * a + q * d,
        p * b + q * e,
        p * c + q * f,
        s * a + t * d,
        s * b + t * e,
        s * c + t * f,
    )
    row[12:] = tint
    for j, (name, weight, parameters) in enumerate(one["variations"]):
        variation = VARIATIONS[name]
        numbers[j] = variation.number
        arguments[j, 0] = weight
        arguments[j, 1:] = variation.packed(parameters, one["affine"])


def pack_flame(
    layer: FlameGenome,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32], NDArray[np.float64]]:
    """Arrays for the flame kernel: every map times every symmetry, then the final transform.

    A symmetry is applied after the post transform, so that map and symmetry are one map of the
    kernel, and the picture is symmetric but for what a final transform does to it.

    layer    with "maps", "final" and "symmetry", checked
    returns  maps (n + 1, 14) float32, numbers (n + 1, 3) int32, arguments (n + 1, 3, 5) float32,
             bounds (n + 1,) float64
    """
    group = symmetries(layer["symmetry"]["order"], layer["symmetry"]["mirror"])
    n = len(layer["maps"]) * len(group)
    maps = np.zeros((n + 1, 14), np.float32)
    numbers = np.full((n + 1, MAX_VARIATIONS), -1, np.int32)
    arguments = np.zeros((n + 1, MAX_VARIATIONS, 5), np.float32)
    bounds = np.zeros(n + 1)
    total = sum(one["weight"] for one in layer["maps"])
    running = 0.0
    k = 0
    for one in layer["maps"]:
        for element in group:
            _fill_row(one, (one["color"], one["speed"]), element, maps[k], numbers[k], arguments[k])
            running += one["weight"] / total / len(group)
            k += 1
            bounds[k] = running
    bounds[n] = 1.0
    if layer["final"] is not None:
        _fill_row(
            layer["final"], (0.0, 0.0), (1.0, 0.0, 0.0, 1.0), maps[n], numbers[n], arguments[n]
        )
    return maps, numbers, arguments, bounds
