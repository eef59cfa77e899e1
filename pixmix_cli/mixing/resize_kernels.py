"""Pillow's bilinear resize with antialiasing, of a box of a picture, compiled: the same bytes.

Pillow weighs with whole numbers of 22 bits, along the rows and then, from bytes again, along the
columns, or the other way round where that is less work; so does this. Along the columns every loop
runs over neighbours in memory; along the rows a pixel's channels are done at once (see `vectors`),
and that is where a mirrored picture is turned round.

source  Pillow: libImaging/Resample.c
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing import vectors
from pixmix_cli.mixing.augment_kernels import copy

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

BITS = 22  # of a weight: 32 less 8 of a byte less 2 of Pillow's reserve
_HALF = 1 << (BITS - 1)


def taps(length: int, size: int) -> int:
    """At most so many pixels are weighed for one output pixel.

    length  pixels of the box along one axis, >= 1
    size    output pixels along it, >= 1
    """
    return math.ceil(max(length / size, 1.0)) * 2 + 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weights(length: int, size: int, firsts: I32, scaled: I32, exact: F64) -> int:
    """The weights of each output pixel along one axis.

    firsts   (size,) int32, written: the first input pixel
    scaled   (size * taps,) int32, written: weights times 2**22, those of one output pixel after
             those of the other, 0 for what takes no part
    exact    (taps,) float64, scratch
    returns  how many weights each output pixel has; so many lie inside the box from its first on
    """
    scale = length / size
    support = scale if scale > 1.0 else 1.0
    inverse = 1.0 / support
    most = 1
    for i in range(size):
        centre = (i + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        most = max(most, min(int(centre + support + 0.5), length) - first)
    for i in range(size):
        centre = (i + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        count = min(int(centre + support + 0.5), length) - first
        total = 0.0
        for k in range(count):
            distance = abs((k + first - centre + 0.5) * inverse)
            exact[k] = 1.0 - distance if distance < 1.0 else 0.0
            total += exact[k]
        moved = min(first, length - most)
        for k in range(most):
            scaled[i * most + k] = 0
        for k in range(count):
            value = exact[k] / total if total != 0.0 else exact[k]
            scaled[i * most + first - moved + k] = int(0.5 + value * (1 << BITS))
        firsts[i] = moved
    return most


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _along_row(
    row: U8,
    begin: int,
    size: int,
    flip: bool,
    firsts: I32,
    scaled: I32,
    most: int,
    out: U8,
    to: int,
) -> None:
    """One row of pixels shrunk, from row[begin] to out[to]; a byte behind each is touched too."""
    half, bits = np.int32(_HALF), np.int32(BITS)
    for x in range(size):
        i = size - 1 - x if flip else x
        place = begin + 3 * int(firsts[i])
        vectors.weigh(row, place, scaled, i * most, most, half, bits, out, to + 3 * x)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _four(a: U8, b: U8, c: U8, d: U8, k: I32, out: U8) -> None:
    """Four weighted rows as one. All (n,), k (4,)."""
    k0, k1, k2, k3 = k[0], k[1], k[2], k[3]
    for j in range(out.shape[0]):
        total = np.int32(
            np.int32(_HALF)
            + np.int32(a[j]) * k0
            + np.int32(b[j]) * k1
            + np.int32(c[j]) * k2
            + np.int32(d[j]) * k3
        )
        out[j] = np.uint8(total >> np.int32(BITS))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _two_more(a: U8, b: U8, k0: np.int32, k1: np.int32, start: bool, sums: I32) -> None:
    """Two weighted rows onto the sums. All (n,)."""
    if start:
        for j in range(sums.shape[0]):
            sums[j] = np.int32(np.int32(_HALF) + np.int32(a[j]) * k0 + np.int32(b[j]) * k1)
    else:
        for j in range(sums.shape[0]):
            sums[j] = np.int32(sums[j] + np.int32(a[j]) * k0 + np.int32(b[j]) * k1)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _along_columns(
    flat: U8, begin: int, stride: int, first: int, k: I32, sums: I32, out: U8
) -> None:
    """One row of the result: rows from `first` on, weighed with k and added. sums, out (n,)."""
    n, most = out.shape[0], k.shape[0]
    if most == 4:
        at = begin + first * stride
        a, b = flat[at : at + n], flat[at + stride : at + stride + n]
        at += 2 * stride
        c, d = flat[at : at + n], flat[at + stride : at + stride + n]
        _four(a, b, c, d, k, out)
        return
    for t in range(0, most, 2):
        at = begin + (first + t) * stride
        a, k0, k1 = flat[at : at + n], k[t], np.int32(0)
        b = a
        if t + 1 < most:
            b, k1 = flat[at + stride : at + stride + n], k[t + 1]
        _two_more(a, b, k0, k1, t == 0, sums)
    for j in range(n):
        out[j] = np.uint8(sums[j] >> np.int32(BITS))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def columns_first(height: int, width: int, size: int) -> bool:
    """Whether Pillow shrinks along the columns first: found by trial on Pillow 13.0."""
    return height > size and height - size > 2 * (width - size)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resize(
    flat: U8,
    picture_width: int,
    box: tuple[int, int, int, int],
    size: int,
    flip: bool,
    across: I32,
    down: I32,
    firsts: I32,
    exact: F64,
    between: U8,
    sums: I32,
    out: U8,
) -> None:
    """A box of a picture as a square, mirrored left to right if asked.

    flat          (h * picture_width * 3,) uint8, the whole picture
    box           (top, left, height, width) in pixels, inside the picture
    across, down  (size * taps,) int32, scratch: weights along the rows and along the columns
    firsts        (2, size) int32, scratch
    exact         (larger number of taps,) float64, scratch
    between       (longest * (size + 1) * 3 + 1,) uint8, scratch; longest: the larger of height,
                  width and size
    sums          (3 * longest,) int32, scratch
    out           (size * size * 3 + 1,) uint8, written; the last byte only because pixels are
                  written four bytes at a time
    """
    top, left, height, width = box
    most_across = weights(width, size, firsts[0], across, exact)
    most_down = weights(height, size, firsts[1], down, exact)
    stride = picture_width * 3
    begin = top * stride + left * 3
    n = size * 3
    if columns_first(height, width, size):
        longer = width * 3
        for y in range(size):
            k = down[y * most_down : (y + 1) * most_down]
            row = between[y * longer : (y + 1) * longer]
            _along_columns(flat, begin, stride, firsts[1, y], k, sums[:longer], row)
        for y in range(size):
            _along_row(between, y * longer, size, flip, firsts[0], across, most_across, out, y * n)
        return
    for y in range(height):
        start = begin + y * stride
        if start + 3 * width < flat.shape[0]:
            _along_row(flat, start, size, flip, firsts[0], across, most_across, between, y * n)
        else:  # no byte lies behind the last pixel
            last = between[height * n + 1 :]
            copy(flat[start : start + 3 * width], last[: 3 * width])
            _along_row(last, 0, size, flip, firsts[0], across, most_across, between, y * n)
    for y in range(size):
        k = down[y * most_down : (y + 1) * most_down]
        _along_columns(between, 0, n, firsts[1, y], k, sums[:n], out[y * n : (y + 1) * n])
