"""How bright a layer is to be, and how its palette is spread: from its coarse counts."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.scalars import U32, F
from pixmix_kernels import entry, kernel
from pixmix_kernels.arrays import F64, I32, F32x2, F64x2

# Densities are sorted into buckets of float32's upper bits, 32 an octave, from 2**-16 on. So one
# pass over the cells takes the place of sorting them.
BUCKET_SHIFT = np.int32(18)
FIRST_BUCKET = (127 - 16) * 32
BUCKETS = 50 * 32
# What share of the points lies in cells of lower density than the one where tone starts to show,
# and than the one that is white: a few more or fewer points in nearly empty cells do not move them.
LOW_SHARE, WHITE_SHARE = 0.06, 0.90
# Palettes are spread over this many bins of the colour coordinate, at most so many times steeper
# than they are.
SPREAD_BINS = 64
SPREAD_LIMIT = 3.0
ENCODE_STEPS = 512


@kernel
def expose(coarse: F64x2, buckets: F64x2) -> tuple[float, float]:
    """The counts at which tone starts to show, and at which it is white.

    coarse   (g, g) float64, counts
    buckets  (2, BUCKETS) float64 scratch
    returns  (low, white), each the mean of its bucket, within 2% of the cell in question;
             (1, 2) where there is no point
    """
    points, cells = buckets[0], buckets[1]
    for k in range(BUCKETS):
        points[k] = 0.0
        cells[k] = 0.0
    total = 0.0
    for i in range(coarse.shape[0]):
        for j in range(coarse.shape[1]):
            n = coarse[i, j]
            if n > 0.0:
                k = np.int64(F(n).view(np.int32) >> BUCKET_SHIFT) - FIRST_BUCKET
                k = min(max(k, 0), BUCKETS - 1)
                points[k] += n
                cells[k] += 1.0
                total += n
    if total == 0.0:
        return 1.0, 2.0
    low = 0.0
    white = 0.0
    running = 0.0
    for k in range(BUCKETS):
        if cells[k] > 0.0:
            running += points[k]
            white = points[k] / cells[k]
            if low == 0.0 and running >= LOW_SHARE * total:
                low = white
            if running >= WHITE_SHARE * total:
                break
    return low, max(white, 1.5 * low)


@kernel
def spread_palette(
    base: F32x2,
    coarse: F64x2,
    coarse_sums: F64x2,
    low: float,
    share: float,
    bins: F64x2,
    places: I32,
    table: F32x2,
) -> None:
    """The palette over the colour coordinate, spread so that each of its parts shows as much.

    Coordinates that no cell has would waste their colours. The spread is limited as in adaptive
    histogram equalization: steeper, it would show noise.

    base     (3, p) float32, the palette
    coarse, coarse_sums  (g, g) float64
    low      of `expose`: much darker cells are not asked
    share    0 to 1: how far it is spread
    bins, places  (2, SPREAD_BINS + 2) float64 and (g,) int32 or more, scratch
    table    (3, p) float32, set
    """
    running, odd = bins[0], bins[1]
    for k in range(SPREAD_BINS + 2):
        running[k] = 0.0
        odd[k] = 0.0
    enough = 0.5 * low
    for i in range(coarse.shape[0]):
        n, s = coarse[i], coarse_sums[i]
        for j in range(n.shape[0]):
            position = s[j] / (n[j] + 1e-9)
            position = position if position < 1.0 else 1.0
            k = np.int32(np.int32(position * (SPREAD_BINS - 1e-6)) + np.int32(1))
            places[j] = k if n[j] > enough else np.int32(SPREAD_BINS + 1)
        # in turns, because neighbours often add to the same bin, and one has to wait for the other
        for j in range(0, n.shape[0] - 1, 2):
            running[U32(places[j])] += 1.0
            odd[U32(places[j + 1])] += 1.0
        if n.shape[0] & 1:
            running[U32(places[n.shape[0] - 1])] += 1.0
    for k in range(SPREAD_BINS + 2):
        running[k] += odd[k]
    total = max(np.float64(coarse.size) - running[SPREAD_BINS + 1], 1.0)
    for k in range(1, SPREAD_BINS + 1):
        running[k] = running[k - 1] + min(running[k] / total, SPREAD_LIMIT / SPREAD_BINS)
    rest = 1.0 - running[SPREAD_BINS]  # what was cut off goes to all bins alike
    last = table.shape[1] - 1
    step = 1.0 / np.float64(last)
    red, green, blue = table[0], table[1], table[2]
    for j in range(table.shape[1]):
        even = np.float64(np.int32(j)) * step
        place = even * SPREAD_BINS
        left = np.int32(place)
        left = left if left < np.int32(SPREAD_BINS - 1) else np.int32(SPREAD_BINS - 1)
        before, after = running[U32(left)], running[U32(left) + U32(1)]
        rank = before + (place - left) * (after - before) + rest * even
        spread = share * rank + (1.0 - share) * even
        spread = spread if spread < 1.0 else 1.0
        k = U32(np.int32(spread * last + 0.5))
        red[j] = base[0, k]
        green[j] = base[1, k]
        blue[j] = base[2, k]


@kernel
def _encoded(linear: float, encode: F64) -> float:
    # sRGB's transfer function, from a table over the square root of linear light
    held = min(max(linear, 0.0), 1.0)
    position = np.sqrt(held) * ENCODE_STEPS
    low = np.int32(position)
    before, after = encode[U32(low)], encode[U32(low) + U32(1)]
    value = before + (position - low) * (after - before)
    return min(max(value, 0.0), 1.0)


@entry
def mix_palette(points: F64x2, encode: F64, table: F32x2) -> None:
    """A palette as a table of colours.

    points  (n, 3) float64: OKLab colours, n >= 2, evenly spaced from 0 to 1
    encode  (ENCODE_STEPS + 2,) float64: sRGB over the square root of linear light
    table   (3, p) float32, p >= 2, set: sRGB in [0, 1], colours outside the gamut held to its faces
    source  Ottosson (2020), A perceptual color space for image processing; IEC 61966-2-1
    """
    n, p = points.shape[0], table.shape[1]
    step = np.float64(n - 1) / np.float64(p - 1)
    last = np.int32(n - 2)
    for j in range(p):
        position = np.float64(np.int32(j)) * step
        left = np.int32(position)
        left = left if left < last else last
        t = position - left
        # smooth steps stay near the drawn colours and pass the greys between opposite hues quickly
        t = t * t * (3.0 - 2.0 * t)
        light = points[left, 0] + t * (points[left + 1, 0] - points[left, 0])
        a = points[left, 1] + t * (points[left + 1, 1] - points[left, 1])
        b = points[left, 2] + t * (points[left + 1, 2] - points[left, 2])
        u = light + 0.3963377774 * a + 0.2158037573 * b
        v = light - 0.1055613458 * a - 0.0638541728 * b
        w = light - 0.0894841775 * a - 1.2914855480 * b
        u, v, w = u * u * u, v * v * v, w * w * w
        red = 4.0767416621 * u - 3.3077115913 * v + 0.2309699292 * w
        green = -1.2684380046 * u + 2.6097574011 * v - 0.3413193965 * w
        blue = -0.0041960863 * u - 0.7034186147 * v + 1.7076147010 * w
        table[0, j] = F(_encoded(red, encode))
        table[1, j] = F(_encoded(green, encode))
        table[2, j] = F(_encoded(blue, encode))
