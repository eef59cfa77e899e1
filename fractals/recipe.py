"""Checks that a recipe can be rendered, before anything is computed from it.

Recipes come back from files that people edit. Whatever is in one, the kernels must meet numbers
that are finite, and amounts that end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from fractals.color import GROUND_SHAPES
from fractals.config import check_points, check_size
from fractals.errors import FractalError
from fractals.flame import MAX_VARIATIONS
from fractals.ifs import MAX_MAPS, MAX_SYMMETRIES
from fractals.recipe_types import Recipe
from fractals.variations import VARIATIONS

__all__ = ["MAX_LAYERS", "RECIPE_VERSION", "check_recipe"]

RECIPE_VERSION = 1
MAX_LAYERS = 8
MAX_COLORS = 64
LIMIT = 1e4  # of a coefficient or coordinate: far beyond any attractor worth a picture


def _get(owner: Mapping[str, Any], name: str, where: str) -> Any:
    if name not in owner:
        raise FractalError(f"recipe: {where}{name} is missing: use a recipe as pixmix wrote it")
    return owner[name]


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FractalError(f"recipe: {where} is {_shown(value)}: it must be an object")
    return value


def _list(value: object, where: str, low: int, high: int) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise FractalError(f"recipe: {where} is {_shown(value)}: it must be a list")
    if not low <= len(value) <= high:
        amount = f"{low}" if low == high else f"{low} to {high}"
        raise FractalError(f"recipe: {where} has {len(value)} entries: it must have {amount}")
    return list(value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _number(value: object, where: str, low: float = -LIMIT, high: float = LIMIT) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise FractalError(f"recipe: {where} is {_shown(value)}: it must be a number")
    # the comparison also catches NaN and infinity
    if not low <= value <= high:
        raise FractalError(
            f"recipe: {where} is {_shown(value)}: it must be between {low:g} and {high:g}"
        )
    return float(value)


def _numbers(value: object, where: str, low: int, high: int) -> list[float]:
    entries = _list(value, where, low, high)
    return [_number(v, f"{where}[{k}]") for k, v in enumerate(entries)]


def _whole(value: object, where: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FractalError(
            f"recipe: {where} is {_shown(value)}: it must be a whole number, {low} to {high}"
        )
    return value


def _choice(value: object, where: str, choices: tuple[str, ...]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise FractalError(
            f"recipe: {where} is {_shown(value)}: it must be one of {', '.join(choices)}"
        )
    return value


def _colors(value: object, where: str, low: int) -> None:
    for k, point in enumerate(_list(value, where, low, MAX_COLORS)):
        lab = _list(point, f"{where}[{k}]", 3, 3)
        _number(lab[0], f"{where}[{k}] L", 0.0, 1.0)
        _number(lab[1], f"{where}[{k}] a", -0.5, 0.5)
        _number(lab[2], f"{where}[{k}] b", -0.5, 0.5)


def largest_singular_value(a: float, b: float, d: float, e: float) -> float:
    """Of the matrix ((a, b), (d, e)): below 1 where the map is contractive."""
    half = 0.5 * (a * a + b * b + d * d + e * e)
    det = a * e - b * d
    return math.sqrt(half + math.sqrt(max(half * half - det * det, 0.0)))


def _check_variations(one: Mapping[str, Any], where: str) -> None:
    entries = _list(_get(one, "variations", where), f"{where}variations", 1, MAX_VARIATIONS)
    for k, entry in enumerate(entries):
        place = f"{where}variations[{k}]"
        name, weight, parameters = _list(entry, place, 3, 3)
        if not isinstance(name, str) or name not in VARIATIONS:
            raise FractalError(
                f"recipe: {place} is {_shown(name)}: no such variation, this version knows "
                f"{len(VARIATIONS)}, from {next(iter(VARIATIONS))} to {list(VARIATIONS)[-1]}"
            )
        _number(weight, f"{place} weight")
        count = VARIATIONS[name].parameters
        _numbers(parameters, f"{place} parameters", count, count)
    _numbers(_get(one, "affine", where), f"{where}affine", 6, 6)
    if _get(one, "post", where) is not None:
        _numbers(one["post"], f"{where}post", 6, 6)


def _check_map(value: object, kind: str, where: str) -> None:
    one = _mapping(value, where.rstrip("."))
    _number(_get(one, "weight", where), f"{where}weight", 1e-6, 1e6)
    _number(_get(one, "color", where), f"{where}color", 0.0, 1.0)
    if kind == "flame":
        _number(_get(one, "speed", where), f"{where}speed", 0.0, 1.0)
        _check_variations(one, where)
        return
    a, b, _, d, e, _ = _numbers(_get(one, "affine", where), f"{where}affine", 6, 6)
    size = largest_singular_value(a, b, d, e)
    if not size < 1.0:
        raise FractalError(
            f"recipe: {where}affine stretches by {size:.3f}: an affine map must be contractive, "
            "scale it below 1"
        )


def _check_layer(value: object, where: str) -> None:
    layer = _mapping(value, where.rstrip("."))
    kind = _choice(_get(layer, "kind", where), f"{where}kind", ("affine", "flame"))
    maps = _list(_get(layer, "maps", where), f"{where}maps", 1, MAX_MAPS)
    for k, one in enumerate(maps):
        _check_map(one, kind, f"{where}maps[{k}].")
    symmetry = _mapping(_get(layer, "symmetry", where), f"{where}symmetry")
    place = f"{where}symmetry."
    order = _whole(_get(symmetry, "order", place), f"{place}order", 1, MAX_SYMMETRIES)
    mirror = _get(symmetry, "mirror", place)
    if not isinstance(mirror, bool):
        raise FractalError(f"recipe: {place}mirror is {_shown(mirror)}: it must be true or false")
    together = len(maps) * order * (2 if mirror else 1)
    if together > 256:
        raise FractalError(
            f"recipe: {where}maps times its symmetries are {together}: at most 256, "
            "take out maps or lower symmetry.order"
        )
    final = _get(layer, "final", where)
    if final is not None:
        if kind == "affine":
            raise FractalError(f"recipe: {where}final must be null for an affine layer")
        _check_variations(_mapping(final, f"{where}final"), f"{where}final.")
    _whole(_get(layer, "sampling_seed", where), f"{where}sampling_seed", 0, (1 << 53) - 1)

    frame = _mapping(_get(layer, "frame", where), f"{where}frame")
    _numbers(_get(frame, "center", f"{where}frame."), f"{where}frame.center", 2, 2)
    _number(_get(frame, "width", f"{where}frame."), f"{where}frame.width", 1e-4, LIMIT * 100.0)
    _number(_get(frame, "angle", f"{where}frame."), f"{where}frame.angle", -1.0, 1.0)
    _colors(_get(layer, "palette", where), f"{where}palette", 2)
    _number(_get(layer, "equalize", where), f"{where}equalize", 0.0, 1.0)
    _choice(_get(layer, "blend", where), f"{where}blend", ("over", "screen"))
    tone = _mapping(_get(layer, "tone", where), f"{where}tone")
    for name, high in (
        ("solidity", 100.0),
        ("shade", 1.0),
        ("highlight", 3.0),
        ("opacity", 1.0),
        ("glow", 1.0),
    ):
        _number(_get(tone, name, f"{where}tone."), f"{where}tone.{name}", 0.0, high)


def check_recipe(recipe: object) -> Recipe:
    """The recipe, which can be rendered.

    raises  FractalError, one line that says what, where and how to mend it
    """
    top = _mapping(recipe, "the whole")
    version = _whole(_get(top, "version", ""), "version", 1, 1 << 31)
    if version > RECIPE_VERSION:
        raise FractalError(
            f"recipe: version is {version}, this pixmix knows up to {RECIPE_VERSION}: upgrade it"
        )
    size = check_size(_get(top, "size", ""), "recipe: size")
    check_points(_get(top, "points_per_pixel", ""), size, "recipe: points_per_pixel")
    ground = _mapping(_get(top, "ground", ""), "ground")
    _choice(_get(ground, "shape", "ground."), "ground.shape", GROUND_SHAPES)
    _colors(_get(ground, "colors", "ground."), "ground.colors", 1)
    _number(_get(ground, "angle", "ground."), "ground.angle", -1.0, 1.0)
    _numbers(_get(ground, "center", "ground."), "ground.center", 2, 2)
    _number(_get(ground, "repeats", "ground."), "ground.repeats", 0.0, 64.0)
    for k, layer in enumerate(_list(_get(top, "layers", ""), "layers", 1, MAX_LAYERS)):
        _check_layer(layer, f"layers[{k}].")
    if _get(top, "veil", "") is not None:
        _check_layer(top["veil"], "veil.")
    return cast(Recipe, recipe)
