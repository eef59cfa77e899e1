"""Pillow's bilinear resize with antialiasing, of a box of a picture, compiled: the same bytes.

Pillow weighs with whole numbers of 22 bits, along the rows and then, from bytes again, along the
columns, or the other way round where that is less work; so does this (the sums are in `vectors`).
Along the rows four rows go together, and whatever of the result they complete is made at once,
while they are at hand. A mirrored picture has its weights along the rows in reverse order.

source  Pillow: libImaging/Resample.c
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from pixmix_cli.mixing.compiled import vectors
from pixmix_cli.mixing.compiled.augment import copy
from pixmix_kernels import entry, kernel, record
from pixmix_kernels.arrays import F64, I16, I32, U8, I32x2

BITS = 22  # of a weight: 32 less 8 of a byte less 2 of Pillow's reserve


@record
class Scratch(NamedTuple):
    """Scratch memory for boxes of up to some height, width and number of taps."""

    across: I16  # (size * 2 * (taps + 1),) weights along rows
    down: I16  # the same along columns
    firsts: I32x2  # (2, size)
    exact: F64  # ((larger number of taps + 1) * size,)
    between: U8  # (max(height, 4) * (size * 3 + 1),) between the two passes
    few: U8  # (4 * width * 3 + vectors.SLACK,) rows


def taps(length: int, size: int) -> int:
    """At most so many pixels are weighed for one output pixel.

    length  pixels of the box along one axis, >= 1
    size    output pixels along it, >= 1
    """
    return math.ceil(max(length / size, 1.0)) * 2 + 1


@kernel
def weights(length: int, size: int, flip: bool, firsts: I32, parts: I16, exact: F64) -> int:
    """The weights of each output pixel along one axis, as `vectors` takes them.

    flip     whether the last output pixel comes first
    firsts   (size,) int32, written: the first input pixel
    parts    (size * 2 * (taps + 1),) int16, written: those of one output pixel after those of the
             other, 0 for what takes no part. Of each two weights, four times as large as Pillow's,
             first what is above LOWER_BITS, then what is below
    exact    ((taps + 1) * size,) float64, scratch
    returns  half the number of weights of each output pixel. So many lie inside the box from its
             first on; if the box is an odd number of pixels long, perhaps one more, of weight 0
    """
    scale = length / size
    support = scale if scale > 1.0 else 1.0
    inverse = 1.0 / support
    totals = exact[:size]
    most = 1
    for i in range(size):
        centre = (i + 0.5) * scale
        first = max(np.int32(centre - support + 0.5), np.int32(0))
        count = np.int32(min(np.int32(centre + support + 0.5), np.int32(length)) - first)
        most = max(most, int(count))
        firsts[i] = first
        totals[i] = 0.0
    # a weight after the other for all pixels, so that the loops are over neighbours in memory
    for k in range(most):
        kept = exact[(k + 1) * size : (k + 2) * size]
        for i in range(size):
            centre = (i + 0.5) * scale
            place = np.int32(firsts[i] + np.int32(k))
            distance = abs((place - centre + 0.5) * inverse)
            inside = place < min(np.int32(centre + support + 0.5), np.int32(length))
            kept[i] = 1.0 - distance if inside and distance < 1.0 else 0.0
            totals[i] += kept[i]
    pairs = (most + 1) // 2
    last = np.int32(max(length - 2 * pairs, 0))
    for k in range(most):
        kept = exact[(k + 1) * size : (k + 2) * size]
        for i in range(size):
            kept[i] = 0.5 + kept[i] / totals[i] * float(1 << BITS)
    lower = np.int32((1 << vectors.LOWER_BITS) - 1)
    for i in range(size):
        first = firsts[i]
        firsts[i] = min(first, last)
        before = int(first - firsts[i])
        begin = 4 * pairs * (size - 1 - i if flip else i)
        for t in range(2 * pairs):
            k = t - before
            weight = np.int32(0)
            if 0 <= k < most:
                weight = np.int32(np.int32(exact[(k + 1) * size + i]) * np.int32(4))
            parts[begin] = weight >> np.int32(vectors.LOWER_BITS)
            parts[begin + 2] = weight & lower
            begin += 1 if t % 2 == 0 else 3
    if flip:
        for i in range(size // 2):
            firsts[i], firsts[size - 1 - i] = firsts[size - 1 - i], firsts[i]
    return pairs


@kernel
def _down(
    flat: U8, begin: int, stride: int, rows: int, halves: I16, first: int, pairs: int, out: U8,
    to: int, n: int,
) -> None:  # fmt: skip
    """`vectors.along_columns`, also for fewer bytes than it does at once and fewer rows.

    rows  so many may be read; those behind them have weight 0
    """
    if n >= vectors.BLOCK and 2 * pairs <= rows:
        vectors.along_columns(flat, begin, stride, halves, first, pairs, out, to, n)
        return
    for j in range(n):
        total = 1 << 23
        for k in range(min(2 * pairs, rows)):
            at = first + 2 * k - k % 2
            weight = (int(halves[at]) << vectors.LOWER_BITS) + int(halves[at + 2])
            total += weight * int(flat[begin + k * stride + j])
        out[to + j] = np.uint8(total >> 24)


@kernel
def columns_first(height: int, width: int, size: int) -> bool:
    """Whether Pillow shrinks along the columns first: found by trial on Pillow 13.0."""
    return height > size and height - size > 2 * (width - size)


@entry
def resize(
    flat: U8,
    picture_width: int,
    box: tuple[int, int, int, int],
    size: int,
    flip: bool,
    scratch: Scratch,
    out: U8,
) -> None:
    """A box of a picture as a square, mirrored left to right if asked.

    flat     (h * picture_width * 3,) uint8, the whole picture
    box      (top, left, height, width) in pixels, inside the picture
    scratch  large enough for the box
    out      (size * size * 3,) uint8, written
    """
    across, down, firsts = scratch.across, scratch.down, scratch.firsts
    exact, between, few = scratch.exact, scratch.between, scratch.few
    top, left, height, width = box
    pairs_across = weights(width, size, flip, firsts[0], across, exact)
    pairs_down = weights(height, size, False, firsts[1], down, exact)
    stride = picture_width * 3
    begin = top * stride + left * 3
    n, long = size * 3, width * 3
    if columns_first(height, width, size):
        for group in range(0, size, 4):
            for y in range(group, min(group + 4, size)):
                first = int(firsts[1, y])
                _down(
                    flat, begin + first * stride, stride, height - first, down,
                    4 * pairs_down * y, pairs_down, few, (y - group) * long, long,
                )  # fmt: skip
            vectors.along_four_rows(few, 0, long, firsts[0], across, pairs_across, between, n + 1)
            for y in range(group, min(group + 4, size)):
                row = (y - group) * (n + 1)
                copy(between[row : row + n], out[y * n : (y + 1) * n])
        return
    y = 0
    for group in range(0, max(height, 4), 4):
        row = max(min(group, height - 4), 0)  # the last four overlap the four before them
        start = begin + row * stride
        to = between[row * (n + 1) :]
        if start + 3 * stride + long + vectors.SLACK <= flat.shape[0]:
            vectors.along_four_rows(flat, start, stride, firsts[0], across, pairs_across, to, n + 1)
        else:  # too few bytes lie behind the last row
            for k in range(min(height, 4)):
                copy(flat[start + k * stride : start + k * stride + long], few[k * long :][:long])
            vectors.along_four_rows(few, 0, long, firsts[0], across, pairs_across, to, n + 1)
        while y < size and min(firsts[1, y] + 2 * pairs_down, height) <= row + 4:
            first = int(firsts[1, y])
            _down(
                between, first * (n + 1), n + 1, max(height, 4) - first, down,
                4 * pairs_down * y, pairs_down, out, y * n, n,
            )  # fmt: skip
            y += 1
