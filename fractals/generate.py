"""From a generator's state to a picture: draw a recipe, check it, render it.

The recipe says everything; rendering draws nothing. So a picture can be rendered again from its
recipe, at any size, and two pictures of one recipe at different sizes look the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractals import color, flame, ifs, quality, rendering
from fractals.config import FractalConfig, check_points, check_size
from fractals.draws import chance, pick, seed_number, uniform, weighted
from fractals.errors import FractalError
from fractals.kernels.affine import affine_orbit
from fractals.kernels.flame import iterate_flame
from fractals.recipe import RECIPE_VERSION, check_recipe
from fractals.recipe_types import Attractor, Frame, Layer, Look, Recipe

__all__ = ["RECIPE_VERSION", "Fractal", "generate_fractal", "render_recipe", "warm_up"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TRACE_POINTS = 8192
FRAMES = 3  # of an attractor, of which the best is taken
MAX_GENOMES = 200  # genomes tried for one layer before the least bad is taken
MAX_PICTURES = 24  # whole pictures tried before the least bad is taken


@dataclass(frozen=True, slots=True)
class Fractal:
    """A picture, what made it, and how many candidates were thrown away on the way."""

    pixels: U8  # (size, size, 3) sRGB
    recipe: Recipe
    rejected: int


# ---------------------------------------------------------------- framing and search


def _trace(attractor: Attractor) -> F32:
    trace = np.empty((3, TRACE_POINTS), np.float32)
    seed = np.uint64(attractor["sampling_seed"])
    if attractor["kind"] == "affine":
        maps, colors, table = ifs.pack_ifs(attractor, np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
        affine_orbit(maps, colors, table, seed, trace)
    else:
        work, cells = rendering.flame_work(512)
        iterate_flame(
            *flame.pack_flame(attractor),
            np.zeros(6, np.float32),
            seed,
            TRACE_POINTS,
            rendering.WARMING,
            2,
            work,
            cells,
            np.zeros(4, np.uint64),
            *rendering.AT_ONCE,
            trace,
        )
    return trace


def _bulk(kept: F32) -> tuple[float, float, float, float]:
    # left, right, top, bottom of what holds 94% of the points in each direction
    xs, ys = np.sort(kept[0]), np.sort(kept[1])
    low, high = len(xs) * 3 // 100, len(xs) * 97 // 100
    return float(xs[low]), float(xs[high]), float(ys[low]), float(ys[high])


def _draw_frame(
    rng: np.random.Generator, kept: F32, bulk: tuple[float, float, float, float]
) -> Frame:
    # a window about the bulk of the points; most are closer than the bulk, about a point of it
    left, right, top, bottom = bulk
    extent = math.sqrt(max(right - left, 1e-4) * max(bottom - top, 1e-4))
    zoom = uniform(rng, 0.45, 1.05)
    number = int(rng.integers(0, kept.shape[1]))
    # the closer the frame, the nearer to the point it is centred
    pull = min(1.0, max(0.0, 1.15 - zoom))
    x = 0.5 * (left + right)
    y = 0.5 * (top + bottom)
    x += pull * (min(max(float(kept[0, number]), left), right) - x)
    y += pull * (min(max(float(kept[1, number]), top), bottom) - y)
    return {
        "center": [round(x, 6), round(y, 6)],
        "width": max(round(extent * zoom, 6), 1e-4),
        "angle": uniform(rng, 0.0, 1.0),
    }


def _framed(
    rng: np.random.Generator, attractor: Attractor
) -> tuple[quality.TraceCheck, Frame] | None:
    # the best of a few frames; None if there is nothing to frame
    trace = _trace(attractor)
    shown = trace[2] >= 0.0
    kept = trace if shown.all() else trace[:, shown]
    if kept.shape[1] < TRACE_POINTS * 9 // 10:
        return None
    bulk = _bulk(kept)
    symmetric = attractor["symmetry"]["order"] > 1 and chance(rng, 0.6)
    frames = [_draw_frame(rng, kept, bulk) for _ in range(FRAMES)]
    if symmetric and attractor["final"] is None:
        for frame in frames:
            frame["center"] = [0.0, 0.0]  # show the symmetry whole
    matrices = [rendering.frame_matrix(frame, quality.TRACE_GRID) for frame in frames]
    checks = quality.check_frames(trace, np.array(matrices, np.float32))
    return max(zip(checks, frames, strict=True), key=lambda one: (not one[0].dud, one[0].entropy))


def _draw_attractor(rng: np.random.Generator, kind: str) -> Attractor:
    if kind == "affine":
        return {"kind": "affine", **ifs.draw_ifs(rng), "sampling_seed": seed_number(rng)}
    return {"kind": "flame", **flame.draw_flame(rng), "sampling_seed": seed_number(rng)}


def _draw_framed(rng: np.random.Generator, kind: str) -> tuple[Attractor, Frame, int]:
    # an attractor that is no dud and its frame, and how many were rejected before it
    best: tuple[float, Attractor, Frame] | None = None
    for tried in range(MAX_GENOMES):
        attractor = _draw_attractor(rng, kind)
        framed = _framed(rng, attractor)
        if framed is None:
            continue
        check, frame = framed
        if not check.dud:
            return attractor, frame, tried
        if best is None or check.entropy > best[0]:
            best = check.entropy, attractor, frame
    if best is None:
        raise FractalError(f"no {kind} genome in {MAX_GENOMES} could be framed: try another seed")
    return best[1], best[2], MAX_GENOMES


def _layer(attractor: Attractor, look: Look) -> Layer:
    if attractor["kind"] == "affine":  # for the type checker: each kind keeps its own
        return {**attractor, **look}
    return {**attractor, **look}


def _draw_recipe(rng: np.random.Generator, config: FractalConfig) -> tuple[Recipe, int]:
    kind = config.kind
    if kind == "mixed":
        kind = "affine" if chance(rng, 0.25) else "flame"
    count = weighted(rng, [(1, 0.45), (2, 0.4), (3, 0.15)])
    hue = uniform(rng, 0.0, 1.0)
    layers: list[Layer] = []
    rejected = 0
    for k in range(count):
        attractor, frame, tried = _draw_framed(rng, kind)
        rejected += tried
        layer_hue = hue + (0.0 if k == 0 else pick(rng, (0.5, 0.33, -0.33, 0.2)))
        look: Look = {
            "frame": frame,
            "palette": color.draw_palette(rng, layer_hue),
            "equalize": uniform(rng, 0.6, 1.0),
            "blend": "over" if k == 0 else pick(rng, ("over", "screen")),
            "tone": {
                "solidity": uniform(rng, 1.2, 3.0),
                "shade": uniform(rng, 0.0, 0.35),
                "highlight": uniform(rng, 0.0, 0.6),
                "opacity": 1.0 if k == 0 else uniform(rng, 0.75, 1.0),
                "glow": uniform(rng, 0.3, 1.0) if k == 0 and chance(rng, 0.4) else 0.0,
            },
        }
        layers.append(_layer(attractor, look))
    recipe: Recipe = {
        "version": RECIPE_VERSION,
        "kind": kind,
        "size": config.size,
        "points_per_pixel": config.points_per_pixel,
        "ground": color.draw_ground(rng, hue),
        "veil": _draw_veil(rng, layers[0], hue) if chance(rng, 0.6) else None,
        "layers": layers,
    }
    return recipe, rejected


def _draw_veil(rng: np.random.Generator, layer: Layer, hue: float) -> Layer:
    # a close, soft look at the main layer's own attractor, behind it: structure where the frame
    # would be empty
    frame = layer["frame"]
    reach = 0.3 * frame["width"]
    seed = seed_number(rng)
    look: Look = {
        "frame": {
            "center": [round(v + uniform(rng, -reach, reach), 6) for v in frame["center"]],
            "width": max(round(frame["width"] * uniform(rng, 0.25, 0.6), 6), 1e-4),
            "angle": uniform(rng, 0.0, 1.0),
        },
        "palette": color.draw_palette(rng, hue + pick(rng, (0.5, 0.33, -0.33, 0.2))),
        "equalize": uniform(rng, 0.7, 1.0),
        "blend": "over",
        "tone": {
            "solidity": uniform(rng, 1.0, 1.8),
            "shade": uniform(rng, 0.0, 0.2),
            "highlight": 0.0,
            "opacity": uniform(rng, 0.4, 0.85),
            "glow": 0.0,
        },
    }
    if layer["kind"] == "affine":  # as in _layer
        return {**layer, **look, "sampling_seed": seed}
    return {**layer, **look, "sampling_seed": seed}


def generate_fractal(config: FractalConfig, rng: np.random.Generator) -> Fractal:
    """A random fractal that is no dud.

    config   kind, size, points a pixel
    rng      its state and config fix every byte of the result, on any machine
    returns  the picture, its recipe, and how many candidates were rejected before it
    """
    rejected = 0
    best: tuple[float, Recipe] | None = None
    for _ in range(MAX_PICTURES):
        recipe, tried = _draw_recipe(rng, config)
        rejected += tried
        pilot = rendering.Pilot(recipe)
        check = pilot.check()
        if not check.dud:
            pixels = rendering.render(recipe, config.size, config.points_per_pixel, pilot)
            return Fractal(pixels, recipe, rejected)
        if best is None or check.score > best[0]:
            best = check.score, recipe
        rejected += 1
    assert best is not None  # the loop ran
    pixels = rendering.render(best[1], config.size, config.points_per_pixel)
    return Fractal(pixels, best[1], rejected)


# ---------------------------------------------------------------- rendering


def render_recipe(
    recipe: Mapping[str, object], size: int | None = None, points_per_pixel: float | None = None
) -> U8:
    """Renders a recipe again.

    recipe            as in Fractal.recipe, or read back from JSON
    size              side in pixels; None: the recipe's own, and then the very same bytes
    points_per_pixel  None: the recipe's own
    returns           (size, size, 3) uint8 sRGB
    raises            FractalError for a recipe of a newer version, with fields missing or out of
                      range, or for a size or number of points beyond the limits
    """
    checked = check_recipe(recipe)
    side = check_size(checked["size"] if size is None else size)
    points = check_points(
        checked["points_per_pixel"] if points_per_pixel is None else points_per_pixel, side
    )
    return rendering.render(checked, side, points)


def warm_up() -> None:
    """Makes two small pictures: whatever is loaded or made at first use is there afterwards."""
    for kind in ("affine", "flame"):
        config = FractalConfig(kind, size=32, points_per_pixel=1.0)
        generate_fractal(config, np.random.default_rng(0))
