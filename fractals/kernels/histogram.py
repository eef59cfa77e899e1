"""Cells that count points and add up their colours."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.scalars import U64, F
from pixmix_kernels import arrays, entry
from pixmix_kernels.arrays import F64, F32x2, F64x2

# A histogram cell: how many points above bit 40, the sum of their 16-bit colours below.
# Histograms have a border of one cell, where points outside the frame are put.
COUNT_SHIFT = U64(40)
COUNT_ONE = U64(1 << 40)
COLOR_MASK = U64((1 << 40) - 1)
MAX_POINTS_A_PASS = (1 << 24) - 1  # more could overflow either half of a cell


@entry
def unpack(histogram: arrays.U64, counts: F32x2, sums: F32x2) -> None:
    """Adds the inside of a histogram to float arrays of counts and colour sums, and clears it.

    histogram  ((h + 2) * (h + 2),) uint64, set to 0
    counts     (h, h) float32, added to
    sums       (h, h) float32, added to: colours in [0, 1]
    """
    h = counts.shape[0]
    width = h + 2
    for i in range(h):
        row = histogram[(i + 1) * width + 1 : (i + 2) * width - 1]
        n, s = counts[i], sums[i]
        for j in range(h):
            cell = row[j]
            n[j] += F(np.int64(cell >> COUNT_SHIFT))
            s[j] += F(np.int64(cell & COLOR_MASK)) * F(1.0 / 65535.0)
    for i in range(histogram.shape[0]):
        histogram[i] = U64(0)


@entry
def shrink_sums(values: F32x2, column: F64, coarse: F64x2) -> None:
    """Sums of a square array over a coarser square grid.

    values  (h, h) float32
    column  (h,) float64 scratch
    coarse  (g, g) float64, g <= h, set
    """
    h = values.shape[0]
    g = coarse.shape[0]
    for gy in range(g):
        top = gy * h // g
        bottom = (gy + 1) * h // g
        for j in range(h):
            column[j] = 0.0
        for i in range(top, bottom):
            row = values[i]
            for j in range(h):
                column[j] += np.float64(row[j])
        for gx in range(g):
            total = 0.0
            for j in range(gx * h // g, (gx + 1) * h // g):
                total += column[j]
            coarse[gy, gx] = total
