"""Recipes that cannot be rendered are refused in one line, before anything is computed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractals import FractalConfig, FractalError, generate_fractal, render_recipe

Recipe = dict[str, Any]


def _recipe(kind: str) -> Recipe:
    fractal = generate_fractal(FractalConfig(kind, size=16), np.random.default_rng(0))
    out: Recipe = json.loads(json.dumps(fractal.recipe))
    return out


FLAME = _recipe("flame")
AFFINE = _recipe("affine")


def _put(path: str, value: object) -> Callable[[Recipe], None]:
    def change(recipe: Recipe) -> None:
        owner: Any = recipe
        *steps, last = path.split(".")
        for step in steps:
            owner = owner[int(step) if step.isdigit() else step]
        owner[int(last) if last.isdigit() else last] = value

    return change


def _drop(path: str) -> Callable[[Recipe], None]:
    def change(recipe: Recipe) -> None:
        owner: Any = recipe
        *steps, last = path.split(".")
        for step in steps:
            owner = owner[int(step) if step.isdigit() else step]
        del owner[last]

    return change


def _many_maps(recipe: Recipe) -> None:
    recipe["layers"][0]["maps"] *= 1000


def _many_symmetries(recipe: Recipe) -> None:
    recipe["layers"][0]["maps"] = (recipe["layers"][0]["maps"] * 64)[:64]
    recipe["layers"][0]["symmetry"] = {"order": 12, "mirror": True}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_put("version", 2), "upgrade"),
        (_put("version", "1"), "version"),
        (_drop("version"), "version is missing"),
        (_drop("layers"), "layers is missing"),
        (_drop("ground"), "ground is missing"),
        (_drop("veil"), "veil is missing"),
        (_put("layers", []), "layers has 0"),
        (_put("layers", {}), "layers"),
        (_put("layers.0", 3), "object"),
        (_put("size", 20000), "size"),
        (_put("points_per_pixel", 1_000_000), "points_per_pixel"),
        (_put("points_per_pixel", float("nan")), "points_per_pixel"),
        (_many_maps, "maps has"),
        (_many_symmetries, "at most 256"),
        (_put("layers.0.maps.0.affine.0", float("nan")), r"maps\[0\].affine\[0\] is nan"),
        (_put("layers.0.maps.0.affine.0", float("inf")), "inf"),
        (_put("layers.0.maps.0.affine.0", "1"), "number"),
        (_put("layers.0.maps.0.affine", [1.0]), "it must have 6"),
        (_put("layers.0.maps.0.weight", 0), "weight"),
        (_put("layers.0.maps.0.speed", 2.0), "speed"),
        (_put("layers.0.maps.0.variations.0.0", "lineer"), "no such variation"),
        (_put("layers.0.maps.0.variations", []), "variations has 0"),
        (_put("layers.0.maps.0.variations", [["blob", 1.0, []]]), "it must have 3"),
        (_put("layers.0.symmetry.order", 0), "order"),
        (_put("layers.0.symmetry.mirror", "yes"), "true or false"),
        (_put("layers.0.sampling_seed", -1), "sampling_seed"),
        (_put("layers.0.sampling_seed", 1.5), "sampling_seed"),
        (_put("layers.0.frame.width", 0.0), "frame.width"),
        (_drop("layers.0.frame.center"), "frame.center is missing"),
        (_put("layers.0.palette", [[0.5, 0.0, 0.0]]), "palette has 1"),
        (_put("layers.0.palette.0.0", 7.0), "palette"),
        (_put("layers.0.blend", "burn"), "over, screen"),
        (_put("layers.0.kind", "julia"), "affine, flame"),
        (_drop("layers.0.tone.shade"), "tone.shade is missing"),
        (_put("layers.0.tone.opacity", 1.5), "opacity"),
        (_put("layers.0.equalize", -1), "equalize"),
        (_put("ground.shape", "checks"), "shape"),
        (_put("ground.colors", []), "colors"),
        (_put("ground.repeats", float("nan")), "repeats"),
    ],
)
def test_a_bad_recipe_is_refused_in_one_line(change: Callable[[Recipe], None], said: str) -> None:
    recipe = copy.deepcopy(FLAME)
    change(recipe)
    with pytest.raises(FractalError, match=said) as caught:
        render_recipe(recipe)
    assert "\n" not in str(caught.value)


def test_an_affine_map_that_is_not_contractive_is_refused() -> None:
    recipe = copy.deepcopy(AFFINE)
    recipe["layers"][0]["maps"][0]["affine"][0] = 1.3
    with pytest.raises(FractalError, match="contractive"):
        render_recipe(recipe)


def test_an_affine_layer_with_a_final_transform_is_refused() -> None:
    recipe = copy.deepcopy(AFFINE)
    recipe["layers"][0]["final"] = {}
    with pytest.raises(FractalError, match="final must be null"):
        render_recipe(recipe)


@pytest.mark.parametrize("thing", [None, [], "recipe", 3])
def test_something_else_than_a_recipe_is_refused(thing: object) -> None:
    with pytest.raises(FractalError, match="object"):
        render_recipe(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "points"), [(0, None), (20000, None), (None, 1e9), (8192, 500.0), (None, -1.0)]
)
def test_a_size_or_points_beyond_the_limits_are_refused(
    size: int | None, points: float | None
) -> None:
    with pytest.raises(FractalError):
        render_recipe(FLAME, size, points)


def test_wild_but_finite_numbers_give_a_picture_all_the_same() -> None:
    rng = np.random.default_rng(0)
    recipe = copy.deepcopy(FLAME)
    for layer in recipe["layers"]:
        for one in layer["maps"]:
            one["affine"] = rng.uniform(-1e4, 1e4, 6).tolist()
            one["post"] = rng.uniform(-1e4, 1e4, 6).tolist()
    assert render_recipe(recipe, 40).shape == (40, 40, 3)
