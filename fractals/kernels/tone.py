"""From a working picture to bytes."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.scalars import HALF, U64, ZERO, F
from pixmix_kernels import entry
from pixmix_kernels.arrays import F32, I32, U8, F32x3, I32x2, U8x2, U16x3


@entry
def box_means(picture: U16x3, columns: I32, small: F32x3) -> None:
    """Box means of a picture over a coarser grid.

    picture  (h, 3, h) uint16
    columns  (h,) int32 scratch
    small    (3, g, g) float32, g <= h, set: 65535 becomes 1
    """
    h = picture.shape[0]
    g = small.shape[1]
    step = h // g
    even = step * g == h
    for k in range(3):
        for gy in range(g):
            top = gy * h // g
            bottom = (gy + 1) * h // g
            for j in range(h):
                columns[j] = np.int32(0)
            for i in range(top, bottom):
                row = picture[i, k]
                for j in range(h):
                    columns[j] = np.int32(columns[j] + np.int32(row[j]))
            right = 0
            for gx in range(g):
                left = right
                right = left + step if even else (gx + 1) * h // g
                total = 0
                for j in range(left, right):
                    total += np.int64(columns[U64(j)])
                cells = np.int32((bottom - top) * (right - left))
                small[k, gy, gx] = F(np.float64(total) / (65535.0 * cells))


@entry
def shrink_area(picture: U16x3, columns: I32x2, small: U16x3) -> None:
    """Area means over a smaller picture, whose side need not divide that of the larger one.

    picture  (h, 3, h) uint16, h <= 256
    columns  (3, h) int32 scratch
    small    (g, 3, g) uint16, g <= h, set
    """
    # in whole numbers: a cell of the picture is g wide here, one of the small picture h
    h = picture.shape[0]
    g = small.shape[0]
    area = h * h
    for gy in range(g):
        begin = gy * h
        for k in range(3):
            for j in range(h):
                columns[k, j] = np.int32(0)
        for i in range(begin // g, (begin + h - 1) // g + 1):
            share = np.int32(min((i + 1) * g, begin + h) - max(i * g, begin))
            for k in range(3):
                row, column = picture[i, k], columns[k]
                for j in range(h):
                    column[j] = np.int32(column[j] + share * np.int32(row[j]))
        low = 0  # the first cell that a small one covers, and where it ends
        end = g
        for gx in range(g):
            red, green, blue = area // 2, area // 2, area // 2
            at = gx * h
            right = at + h
            while at < right:
                share = min(end, right) - at
                red += share * np.int64(columns[0, U64(low)])
                green += share * np.int64(columns[1, U64(low)])
                blue += share * np.int64(columns[2, U64(low)])
                at += share
                if at == end:
                    low += 1
                    end += g
            small[gy, 0, gx] = np.uint16(U64(red) // U64(area))
            small[gy, 1, gx] = np.uint16(U64(green) // U64(area))
            small[gy, 2, gx] = np.uint16(U64(blue) // U64(area))


@entry
def to_bytes(picture: U16x3, low: F32, gain: F32, rows: U8x2, out: U8) -> None:
    """Stretches each channel, rounds to bytes, and lays the three side by side.

    picture    (h, 3, h) uint16, 65535 is all light
    low, gain  (3,) float32: byte = 255 * (value - low) * gain, held to 0..255
    rows       (3, h) uint8 scratch: the arithmetic vectorises only where it does not also have to
               lay three channels side by side
    out        (h * h * 3,) uint8, set: the three channels side by side; it may be the first half
               of the picture, which is read ahead of it
    """
    h = picture.shape[0]
    r, g, b = rows[0], rows[1], rows[2]
    for i in range(h):
        for k in range(3):
            p, q = picture[i, k], rows[k]
            scale = gain[k] * F(255.0 / 65535.0)
            offset = HALF - low[k] * gain[k] * F(255.0)
            for j in range(h):
                value = F(p[j]) * scale + offset
                value = value if value > ZERO else ZERO
                value = value if value < F(255.5) else F(255.5)
                q[j] = np.uint8(np.int32(value))
        o = out[i * 3 * h : (i + 1) * 3 * h]
        for j in range(h):
            o[3 * j] = r[j]
            o[3 * j + 1] = g[j]
            o[3 * j + 2] = b[j]
