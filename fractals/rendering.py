"""From a recipe to pixels.

Every recipe is first plotted with few points, and how it looks decides whether it is a dud. That is
its pilot. A picture of up to PILOT_SIDE goes on from the pilot's points; a larger one plots anew.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fractals import color, flame, ifs, quality
from fractals.elementary import PI, cosine, sine
from fractals.kernels import exposure, histogram, layers
from fractals.kernels.affine import iterate_affine
from fractals.kernels.flame import iterate_flame
from fractals.kernels.tone import box_means, shrink_area, to_bytes
from fractals.recipe_types import Attractor, Frame, Layer, Recipe

__all__ = ["PILOT_SIDE", "Pilot", "flame_work", "frame_matrix", "new_bench", "render"]

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
U32 = NDArray[np.uint32]
U64 = NDArray[np.uint64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
F64 = NDArray[np.float64]

# Smaller pictures are made at this side and shrunk: a 32 px picture is then the large one shrunk,
# not a handful of coarse cells. Below 256 the tones of thin structure change visibly with the side
# (15 levels RMS at 32 px between 128 and 256).
PILOT_SIDE = 256
PILOT_POINTS = 6 * quality.CHECK_SIZE**2
TONE_GRID = 128  # exposure is measured on this grid, so that it does not depend on the size
STRETCH_GRID = 64  # and the range of each channel on this one
PALETTE_ENTRIES = 2048
VEIL_POINTS = 1 << 17
WARMING = 20  # iterations of a flame until its points have forgotten where they began
# How many points of a flame move together: more cost more to warm, and leave the nearest cache
TOGETHER, TOGETHER_OF_MANY = 512, 1024
MANY = 1 << 20
NO_TRACE = np.empty((3, 0), np.float32)
AT_ONCE = np.empty(0, np.uint32), np.empty(0, np.int32)
HEAP_SIDE = 1024  # points of larger pictures wait on heaps
# Up to which side working memory is kept: what every picture needs, and what only one layer at a
# time needs, with nothing else. Of each kind so many sides' is kept, of the second one side's
SMALL_SIDE, LARGE_SIDE = 1024, 4096
LARGE = ("cells", "heaps")
KEPT_SIDES = 4


def frame_matrix(frame: Frame, size: int) -> F64:
    """Map coordinates to cells of a histogram with its border of one cell.

    frame    centre to the middle, width to the side, turned by its angle
    size     side of the histogram without its border, cells
    returns  (6,) float64: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5
    """
    angle = 2.0 * PI * frame["angle"]
    scale = size / frame["width"]
    c, s = cosine(angle) * scale, sine(angle) * scale
    x, y = frame["center"]
    half = 0.5 * size + 1.0
    return np.array([c, s, half - c * x - s * y, -s, c, half + s * x - c * y])


# ---------------------------------------------------------------- working memory

_kept = threading.local()


def _memory(name: str, make: Any, *key: int) -> Any:
    # Working memory, whatever was in it; the key begins with a side. A thread keeps it for its next
    # picture: fresh pages were a tenth of the time of one, of a large one a quarter
    known: dict[Any, Any] = _kept.__dict__
    found = known.get((name, key))
    if found is None:
        found = make(*key)
        if key[0] <= (LARGE_SIDE if name in LARGE else SMALL_SIDE):
            others = [k for k in known if k[0] == name]
            if key[0] > SMALL_SIDE:  # one large one at a time
                others = [k for k in others if k[1][0] > SMALL_SIDE]
            if len(others) >= (KEPT_SIDES if key[0] <= SMALL_SIDE else 1):
                del known[others[0]]
            known[name, key] = found
    return found


def new_bench(
    side: int, cells: int, grid: int = TONE_GRID, entries: int = PALETTE_ENTRIES
) -> layers.Bench:
    """Working memory of the layers' kernels.

    side     of the picture, pixels
    cells    side of the histogram without its border
    grid     side of the coarse grid that exposure is measured on
    entries  of a palette
    """
    return layers.Bench(
        coarse=np.empty((grid, grid)),
        coarse_sums=np.empty((grid, grid)),
        buckets=np.empty((2, exposure.BUCKETS)),
        bins=np.empty((2, exposure.SPREAD_BINS + 2)),
        columns=np.empty((2, cells), np.uint64),
        table=np.empty((3, entries), np.float32),
        soft=np.empty((3, grid * grid), np.float32),
        wide=np.empty((2, 3, side), np.float32),
        rings=np.empty((layers.RING_ROWS, side), np.float32),
        rows=np.empty((layers.SPARE_ROWS, side), np.float32),
        places=np.empty(side, np.int32),
    )


def _picture(side: int) -> U16:
    return np.empty((side, 3, side), np.uint16)


def _cells(side: int, count: int) -> U64:
    return np.empty((count, (side + 2) * (side + 2)), np.uint64)


def flame_work(together: int) -> tuple[F32, I32]:
    """Working memory of `iterate_flame` for so many points together."""
    return np.zeros((12, together), np.float32), np.zeros((2, together), np.int32)


def _heaps(side: int) -> tuple[U32, I32]:
    # where points wait, none so far
    tiles = ((side + 2) * (side + 2) >> histogram.TILE_BITS) + 1
    return np.empty(tiles << histogram.HEAP_BITS, np.uint32), np.zeros(tiles, np.int32)


# ---------------------------------------------------------------- points


class _Points:
    """The points of a layer: a long orbit, plotted in one piece or in several."""

    def __init__(self, layer: Attractor, frame: Frame, side: int, together: int) -> None:
        self.seed = layer["sampling_seed"]
        self.side = side
        self.begun = 0
        self.done = 0
        matrix = frame_matrix(frame, side)
        # the kernel's first arguments
        self.affine: tuple[F64, U64, U8] | None = None
        self.flame: tuple[F32, I32, F32, F64, F32]
        if layer["kind"] == "affine":
            self.affine = ifs.pack_ifs(layer, matrix)
        else:
            self.flame = (*flame.pack_flame(layer), matrix.astype(np.float32))
            self.work, self.places = flame_work(together)

    def plot(self, points: int, cells: U64) -> None:
        """Add so many points to a histogram."""
        self.done += points + histogram.BATCH  # as kernels round up
        waiting, filled = AT_ONCE
        if self.side > HEAP_SIDE or self.done > histogram.MAX_AT_ONCE:
            waiting, filled = _memory("heaps", _heaps, self.side)
        width = self.side + 2
        seed = np.uint64((self.seed + self.begun * 0x9E3779B9) % (1 << 63))
        if self.affine is not None:
            iterate_affine(*self.affine, seed, points, width, cells, waiting, filled)
        else:
            warming = 0 if self.begun else WARMING
            iterate_flame(
                *self.flame, seed, points, warming, width, self.work, self.places, cells,
                waiting, filled, NO_TRACE,
            )  # fmt: skip
        self.begun += 1


# ---------------------------------------------------------------- what lies behind, and layers


def _base(layer: Layer) -> F32:
    return color.palette_planes(layer["palette"], PALETTE_ENTRIES)


def _look(layer: Layer) -> F32:
    tone = layer["tone"]
    shown = tone["solidity"], tone["shade"], tone["highlight"], tone["opacity"]
    return np.array(shown, np.float32)


def _ground(recipe: Recipe) -> F32:
    # what lies behind the layers, (3, g, g), the same whatever the picture's size
    ground = color.ground_planes(recipe["ground"])
    veil = recipe["veil"]
    if veil is not None:
        side = color.GROUND_SIZE
        cells = _memory("cells", _cells, side, 1)[0]
        cells[:] = 0
        _Points(veil, veil["frame"], side, TOGETHER).plot(VEIL_POINTS, cells)
        bench = _memory("bench", new_bench, side, PILOT_SIDE)
        layers.lay_veil(cells, _base(veil), veil["equalize"], _look(veil), bench, ground)
    return ground


def _lay(layer: Layer, cells: U64, fold: int, first: bool, ground: F32, picture: U16) -> None:
    side = len(picture)
    layers.lay_layer(
        cells,
        fold,
        _base(layer),
        layer["equalize"],
        _look(layer),
        layer["blend"] == "screen",
        first,
        ground,
        _memory("bench", new_bench, side, max(side * fold, PILOT_SIDE)),
        picture,
    )


class Pilot:
    """A recipe plotted with few points, enough to judge it and to go on from.

    Only one of a thread can be gone on from: the next takes its memory.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.layers = recipe["layers"]
        self.ground = _ground(recipe)
        self.cells = _memory("pilot", _cells, PILOT_SIDE, len(self.layers))
        self.cells[:] = 0
        self.share = max(4, PILOT_POINTS // len(self.layers))  # points a layer
        self.points = [
            _Points(layer, layer["frame"], PILOT_SIDE, TOGETHER) for layer in self.layers
        ]
        for points, cells in zip(self.points, self.cells, strict=True):
            points.plot(self.share, cells)
        first = self.layers[0]
        if first["tone"]["glow"] > 0.0:
            layers.lay_glow(
                self.cells[0],
                PILOT_SIDE,
                _base(first),
                first["equalize"],
                np.float32(first["tone"]["glow"]),
                _memory("bench", new_bench, color.GROUND_SIZE, PILOT_SIDE),
                self.ground,
            )

    def check(self) -> quality.PictureCheck:
        """How it looks at the side at which pictures are judged."""
        side = quality.CHECK_SIZE
        picture = _memory("picture", _picture, side)
        for k, layer in enumerate(self.layers):
            _lay(layer, self.cells[k], PILOT_SIDE // side, k == 0, self.ground, picture)
        return quality.check_picture(_pixels(picture))

    def more(self, points: int) -> U64:
        """The histograms with so many points a layer in all."""
        for one, cells in zip(self.points, self.cells, strict=True):
            one.plot(points - self.share, cells)
        return self.cells


def render(recipe: Recipe, size: int, points_per_pixel: float, pilot: Pilot | None = None) -> U8:
    """Pixels of a recipe.

    recipe   checked
    size     side in pixels
    points_per_pixel  of a picture of PILOT_SIDE where size is smaller
    pilot    of this recipe, if there is one; used up
    returns  (size, size, 3) uint8 sRGB
    """
    side = max(size, PILOT_SIDE)
    parts = recipe["layers"]
    points = max(4, int(points_per_pixel * side * side / len(parts)))
    picture = _memory("picture", _picture, side)
    pilot = Pilot(recipe) if pilot is None else pilot  # it holds what lies behind the layers
    if side == PILOT_SIDE and points > pilot.share:
        for k, cells in enumerate(pilot.more(points)):
            _lay(parts[k], cells, 1, k == 0, pilot.ground, picture)
    else:
        cells = _memory("cells", _cells, side, 1)[0]
        together = TOGETHER_OF_MANY if points >= MANY else TOGETHER
        for k, layer in enumerate(parts):
            cells[:] = 0
            _Points(layer, layer["frame"], side, together).plot(points, cells)
            _lay(layer, cells, 1, k == 0, pilot.ground, picture)
    return _pixels(picture, size)


def _pixels(picture: U16, size: int | None = None) -> U8:
    side = len(picture)
    low, gain = _stretch(picture)
    if size is not None and size < side:
        small = _picture(size)
        shrink_area(picture, np.empty((3, side), np.int32), small)
        picture, side = small, size
    if side > SMALL_SIDE:  # in place: memory that is new is a cost, and this is used no more
        pixels = picture.reshape(-1).view(np.uint8)[: 3 * side * side].reshape(side, side, 3)
    else:
        pixels = np.empty((side, side, 3), np.uint8)
    to_bytes(picture, low, gain, np.empty((3, side), np.uint8), pixels.reshape(-1))
    return pixels


def _stretch(picture: U16) -> tuple[F32, F32]:
    # each channel to its full range as seen at training size, whatever the size of the picture
    small = np.empty((3, STRETCH_GRID, STRETCH_GRID), np.float32)
    box_means(picture, np.empty(len(picture), np.int32), small)
    levels = np.sort(small.reshape(3, -1), axis=1)
    count = levels.shape[1]
    low, high = levels[:, count * 2 // 100].copy(), levels[:, count * 98 // 100].copy()
    # a channel that hardly varies is not blown up into noise
    span = np.maximum(high - low, np.float32(0.15))
    return low, np.float32(1.0) / span
