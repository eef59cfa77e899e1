"""From a generator's state to a picture: draw a recipe, check it, render it.

The recipe says everything; rendering draws nothing. So a picture can be rendered again from its
recipe, at any size, and two pictures of one recipe at different sizes look the same.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractals import color, flame, ifs, quality
from fractals.config import FractalConfig, check_points, check_size
from fractals.draws import chance, pick, seed_number, uniform, weighted
from fractals.elementary import PI, cosine, logarithm, sine
from fractals.errors import FractalError
from fractals.kernels.affine import affine_orbit, iterate_affine
from fractals.kernels.flame import bin_trace, iterate_flame
from fractals.kernels.histogram import MAX_POINTS_A_PASS, shrink_sums, unpack
from fractals.kernels.tone import (
    compose,
    shrink_picture,
    smooth_counts,
    smooth_sparse,
    to_bytes,
    upsample,
)
from fractals.recipe import RECIPE_VERSION, check_recipe
from fractals.recipe_types import Attractor, Frame, Layer, Look, Recipe

__all__ = ["RECIPE_VERSION", "Fractal", "generate_fractal", "render_recipe", "warm_up"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

# Pictures smaller than this are rendered at a multiple of their side and box-filtered: a 32 px
# picture is then the large one shrunk, not a handful of coarse cells. Below 256 the tones of thin
# structure change visibly with the side (15 levels RMS at 32 px between 128 and 256).
MIN_RENDER_SIZE = 256
TONE_GRID = 128  # exposure is measured on this grid, so that it does not depend on the size
STRETCH_GRID = 64  # and the range of each channel on this one
PALETTE_ENTRIES = 2048
VEIL_POINTS = 1 << 18
# Cells with this many points are not smoothed: for their light, in two passes, and their colour.
LIGHT_ENOUGH = np.float32(9.0), np.float32(3.0)
COLOR_ENOUGH = np.float32(16.0)
# Palettes are spread over this many bins of the colour coordinate, at most so many times steeper
# than they are.
SPREAD_BINS = 64
SPREAD_LIMIT = 3.0
TRACE_POINTS = 8192
TRACE_GRID = 32
MAX_GENOMES = 200  # genomes tried for one layer before the least bad is taken
MAX_KEPT = 1 << 23  # bytes of a working array that is kept for the next picture
MAX_KEPT_ARRAYS = 16  # enough for three sizes: the check's, the picture's and the ground's
MAX_PICTURES = 24  # whole pictures tried before the least bad is taken


@dataclass(frozen=True, slots=True)
class Fractal:
    """A picture, what made it, and how many candidates were thrown away on the way."""

    pixels: U8  # (size, size, 3) sRGB
    recipe: Recipe
    rejected: int


# ---------------------------------------------------------------- framing and search


def _frame_matrix(frame: Frame, size: int) -> F64:
    # map coordinates to cells of a histogram: centre to the middle, width to the side, turned by
    # angle, and one cell more for the border
    angle = 2.0 * PI * frame["angle"]
    scale = size / frame["width"]
    c, s = cosine(angle) * scale, sine(angle) * scale
    x, y = frame["center"]
    half = 0.5 * size + 1.0
    return np.array([c, s, half - c * x - s * y, -s, c, half + s * x - c * y])


def _trace(attractor: Attractor) -> F32:
    trace = np.empty((TRACE_POINTS, 3), np.float32)
    seed = np.uint64(attractor["sampling_seed"])
    if attractor["kind"] == "affine":
        maps, colors, table = ifs.pack_ifs(attractor, np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))
        affine_orbit(maps, colors, table, seed, trace)
    else:
        work, cells = _flame_scratch(512)
        iterate_flame(
            *flame.pack_flame(attractor),
            np.zeros(6, np.float32),
            seed,
            TRACE_POINTS,
            2,
            work,
            cells,
            np.zeros(4, np.uint64),
            trace,
        )
    return trace


def _flame_scratch(together: int) -> tuple[F32, NDArray[np.int32]]:
    return np.zeros((12, together), np.float32), np.zeros((2, together), np.int32)


def _bulk(kept: F32) -> tuple[float, float, float, float]:
    # left, right, top, bottom of what holds 94% of the points in each direction
    xs, ys = np.sort(kept[:, 0]), np.sort(kept[:, 1])
    low, high = len(xs) * 3 // 100, len(xs) * 97 // 100
    return float(xs[low]), float(xs[high]), float(ys[low]), float(ys[high])


def _draw_frame(
    rng: np.random.Generator, kept: F32, bulk: tuple[float, float, float, float]
) -> Frame:
    # a window about the bulk of the points; most are closer than the bulk, about a point of it
    left, right, top, bottom = bulk
    extent = math.sqrt(max(right - left, 1e-4) * max(bottom - top, 1e-4))
    zoom = uniform(rng, 0.45, 1.05)
    point = kept[int(rng.integers(0, len(kept)))]
    # the closer the frame, the nearer to the point it is centred
    pull = min(1.0, max(0.0, 1.15 - zoom))
    x = 0.5 * (left + right)
    y = 0.5 * (top + bottom)
    x += pull * (min(max(float(point[0]), left), right) - x)
    y += pull * (min(max(float(point[1]), top), bottom) - y)
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
    kept = trace[trace[:, 2] >= 0.0]
    if len(kept) < TRACE_POINTS * 9 // 10:
        return None
    best: tuple[quality.TraceCheck, Frame] | None = None
    bulk = _bulk(kept)
    symmetric = attractor["symmetry"]["order"] > 1 and chance(rng, 0.6)
    for _ in range(3):
        frame = _draw_frame(rng, kept, bulk)
        if symmetric and attractor["final"] is None:
            frame["center"] = [0.0, 0.0]  # show the symmetry whole
        histogram = np.zeros((TRACE_GRID + 2) * (TRACE_GRID + 2), np.uint64)
        matrix = _frame_matrix(frame, TRACE_GRID).astype(np.float32)
        bin_trace(trace, matrix, TRACE_GRID + 2, histogram)
        check = quality.check_trace(histogram, TRACE_GRID + 2)
        if best is None or (best[0].dud, -best[0].entropy) > (check.dud, -check.entropy):
            best = check, frame
    return best


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
        ground = _ground(recipe)
        check = quality.check_picture(_render(recipe, ground, quality.CHECK_SIZE, 6.0))
        if best is None or not check.dud or check.score > best[0]:
            best, kept_ground = (check.score, recipe), ground
        if not check.dud:
            break
        rejected += 1
    assert best is not None  # the loop ran
    pixels = _finished(best[1], kept_ground, config.size, config.points_per_pixel)
    return Fractal(pixels, best[1], rejected)


# ---------------------------------------------------------------- rendering


def _histogram_layer(layer: Layer, side: int, points: int, counts: F32, sums: F32) -> None:
    # adds the layer's points to counts and sums, in passes that fit a packed cell
    width = side + 2
    histogram = _scratch("histogram", (width * width,), np.uint64)  # unpacking leaves it cleared
    histogram[:] = 0
    matrix = _frame_matrix(layer["frame"], side)
    seed = layer["sampling_seed"]
    if layer["kind"] == "affine":
        maps, colors, table = ifs.pack_ifs(layer, matrix)
    else:
        packed = flame.pack_flame(layer)
        together = 512
        while together < 4096 and together * 64 < points:
            together *= 2
        work, cells = _flame_scratch(together)
        nothing = np.empty((0, 3), np.float32)
        frame = matrix.astype(np.float32)
    done = 0
    passes = 0
    while done < points:
        now = min(points - done, MAX_POINTS_A_PASS - 4096)
        pass_seed = np.uint64((seed + passes * 0x9E3779B9) % (1 << 63))
        if layer["kind"] == "affine":
            iterate_affine(maps, colors, table, pass_seed, now, width, histogram)
        else:
            iterate_flame(*packed, frame, pass_seed, now, width, work, cells, histogram, nothing)
        unpack(histogram, counts, sums)
        done += now
        passes += 1


def _exposure(coarse: F64) -> tuple[float, float]:
    # counts of a coarse cell at which the tone starts to show, and at which it is white: the
    # densities that 6% and 90% of the points lie below, which a few more or fewer points in
    # nearly empty cells do not move
    lit = np.sort(coarse[coarse > 0.0])
    if len(lit) == 0:
        return 1.0, 2.0
    running = np.cumsum(lit)  # one after the other by definition, so the same everywhere
    low = float(lit[int(np.searchsorted(running, 0.06 * running[-1]))])
    white = float(lit[int(np.searchsorted(running, 0.90 * running[-1]))])
    return low, max(white, 1.5 * low)


def _layer_palette(layer: Layer, coarse: F64, coarse_sums: F64, low: float) -> F32:
    # the palette over the colour coordinate, spread so that every part of it gets about as much
    # of the picture: coordinates that no cell has would waste their colours. The spread is
    # limited as in adaptive histogram equalization: steeper, it would show noise
    base = color.palette_table(layer["palette"], PALETTE_ENTRIES)
    lit = coarse > 0.5 * low
    position = np.minimum(coarse_sums[lit] / np.maximum(coarse[lit], 1e-9), 1.0)
    bins = np.bincount((position * (SPREAD_BINS - 1e-6)).astype(np.int64), minlength=SPREAD_BINS)
    total = max(int(bins.sum()), 1)
    clipped = np.minimum(bins / total, SPREAD_LIMIT / SPREAD_BINS)
    running = np.zeros(SPREAD_BINS + 1)
    np.cumsum(clipped, out=running[1:])
    # what was clipped off goes to all bins alike
    rest = 1.0 - running[-1]
    even = np.arange(PALETTE_ENTRIES) / (PALETTE_ENTRIES - 1)
    place = even * SPREAD_BINS
    left = np.minimum(place.astype(np.int64), SPREAD_BINS - 1)
    rank = running[left] + (place - left) * (running[left + 1] - running[left]) + rest * even
    share = layer["equalize"]
    spread = np.minimum(share * rank + (1.0 - share) * even, 1.0)
    entries = (spread * (PALETTE_ENTRIES - 1) + 0.5).astype(np.int64)
    return np.ascontiguousarray(base[entries].T)


def _tone(layer: Layer, low: float, white: float, cells: float) -> F32:
    # for counts of fine cells, of which `cells` make a coarse one
    tone = layer["tone"]
    inverse = cells / low
    reach = logarithm(1.0 + white / low) / logarithm(2.0)
    return np.array(
        [inverse, 1.0 / reach, tone["solidity"], tone["shade"], tone["highlight"], tone["opacity"]],
        np.float32,
    )


def _glow(
    ground: F32, layer: Layer, coarse: F64, sums: F64, low: float, white: float, table: F32
) -> None:
    # the layer's own light spread wide over the ground: fills the gaps with its colours
    side = color.GROUND_SIZE
    n, s = _blurred(coarse.astype(np.float32), sums.astype(np.float32), 16)
    tone = _tone(layer, low, white, 1.0)
    tone[2:] = 1.3, 0.2, 0.0, layer["tone"]["glow"]
    compose(n, n, s, tone, table, False, *_row_scratch(side), ground)


def _row_scratch(side: int) -> tuple[F32, NDArray[np.int32]]:
    return np.empty((4, side), np.float32), np.empty(side, np.int32)


def _blurred(n: F32, s: F32, passes: int) -> tuple[F32, F32]:
    n2, s2 = np.empty_like(n), np.empty_like(s)
    for _ in range(passes):
        # infinity: no cell has enough. (By a large number instead, shares are denormal: ten times
        # as slow)
        smooth_sparse(n, s, np.float32(np.inf), 1, n2, s2)
        n, s, n2, s2 = n2, s2, n, s
    return n, s


def _ground(recipe: Recipe) -> F32:
    # what lies behind the layers, (3, g, g), the same whatever the picture's size
    ground = np.ascontiguousarray(color.ground_picture(recipe["ground"]).transpose(2, 0, 1))
    if recipe["veil"] is not None:
        _lay_veil(recipe["veil"], ground)
    return ground


def _lay_veil(layer: Layer, ground: F32) -> None:
    # over the ground, at the ground's own size and with its own number of points, so that it is
    # the same behind a picture of any size
    side = color.GROUND_SIZE
    counts, sums = np.zeros((side, side), np.float32), np.zeros((side, side), np.float32)
    _histogram_layer(layer, side, VEIL_POINTS, counts, sums)
    n, s = _blurred(counts, sums, 1)
    coarse, coarse_sums = n.astype(np.float64), s.astype(np.float64)
    low, white = _exposure(coarse)
    table = _layer_palette(layer, coarse, coarse_sums, low)
    tone = _tone(layer, low, white, 1.0)
    compose(n, n, s, tone, table, False, *_row_scratch(side), ground)


def _render(recipe: Recipe, ground: F32, size: int, points_per_pixel: float, factor: int = 1) -> U8:
    # ground: of _ground(); factor: side of the working picture over that of the result
    side = size * factor
    layers = recipe["layers"]
    points = max(4, int(points_per_pixel * side * side / len(layers)))
    picture = _scratch("picture", (3, side, side))
    counts, sums, light, spare, spare_sums = _scratch("layer", (5, side, side))
    rows, row_color = _row_scratch(side)
    column = np.empty(side)
    coarse = np.empty((TONE_GRID, TONE_GRID))
    coarse_sums = np.empty((TONE_GRID, TONE_GRID))
    for index, layer in enumerate(layers):
        counts[:], sums[:] = 0.0, 0.0
        _histogram_layer(layer, side, points, counts, sums)
        shrink_sums(counts, column, coarse)
        shrink_sums(sums, column, coarse_sums)
        low, white = _exposure(coarse)
        table = _layer_palette(layer, coarse, coarse_sums, low)
        if index == 0:
            if layer["tone"]["glow"] > 0.0:
                ground = ground.copy()
                _glow(ground, layer, coarse, coarse_sums, low, white, table)
            upsample(ground, _scratch("wide", (color.GROUND_SIZE, side)), picture)
        # twice: where points are scarce the second pass reaches three cells. Colours are smoothed
        # wider and up to larger counts: a mean of few coordinates is noise, which a palette
        # amplifies, and eyes see colour less sharply than light
        smooth_counts(counts, LIGHT_ENOUGH[0], 1, spare)
        smooth_counts(spare, LIGHT_ENOUGH[1], 1, light)
        smooth_sparse(counts, sums, COLOR_ENOUGH, 1, spare, spare_sums)
        smooth_sparse(spare, spare_sums, COLOR_ENOUGH, 2, counts, sums)
        smooth_sparse(counts, sums, COLOR_ENOUGH, 4, spare, spare_sums)
        cells = (side / TONE_GRID) * (side / TONE_GRID)
        tone = _tone(layer, low, white, cells)
        screen = layer["blend"] == "screen"
        compose(light, spare, spare_sums, tone, table, screen, rows, row_color, picture)
    low_level, gain = _stretch(picture, column)
    if factor > 1:
        small = np.empty((3, size, size), np.float32)
        shrink_picture(picture, column, small)
        picture = small
    pixels = np.empty((size, size, 3), np.uint8)
    spare = np.empty((3, size), np.uint8)
    to_bytes(picture, low_level, gain, spare, pixels.reshape(-1))
    return pixels


_kept = threading.local()


def _scratch(name: str, shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[Any]:
    # Working memory, whatever was in it. The last of each name and shape is kept by the thread: a
    # fresh 12 MB a picture cost 3,000 page faults, a tenth of its time. Large ones are not kept
    key = f"{name} {shape}"
    array = _kept.__dict__.get(key)
    if array is None:
        array = np.empty(shape, dtype)
        if array.nbytes <= MAX_KEPT:
            if len(_kept.__dict__) >= MAX_KEPT_ARRAYS:
                _kept.__dict__.clear()
            _kept.__dict__[key] = array
    return array


def _finished(recipe: Recipe, ground: F32, size: int, points_per_pixel: float) -> U8:
    return _render(recipe, ground, size, points_per_pixel, max(1, -(-MIN_RENDER_SIZE // size)))


def _stretch(picture: F32, column: F64) -> tuple[F32, F32]:
    # each channel to its full range as seen at training size, whatever the size of the picture
    small = np.empty((3, STRETCH_GRID, STRETCH_GRID), np.float32)
    shrink_picture(picture, column, small)
    levels = np.sort(small.reshape(3, -1), axis=1)
    count = levels.shape[1]
    low, high = levels[:, count * 2 // 100].copy(), levels[:, count * 98 // 100].copy()
    # a channel that hardly varies is not blown up into noise
    span = np.maximum(high - low, np.float32(0.15))
    return low, np.float32(1.0) / span


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
    return _finished(checked, _ground(checked), side, points)


def warm_up() -> None:
    """Makes two small pictures: whatever is loaded or made at first use is there afterwards."""
    for kind in ("affine", "flame"):
        config = FractalConfig(kind, size=32, points_per_pixel=1.0)
        generate_fractal(config, np.random.default_rng(0))
