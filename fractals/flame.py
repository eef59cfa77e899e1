"""Fractal flames: the variations, how a genome is drawn, and how it is packed for the kernel.

A map of a flame is an affine part, a weighted sum of variations, and a post transform:
{"affine": [6], "variations": [[name, weight, [parameters]]], "post": [6] or None, "weight": p,
"color": q, "speed": s}. Formulas: Draves & Reckase (2003), appendix.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractals.draws import chance, integer, pick, shuffled, uniform, weighted
from fractals.elementary import PI, cosine, sine
from fractals.ifs import linear_part, symmetries

__all__ = [
    "MAX_VARIATIONS",
    "VARIATIONS",
    "draw_flame",
    "kernel_parameters",
    "pack_flame",
]

# name: how many parameters its recipe carries. The position is the number in the kernel.
VARIATIONS: dict[str, int] = {
    "linear": 0,
    "sinusoidal": 0,
    "spherical": 0,
    "swirl": 0,
    "horseshoe": 0,
    "polar": 0,
    "handkerchief": 0,
    "heart": 0,
    "disc": 0,
    "spiral": 0,
    "hyperbolic": 0,
    "diamond": 0,
    "ex": 0,
    "julia": 0,
    "bent": 0,
    "waves": 0,
    "fisheye": 0,
    "popcorn": 0,
    "exponential": 0,
    "power": 0,
    "cosine": 0,
    "rings": 0,
    "fan": 0,
    "blob": 3,
    "pdj": 4,
    "eyefish": 0,
    "bubble": 0,
    "cylinder": 0,
    "perspective": 2,
    "julian": 2,
    "juliascope": 2,
    "curl": 2,
    "rectangles": 2,
    "cross": 0,
}
_NUMBERS = {name: number for number, name in enumerate(VARIATIONS)}

MAX_VARIATIONS = 3  # a map
MIN_PROBABILITY = 0.01

# How often each is drawn. The shares follow what the contact sheets showed: those that fold the
# plane into broad sheets more often than those that make points or thin rays.
_SHARES: tuple[tuple[str, float], ...] = (
    ("linear", 3.0),
    ("sinusoidal", 2.0),
    ("spherical", 3.0),
    ("swirl", 2.0),
    ("horseshoe", 1.5),
    ("polar", 1.5),
    ("handkerchief", 1.0),
    ("heart", 1.0),
    ("disc", 1.5),
    ("spiral", 0.7),
    ("hyperbolic", 0.5),
    ("diamond", 1.0),
    ("ex", 0.7),
    ("julia", 3.0),
    ("bent", 1.0),
    ("waves", 1.0),
    ("fisheye", 0.8),
    ("popcorn", 0.7),
    ("exponential", 0.7),
    ("power", 0.7),
    ("cosine", 0.5),
    ("rings", 1.0),
    ("fan", 1.0),
    ("blob", 1.2),
    ("pdj", 1.5),
    ("eyefish", 1.2),
    ("bubble", 1.5),
    ("cylinder", 1.0),
    ("perspective", 0.6),
    ("julian", 2.0),
    ("juliascope", 2.0),
    ("curl", 1.5),
    ("rectangles", 0.6),
    ("cross", 0.4),
)

_IDENTITY = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]


def _draw_parameters(rng: np.random.Generator, name: str) -> list[float]:
    if name == "blob":
        return [uniform(rng, 0.7, 1.3), uniform(rng, 0.1, 0.6), float(integer(rng, 2, 8))]
    if name == "pdj":
        return [uniform(rng, -2.5, 2.5) for _ in range(4)]
    if name == "perspective":
        return [uniform(rng, 0.2, 1.2), uniform(rng, 1.5, 3.0)]
    if name in ("julian", "juliascope"):
        order = pick(rng, (2, 3, 3, 4, 5, 6, -2, -3))
        return [float(order), uniform(rng, 0.7, 1.2)]
    if name == "curl":
        return [uniform(rng, -0.8, 0.8), uniform(rng, -0.6, 0.6)]
    if name == "rectangles":
        return [uniform(rng, 0.15, 0.8), uniform(rng, 0.15, 0.8)]
    return []


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
        name = weighted(rng, _SHARES)
        if name not in names:
            names.append(name)
    raw = [uniform(rng, 0.3, 1.0) for _ in names]
    total = sum(raw)
    return [
        [name, round(w / total, 4), _draw_parameters(rng, name)]
        for name, w in zip(names, raw, strict=True)
    ]


def _draw_post(rng: np.random.Generator) -> list[float]:
    s = uniform(rng, 0.6, 1.1)
    a, b, d, e = linear_part(s, s * uniform(rng, 0.6, 1.0), uniform(rng, -PI, PI), 0.0, 1.0)
    c, f = uniform(rng, -0.7, 0.7), uniform(rng, -0.7, 0.7)
    return [round(v, 5) for v in (a, b, c, d, e, f)]


def draw_flame(rng: np.random.Generator) -> dict[str, Any]:
    """A random flame genome.

    returns  {"maps": [...], "final": map or None, "symmetry": {"order": k, "mirror": bool}}
    """
    order = weighted(
        rng, [(1, 0.66), (2, 0.08), (3, 0.08), (4, 0.06), (5, 0.05), (6, 0.04), (8, 0.03)]
    )
    mirror = chance(rng, 0.4 if order > 1 else 0.08)
    count = integer(rng, 1, 3) if order > 2 else integer(rng, 2, 5)
    # a house variation shared by some maps gives the whole one character
    house = weighted(rng, _SHARES) if chance(rng, 0.35) else None
    colors = shuffled(rng, [(k + 0.5) / count for k in range(count)])
    maps: list[dict[str, Any]] = []
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
    final = None
    if chance(rng, 0.3):
        final = {
            "affine": _draw_affine(rng),
            "variations": _draw_variations(rng, None)[:2],
            "post": None,
        }
    return {"maps": maps, "final": final, "symmetry": {"order": order, "mirror": mirror}}


def kernel_parameters(name: str, parameters: list[float], affine: list[float]) -> list[float]:
    """The four numbers the kernel wants, from the recipe's and from the affine part.

    The dependent variations of Draves & Reckase (2003) take coefficients of the affine part:
    x' = a x + b y + c, y' = d x + e y + f. Those that divide by one hold it away from 0.
    """
    _, b, c, _, e, f = affine
    if name == "waves":
        return [b, 1.0 / max(c * c, 0.01), e, 1.0 / max(f * f, 0.01)]
    if name == "popcorn":
        return [c, f, 0.0, 0.0]
    if name == "rings":
        return [max(c * c, 0.01), 0.0, 0.0, 0.0]
    if name == "fan":
        return [PI * max(c * c, 0.01), f, 0.0, 0.0]
    if name == "perspective":
        return [sine(parameters[0]), cosine(parameters[0]), parameters[1], 0.0]
    if name in ("julian", "juliascope"):
        return [parameters[0], parameters[1] / parameters[0], 0.0, 0.0]
    return [*parameters, 0.0, 0.0, 0.0, 0.0][:4]


def _fill_row(
    one: dict[str, Any],
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
    row[12] = one.get("color", 0.0)
    row[13] = one.get("speed", 0.0)
    for j, (name, weight, parameters) in enumerate(one["variations"]):
        numbers[j] = _NUMBERS[name]
        arguments[j, 0] = weight
        arguments[j, 1:] = kernel_parameters(name, parameters, one["affine"])


def pack_flame(
    layer: dict[str, Any],
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
            _fill_row(one, element, maps[k], numbers[k], arguments[k])
            running += one["weight"] / total / len(group)
            k += 1
            bounds[k] = running
    bounds[n] = 1.0
    if layer["final"] is not None:
        _fill_row(layer["final"], (1.0, 0.0, 0.0, 1.0), maps[n], numbers[n], arguments[n])
    return maps, numbers, arguments, bounds
