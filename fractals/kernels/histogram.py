"""Cells that count points and add up their colours."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.scalars import HALF, U32, U64, ZERO, F, Scalar
from pixmix_kernels import arrays, kernel
from pixmix_kernels.arrays import F32, I32, F64x2, U64x2

# A histogram cell: how many points above bit 40, the sum of their 16-bit colours below.
# Histograms have a border of one cell, where points outside the frame are put.
COUNT_SHIFT = U64(40)
COUNT_ONE = U64(1 << 40)
COLOR_MASK = U64((1 << 40) - 1)
MAX_AT_ONCE = 1 << 23  # points: twice as many in one cell could overflow either half of it
HALF_FULL = U64(1 << 62)  # a cell with 2**22 points
TILE_BITS, HEAP_BITS = 16, 15
BATCH = 1024  # as many points at most are put by between two looks at the heaps
HIGH_HEAP = (1 << HEAP_BITS) - BATCH
LOW_BITS = U64((1 << 20) - 1)


@kernel
def find_cells(x: F32, y: F32, colors: F32, frame: F32, width: int, places: I32) -> None:
    """The cells of a histogram in which points lie.

    x, y, colors  (t,) float32; points of negative colour count as outside
    frame         (6,) float32: affine map to cells, border included
    width         side of the histogram with its border
    places        (t,) int32, set: the border's where a point lies outside
    """
    last = F(width) - HALF
    w = np.int32(width)
    m0, m1, m2, m3, m4, m5 = frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]
    for i in range(x.shape[0]):
        xi = m0 * x[i] + m1 * y[i] + m2
        yi = m3 * x[i] + m4 * y[i] + m5
        xi = xi if xi > ZERO else ZERO
        xi = xi if xi < last else last
        yi = yi if yi > ZERO else ZERO
        yi = yi if yi < last else last
        cell = np.int32(np.int32(yi) * w + np.int32(xi))
        places[i] = cell if colors[i] >= ZERO else np.int32(0)


@kernel
def put_by(cell: Scalar, color: Scalar, waiting: arrays.U32, filled: I32) -> None:
    """Puts a point on the heap of its tile, to be added by `add_heaps`.

    A histogram larger than the caches takes a round trip to memory for each point. A heap holds
    several for each line of its tile.

    cell     uint32
    color    uint32 below 2**16
    waiting  (tiles << HEAP_BITS,) uint32
    filled   (tiles,) int32, how many points wait; a tile has 1 << TILE_BITS cells
    """
    tile = cell >> U32(TILE_BITS)
    k = U32(filled[tile])
    waiting[U64(U64(tile) << U64(HEAP_BITS)) + U64(k)] = U32(U32(cell << U32(16)) | color)
    filled[tile] = np.int32(k + U32(1))


@kernel
def _add_heap(tile: arrays.U64, heap: arrays.U32) -> None:
    # Looking at the whole tile first brings it into the cache in one go. Cells so full that they
    # could overflow are halved: their colours stay, and they stay the densest
    most = U64(0)
    for i in range(tile.shape[0]):
        most = most | tile[i]
    if most >= HALF_FULL:
        for i in range(tile.shape[0]):
            cell = tile[i]
            half = ((cell >> U64(41)) << COUNT_SHIFT) + ((cell & COLOR_MASK) >> U64(1))
            tile[i] = half if cell >= HALF_FULL else cell
    for i in range(heap.shape[0]):
        point = U64(heap[i])
        tile[point >> U64(16)] += COUNT_ONE + (point & U64(0xFFFF))


@kernel
def add_heaps(histogram: arrays.U64, waiting: arrays.U32, filled: I32, more: int) -> None:
    """Adds the points of all heaps that hold more than so many, which are empty then."""
    for k in range(filled.shape[0]):
        count = np.int64(filled[k])
        if count > more:
            end = min((k + 1) << TILE_BITS, histogram.shape[0])
            heap = k << HEAP_BITS
            _add_heap(histogram[k << TILE_BITS : end], waiting[heap : heap + count])
            filled[k] = np.int32(0)


@kernel
def count_of(cell: Scalar) -> Scalar:
    """A cell's count as float32."""
    return F(np.int32(cell >> COUNT_SHIFT))


@kernel
def sum_of(cell: Scalar) -> Scalar:
    """A cell's sum of colours in [0, 1] as float32."""
    # in two parts, because processors turn 32 bits into float32, not 64
    high = F(np.int32((cell & COLOR_MASK) >> U64(20)))
    low = F(np.int32(cell & LOW_BITS))
    return (high * F(1048576.0) + low) * F(1.0 / 65535.0)


@kernel
def read_row(histogram: arrays.U64, i: int, fold: int, counts: F32, sums: F32) -> None:
    """A row of the inside of a histogram, without its border.

    fold          1, or 2: cells are added up two by two
    counts, sums  (h,) float32, set; the inside has fold * h cells a side
    """
    h = counts.shape[0]
    width = fold * h + 2
    if fold == 1:
        row = histogram[(i + 1) * width + 1 : (i + 2) * width - 1]
        for j in range(h):
            counts[j] = count_of(row[j])
            sums[j] = sum_of(row[j])
        return
    upper = histogram[(2 * i + 1) * width + 1 : (2 * i + 2) * width - 1]
    lower = histogram[(2 * i + 2) * width + 1 : (2 * i + 3) * width - 1]
    for j in range(h):
        k = U64(j) * U64(2)
        a, b, c, d = upper[k], upper[k + U64(1)], lower[k], lower[k + U64(1)]
        counts[j] = (count_of(a) + count_of(b)) + (count_of(c) + count_of(d))
        sums[j] = (sum_of(a) + sum_of(b)) + (sum_of(c) + sum_of(d))


@kernel
def add_up(
    histogram: arrays.U64, side: int, columns: U64x2, coarse: F64x2, coarse_sums: F64x2
) -> None:
    """Sums of the inside of a histogram over a coarser square grid.

    histogram            ((side + 2)**2,) uint64
    columns              (2, side) uint64 scratch
    coarse, coarse_sums  (g, g) float64, g <= side, set: counts, and sums of colours in [0, 1]
    """
    width = side + 2
    g = coarse.shape[0]
    counts, sums = columns[0], columns[1]
    step = side // g
    even = step * g == side  # divisions for every cell would take half of the time
    for gy in range(g):
        for j in range(side):
            counts[j] = U64(0)
            sums[j] = U64(0)
        for i in range(gy * side // g, (gy + 1) * side // g):
            row = histogram[(i + 1) * width + 1 : (i + 2) * width - 1]
            for j in range(side):
                counts[j] += row[j] >> COUNT_SHIFT
                sums[j] += row[j] & COLOR_MASK
        right = 0
        for gx in range(g):
            left = right
            right = left + step if even else (gx + 1) * side // g
            n = U64(0)
            s = U64(0)
            for j in range(left, right):
                n += counts[U64(j)]
                s += sums[U64(j)]
            coarse[gy, gx] = np.float64(np.int64(n))
            coarse_sums[gy, gx] = np.float64(np.int64(s)) / 65535.0
