"""What lies behind the layers: painted small, enlarged row by row."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.scalars import HALF, U32, ZERO, F, Scalar
from pixmix_kernels import entry, kernel
from pixmix_kernels.arrays import F32, F64, F32x2, F32x3


@entry
def paint_ground(straight: bool, repeated: bool, numbers: F64, table: F32x2, ground: F32x3) -> None:
    """A gradient along a line or about a centre, once or in waves.

    numbers  (5,) float64: centre x and y in [0, 1], cosine and sine of the line's angle, waves
    table    (3, 257) float32, the colours
    ground   (3, g, g) float32, set
    """
    g = ground.shape[1]
    x0, y0, c, s, repeats = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    for i in range(g):
        y = (i + 0.5) / g - y0
        for j in range(g):
            x = (j + 0.5) / g - x0
            t = 0.5 + 0.8 * (c * x + s * y) if straight else np.sqrt(x * x + y * y) * 1.3
            t = t if t > 0.0 else 0.0
            t = t if t < 1.0 else 1.0
            if repeated:
                wave = t * repeats
                wave = 2.0 * (wave - np.floor(wave)) - 1.0
                t = 1.0 - (wave if wave > 0.0 else -wave)
            k = np.int64(t * 256.0 + 0.5)
            ground[0, i, j] = table[0, k]
            ground[1, i, j] = table[1, k]
            ground[2, i, j] = table[2, k]


@kernel
def _between(a: F32, b: F32, t: Scalar, out: F32) -> None:
    for j in range(out.shape[0]):
        out[j] = a[j] + t * (b[j] - a[j])


@kernel
def _widen(ground: F32x3, y: int, wide: F32x2) -> None:
    # a row of the ground, enlarged along it
    g = ground.shape[1]
    h = wide.shape[1]
    step = F(g) / F(h)
    end = np.int32(g - 1)
    red, green, blue = ground[0, y], ground[1, y], ground[2, y]
    wide_red, wide_green, wide_blue = wide[0], wide[1], wide[2]
    for j in range(h):
        x = (F(np.int32(j)) + HALF) * step - HALF
        x = x if x > ZERO else ZERO
        x0 = np.int32(x)
        x1 = np.int32(x0 + np.int32(1))
        x1 = x1 if x1 < end else end
        t = x - F(x0)
        wide_red[j] = red[U32(x0)] + t * (red[U32(x1)] - red[U32(x0)])
        wide_green[j] = green[U32(x0)] + t * (green[U32(x1)] - green[U32(x0)])
        wide_blue[j] = blue[U32(x0)] + t * (blue[U32(x1)] - blue[U32(x0)])


@kernel
def _row_below(g: int, h: int, i: int) -> tuple[Scalar, Scalar]:
    # the lower of the two rows of the ground that a row lies between, and how far it is from it
    y = (F(i) + HALF) * (F(g) / F(h)) - HALF
    y = y if y > ZERO else ZERO
    return np.int64(y), y - F(np.int64(y))


@kernel
def ground_row(ground: F32x3, i: int, wide: F32x3, out: F32x2) -> None:
    """A row of the ground enlarged to the picture's size, between its cells' centres.

    ground  (3, g, g) float32
    i       which; rows are asked for one after the other, from 0 on
    wide    (2, 3, h) float32: rows of the ground enlarged along themselves, kept between calls
    out     (3, h) float32, h >= g, set
    """
    g = ground.shape[1]
    h = out.shape[1]
    y0, t = _row_below(g, h, i)
    y1 = y0 + 1 if y0 + 1 < g else g - 1
    before = np.int64(-1)
    if i > 0:
        before, _ = _row_below(g, h, i - 1)
    if i == 0:
        _widen(ground, y0, wide[y0 & 1])
    if y0 != before and y1 != y0:  # y0 was the next one of the row before
        _widen(ground, y1, wide[y1 & 1])
    upper, lower = wide[y0 & 1], wide[y1 & 1]
    for k in range(3):
        _between(upper[k], lower[k], t, out[k])
