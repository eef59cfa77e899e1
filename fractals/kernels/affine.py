"""The chaos game of affine iterated function systems."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.histogram import (
    COLOR_MASK,
    COUNT_ONE,
    HIGH_HEAP,
    add_heaps,
    put_by,
)
from fractals.kernels.scalars import SPLITMIX_STEP, U32, U64, F, Scalar, splitmix
from pixmix_kernels import arrays, entry, kernel
from pixmix_kernels.arrays import I32, U8, F32x2, F64x2


@entry
def affine_orbit(maps: F64x2, colors: arrays.U64, table: U8, seed: np.uint64, trace: F32x2) -> None:
    """One orbit of an affine IFS, point by point: for framing, and as a plain twin of the next.

    maps    (n, 6) float64: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5
    colors  (n,) uint64, as iterate_affine's
    table   (4096,) uint8: which map for each 12-bit random number
    seed    uint64
    trace   (3, t) float32, written: x, y, colour in [0, 1]; the first 32 points are not kept
    """
    x = 0.0
    y = 0.0
    c = COUNT_ONE + U64(32768)
    state = seed
    for i in range(-32, trace.shape[1]):
        state = state + SPLITMIX_STEP
        k = table[splitmix(state) & U64(4095)]
        x, y = (
            maps[k, 0] * x + maps[k, 1] * y + maps[k, 2],
            maps[k, 3] * x + maps[k, 4] * y + maps[k, 5],
        )
        c = (c + colors[k]) >> U64(1)
        if i >= 0:
            trace[0, i] = F(x)
            trace[1, i] = F(y)
            trace[2, i] = F(np.int32(c & COLOR_MASK)) * F(1.0 / 65535.0)


@kernel
def _cell(x: Scalar, y: Scalar, last: Scalar, width: int) -> Scalar:
    # held into the border, by minimum and maximum, without a branch: half the points of a close
    # frame are outside, in no order to be predicted, and branches doubled the time of a point;
    # a NaN becomes 0
    # unsigned: numba asks of a signed index whether it counts from the end, a sixth of the time
    x = x if x > 0.0 else 0.0
    x = x if x < last else last
    y = y if y > 0.0 else 0.0
    y = y if y < last else last
    return U64(U32(np.int32(y))) * U64(width) + U64(U32(np.int32(x)))


@entry
def iterate_affine(
    maps: F64x2,
    colors: arrays.U64,
    table: U8,
    seed: np.uint64,
    points: int,
    width: int,
    histogram: arrays.U64,
    waiting: arrays.U32,
    filled: I32,
) -> None:
    """The chaos game of an affine IFS, added up in a histogram.

    Four orbits run side by side: one alone is a chain of dependent multiply-adds, 2.2 ns a point
    whatever else the processor could do meanwhile. One random word picks a map for each.

    maps       (n, 6) float64 in cells of the histogram, border included, contractive
    colors     (n,) uint32, 0..65535; a point's colour moves half way to its map's
    table      (4096,) uint8
    seed       uint64
    points     how many; rounded up to a multiple of 4
    width      side of the histogram with its border, size + 2
    histogram  (width * width,) uint64, added to: count << 40 | sum of colours; the border, one
               cell wide, takes what falls outside
    waiting, filled  as put_by's, nothing waiting; both empty: points are added
               at once, no more than MAX_AT_ONCE in all
    source     Barnsley (1988), the random iteration algorithm
    """
    last = np.float64(width) - 0.5
    middle = last * 0.5
    x0 = x1 = x2 = x3 = middle
    y0 = y1 = y2 = y3 = middle
    c0 = c1 = c2 = c3 = COUNT_ONE + U64(32768)
    low = U64(4095)
    state = seed + SPLITMIX_STEP
    word = splitmix(state)
    k0 = table[word & low]
    k1 = table[(word >> U64(12)) & low]
    k2 = table[(word >> U64(24)) & low]
    k3 = table[(word >> U64(36)) & low]
    rounds = (points + 3) // 4
    later = filled.shape[0] > 0
    for i in range(-32, rounds):
        x0, y0 = (
            maps[k0, 0] * x0 + maps[k0, 1] * y0 + maps[k0, 2],
            maps[k0, 3] * x0 + maps[k0, 4] * y0 + maps[k0, 5],
        )
        x1, y1 = (
            maps[k1, 0] * x1 + maps[k1, 1] * y1 + maps[k1, 2],
            maps[k1, 3] * x1 + maps[k1, 4] * y1 + maps[k1, 5],
        )
        x2, y2 = (
            maps[k2, 0] * x2 + maps[k2, 1] * y2 + maps[k2, 2],
            maps[k2, 3] * x2 + maps[k2, 4] * y2 + maps[k2, 5],
        )
        x3, y3 = (
            maps[k3, 0] * x3 + maps[k3, 1] * y3 + maps[k3, 2],
            maps[k3, 3] * x3 + maps[k3, 4] * y3 + maps[k3, 5],
        )
        c0 = (c0 + colors[k0]) >> U64(1)
        c1 = (c1 + colors[k1]) >> U64(1)
        c2 = (c2 + colors[k2]) >> U64(1)
        c3 = (c3 + colors[k3]) >> U64(1)
        state = state + SPLITMIX_STEP
        word = splitmix(state)
        k0 = table[word & low]
        k1 = table[(word >> U64(12)) & low]
        k2 = table[(word >> U64(24)) & low]
        k3 = table[(word >> U64(36)) & low]
        if i >= 0:
            p0 = _cell(x0, y0, last, width)
            p1 = _cell(x1, y1, last, width)
            p2 = _cell(x2, y2, last, width)
            p3 = _cell(x3, y3, last, width)
            if later:
                put_by(U32(p0), U32(c0 & COLOR_MASK), waiting, filled)
                put_by(U32(p1), U32(c1 & COLOR_MASK), waiting, filled)
                put_by(U32(p2), U32(c2 & COLOR_MASK), waiting, filled)
                put_by(U32(p3), U32(c3 & COLOR_MASK), waiting, filled)
                if i & 255 == 255:
                    add_heaps(histogram, waiting, filled, HIGH_HEAP)
            else:
                histogram[p0] += c0
                histogram[p1] += c1
                histogram[p2] += c2
                histogram[p3] += c3
    if later:
        add_heaps(histogram, waiting, filled, 0)
