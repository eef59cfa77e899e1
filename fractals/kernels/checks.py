"""What the checks want to know of a picture and of an orbit."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.histogram import COUNT_ONE, COUNT_SHIFT, find_cells
from fractals.kernels.scalars import U32, U64, F, log2_32
from pixmix_kernels import arrays, entry, kernel
from pixmix_kernels.arrays import F32, F64, I32, I64, F32x2, F64x2, U8x3


@entry
def measure_picture(pixels: U8x3, result: I64) -> None:
    """What the final check wants to know of a picture of 128 x 128, in whole numbers.

    pixels  (128, 128, 3) uint8
    result  (5,) int64, set: how many of the 256 blocks of 8x8 pixels have a standard deviation of
            grey above 10 levels; 1024^2 times the variance of 16 R, 16 G and 16 B at 32x32; the sum
            over all pixels of the largest less the smallest of the three channels
    """
    active = 0
    spread = 0
    for top in range(0, 128, 8):
        for left in range(0, 128, 8):
            total = 0
            squares = 0
            for i in range(top, top + 8):
                for j in range(left, left + 8):
                    r = np.int64(pixels[i, j, 0])
                    g = np.int64(pixels[i, j, 1])
                    b = np.int64(pixels[i, j, 2])
                    grey = 77 * r + 150 * g + 29 * b  # of 256 parts
                    total += grey
                    squares += grey * grey
                    spread += max(r, max(g, b)) - min(r, min(g, b))
            # variance times 64^2; grain adds more here than after shrinking, hence 10 levels
            active += 1 if 64 * squares - total * total > (10 * 256 * 64) ** 2 else 0
    result[0] = active
    result[4] = spread
    for k in range(3):
        total = 0
        squares = 0
        for top in range(0, 128, 4):
            for left in range(0, 128, 4):
                cell = 0
                for i in range(top, top + 4):
                    for j in range(left, left + 4):
                        cell += np.int64(pixels[i, j, k])
                total += cell
                squares += cell * cell
        result[1 + k] = 1024 * squares - total * total


@kernel
def bin_trace(trace: F32x2, frame: F32, width: int, places: I32, histogram: arrays.U64) -> None:
    """Counts of traced points, the points outside as the iterations count them.

    trace      (3, t) float32: x, y, colour; points of negative colour count as outside
    frame      (6,) float32: affine map to cells, border included
    width      side of the histogram with its border
    places     (t,) int32 scratch
    histogram  (width * width,) uint64, set: COUNT_ONE for each point
    """
    for i in range(histogram.shape[0]):
        histogram[i] = U64(0)
    find_cells(trace[0], trace[1], trace[2], frame, width, places)
    for i in range(places.shape[0]):
        histogram[U32(places[i])] += COUNT_ONE


@kernel
def measure_spread(histogram: arrays.U64, width: int, result: F64) -> None:
    """How an orbit's points spread over the cells of its frame.

    histogram  (width * width,) uint64 as the iterations leave it, with its border
    result     (5,) float64, set: share of cells hit, entropy in bits, share of the fullest cell,
               share of points inside the frame, structure
    structure  mean squared difference of horizontal and vertical neighbours, less what Poisson
               noise alone would give, over the mean square: near 0 for a smooth blob or even
               dust, 1 and more for filaments and edges
    """
    total = 0
    for i in range(histogram.shape[0]):
        total += np.int64(histogram[i] >> COUNT_SHIFT)
    inside = 0
    fullest = 0
    hit = 0
    for i in range(1, width - 1):
        for j in range(1, width - 1):
            count = np.int64(histogram[i * width + j] >> COUNT_SHIFT)
            inside += count
            fullest = count if count > fullest else fullest
            hit += 1 if count > 0 else 0
    entropy = 0.0
    for i in range(1, width - 1):
        for j in range(1, width - 1):
            count = np.int64(histogram[i * width + j] >> COUNT_SHIFT)
            if count > 0:
                p = F(count) / F(inside)
                entropy -= np.float64(p * log2_32(p))
    differences = 0
    squares = 0
    for i in range(1, width - 2):
        for j in range(1, width - 2):
            k = i * width + j
            here = np.int64(histogram[k] >> COUNT_SHIFT)
            right = np.int64(histogram[k + 1] >> COUNT_SHIFT)
            below = np.int64(histogram[k + width] >> COUNT_SHIFT)
            differences += (here - right) * (here - right) - (here + right)
            differences += (here - below) * (here - below) - (here + below)
            squares += here * here + (right * right + below * below)
    result[4] = np.float64(differences) / np.float64(squares) if squares > 0 else 0.0
    result[0] = np.float64(hit) / np.float64((width - 2) * (width - 2))
    result[1] = entropy
    result[2] = np.float64(fullest) / np.float64(inside) if inside > 0 else 1.0
    result[3] = np.float64(inside) / np.float64(total) if total > 0 else 0.0


@entry
def measure_frames(
    trace: F32x2,
    frames: F32x2,
    width: int,
    places: I32,
    histogram: arrays.U64,
    results: F64x2,
) -> None:
    """How an orbit's points spread over the cells of several frames.

    trace      (3, t) float32, as bin_trace's
    frames     (k, 6) float32: affine maps to cells, border included
    width      side of the histogram with its border
    places, histogram  (t,) int32 and (width * width,) uint64 scratch
    results    (k, 5) float64, set: as measure_spread's
    """
    for k in range(frames.shape[0]):
        bin_trace(trace, frames[k], width, places, histogram)
        measure_spread(histogram, width, results[k])
