"""Pillow's bilinear resize with antialiasing, of a box of a picture, compiled: the same bytes.

Pillow weighs with whole numbers of 22 bits, along the rows and then, from bytes again, along the
columns, or the other way round where that is less work; so does this. It is faster because sixteen
lines at a time are turned on their side, one pixel in each uint32, and then every loop runs over
neighbours in memory. A weight of 0 may meet memory that nobody wrote: that is harmless.

source  Pillow: libImaging/Resample.c
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

BITS = 22  # of a weight: 32 less 8 of a byte less 2 of Pillow's reserve
LANES = 16  # rows turned at a time: two vectors of AVX2
_HALF = 1 << (BITS - 1)


def taps(length: int, size: int) -> int:
    """Room for the weights of one output pixel: a multiple of four.

    length  pixels of the box along one axis, >= 1
    size    output pixels along it, >= 1
    """
    support = max(length / size, 1.0)
    return -(-(math.ceil(support) * 2 + 1) // 4) * 4


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weights(length: int, size: int, room: int, firsts: I32, scaled: I32, exact: F64) -> None:
    """The weights of each output pixel along one axis.

    room    from `taps`
    firsts  (size,) int32, written: the first input pixel of `room` that lie inside the box; where
            the box is shorter than that, 0
    scaled  (size, room) int32, written: weights times 2**22, 0 for what takes no part
    exact   (room,) float64, scratch
    """
    scale = length / size
    support = scale if scale > 1.0 else 1.0
    inverse = 1.0 / support
    for i in range(size):
        centre = (i + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        count = min(int(centre + support + 0.5), length) - first
        total = 0.0
        for k in range(count):
            distance = abs((k + first - centre + 0.5) * inverse)
            exact[k] = 1.0 - distance if distance < 1.0 else 0.0
            total += exact[k]
        # moved to the left where `room` pixels would reach beyond the box
        moved = max(0, min(first, length - room))
        for k in range(room):
            scaled[i, k] = 0
        for k in range(count):
            value = exact[k] / total if total != 0.0 else exact[k]
            scaled[i, first - moved + k] = int(0.5 + value * (1 << BITS))
        firsts[i] = moved


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _turn(flat: U8, stride: int, begin: int, width: int, rows: int, tile: U32) -> None:
    """tile[x, r] = the pixel x of row r of the box, as a uint32; flat the whole picture's bytes."""
    last = flat.shape[0] - 4
    for r in range(rows):
        start = begin + r * stride
        source = flat[start : start + 3 * width]
        whole = width if start + 3 * (width - 1) <= last else width - 1
        longer = flat[start : start + 3 * whole + 1]
        for x in range(whole):
            # four bytes, which the compiler loads as one word; the fourth is never looked at
            tile[x, r] = (
                np.uint32(longer[3 * x])
                | (np.uint32(longer[3 * x + 1]) << np.uint32(8))
                | (np.uint32(longer[3 * x + 2]) << np.uint32(16))
                | (np.uint32(longer[3 * x + 3]) << np.uint32(24))
            )
        for x in range(whole, width):
            tile[x, r] = (
                np.uint32(source[3 * x])
                | (np.uint32(source[3 * x + 1]) << np.uint32(8))
                | (np.uint32(source[3 * x + 2]) << np.uint32(16))
            )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weigh(
    p0: U32, p1: U32, p2: U32, p3: U32, k: I32, more: bool, red: I32, green: I32, blue: I32
) -> None:
    """Four weighted pixels, lane by lane, onto (or, without `more`, into) the sums."""
    k0, k1, k2, k3 = k[0], k[1], k[2], k[3]
    low, eight, sixteen = np.uint32(255), np.uint32(8), np.uint32(16)
    for i in range(red.shape[0]):
        a, b, c, d = p0[i], p1[i], p2[i], p3[i]
        base = red[i] if more else np.int32(_HALF)
        red[i] = np.int32(
            base
            + np.int32(a & low) * k0
            + np.int32(b & low) * k1
            + np.int32(c & low) * k2
            + np.int32(d & low) * k3
        )
        base = green[i] if more else np.int32(_HALF)
        green[i] = np.int32(
            base
            + np.int32((a >> eight) & low) * k0
            + np.int32((b >> eight) & low) * k1
            + np.int32((c >> eight) & low) * k2
            + np.int32((d >> eight) & low) * k3
        )
        base = blue[i] if more else np.int32(_HALF)
        blue[i] = np.int32(
            base
            + np.int32((a >> sixteen) & low) * k0
            + np.int32((b >> sixteen) & low) * k1
            + np.int32((c >> sixteen) & low) * k2
            + np.int32((d >> sixteen) & low) * k3
        )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _columns(flat: U8, stride: int, begin: int, height: int, count: int, tile: U32) -> None:
    """tile[y, c] = the pixel of row y and column c of the box: `count` columns, not turned."""
    for y in range(height):
        source = flat[begin + y * stride : begin + y * stride + 3 * count]
        for c in range(count):
            tile[y, c] = (
                np.uint32(source[3 * c])
                | (np.uint32(source[3 * c + 1]) << np.uint32(8))
                | (np.uint32(source[3 * c + 2]) << np.uint32(16))
            )


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
    tile: U32,
    turned: U32,
    sums: I32,
    out: U8,
) -> None:
    """A box of a picture as a square, mirrored left to right if asked.

    flat          (h * picture_width * 3,) uint8, the whole picture
    box           (top, left, height, width) in pixels, inside the picture
    across, down  (size, taps along the rows), (size, taps along the columns) int32, scratch
    firsts        (2, size) int32, scratch
    exact         (larger number of taps,) float64, scratch
    tile          (longest, LANES) uint32, scratch; longest: of height, width and the taps
    turned        (longest, size) uint32, scratch
    sums          (3, larger of size and LANES) int32, scratch
    out           (size * size * 3,) uint8, written
    """
    top, left, height, width = box
    weights(width, size, across.shape[1], firsts[0], across, exact)
    weights(height, size, down.shape[1], firsts[1], down, exact)
    by_columns = columns_first(height, width, size)
    stride = picture_width * 3
    begin = top * stride + left * 3
    if by_columns:
        lines, length = width, height
        first_weights, first_places = down, firsts[1]
        second_weights, second_places = across, firsts[0]
    else:
        lines, length = height, width
        first_weights, first_places = across, firsts[0]
        second_weights, second_places = down, firsts[1]
    bits = np.int32(BITS)
    red, green, blue = sums[0][:LANES], sums[1][:LANES], sums[2][:LANES]
    for line in range(0, lines, LANES):
        count = min(LANES, lines - line)
        if by_columns:
            _columns(flat, stride, begin + 3 * line, length, count, tile)
        else:
            _turn(flat, stride, begin + line * stride, length, count, tile)
        for i in range(size):
            _weigh_all(tile, first_places[i], first_weights[i], red, green, blue)
            for r in range(count):
                turned[line + r, i] = (
                    np.uint32(red[r] >> bits)
                    | (np.uint32(green[r] >> bits) << np.uint32(8))
                    | (np.uint32(blue[r] >> bits) << np.uint32(16))
                )
    red, green, blue = sums[0][:size], sums[1][:size], sums[2][:size]
    for i in range(size):
        _weigh_all(turned, second_places[i], second_weights[i], red, green, blue)
        if by_columns:
            place = (size - 1 - i if flip else i) * 3
            for y in range(size):
                pixel = out[y * size * 3 + place : y * size * 3 + place + 3]
                pixel[0] = np.uint8(red[y] >> bits)
                pixel[1] = np.uint8(green[y] >> bits)
                pixel[2] = np.uint8(blue[y] >> bits)
            continue
        row = out[i * size * 3 : (i + 1) * size * 3]
        if flip:
            for x in range(size):
                place = 3 * (size - 1 - x)
                row[place] = np.uint8(red[x] >> bits)
                row[place + 1] = np.uint8(green[x] >> bits)
                row[place + 2] = np.uint8(blue[x] >> bits)
        else:
            for x in range(size):
                row[3 * x] = np.uint8(red[x] >> bits)
                row[3 * x + 1] = np.uint8(green[x] >> bits)
                row[3 * x + 2] = np.uint8(blue[x] >> bits)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _weigh_all(lines: U32, first: int, k: I32, red: I32, green: I32, blue: I32) -> None:
    """The weighted sum of the lines from `first` on, lane by lane."""
    for t in range(0, k.shape[0], 4):
        four = k[t : t + 4]
        if t > 0 and four[0] == 0 and four[1] == 0 and four[2] == 0 and four[3] == 0:
            continue
        at = first + t
        _weigh(
            lines[at], lines[at + 1], lines[at + 2], lines[at + 3], four, t > 0, red, green, blue
        )
