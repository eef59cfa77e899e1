"""The chaos game of fractal flames, many points at a time."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.histogram import COUNT_ONE, HIGH_HEAP, add_heaps, find_cells, put_by
from fractals.kernels.scalars import (
    HALF,
    HASH_1,
    ONE,
    SPLITMIX_STEP,
    TWO,
    U32,
    U64,
    ZERO,
    F,
    Scalar,
    hash32,
    splitmix,
    unit32,
)  # fmt: skip
from fractals.kernels.variations import apply_variation
from pixmix_kernels import arrays, entry, kernel
from pixmix_kernels.arrays import F32, F64, I32, F32x2, F32x3, I32x2

PACK = 32  # points of a flame that move together
LARGE = F(1e5)  # coordinates beyond this have left
UNPLOTTED = F(-16.0)  # colour of a point just seeded: stays negative for about four iterations


@kernel
def _apply_map(
    numbers: I32,
    arguments: F32x2,
    u: F32,
    v: F32,
    px: F32,
    py: F32,
    seed: Scalar,
    spare_a: F32,
    spare_b: F32,
) -> None:
    # the map's variations summed into (px, py)
    n = u.shape[0]
    for i in range(n):
        px[i] = ZERO
        py[i] = ZERO
    for j in range(numbers.shape[0]):
        if numbers[j] >= 0:
            a = arguments[j]
            lane_seed = U32(seed + U32(j))
            apply_variation(
                numbers[j], u, v, px, py, a[0], a[1], a[2], a[3], a[4], lane_seed, spare_a, spare_b
            )


@kernel
def _post_transform(row: F32, px: F32, py: F32) -> None:
    # in place
    m0, m1, m2, m3, m4, m5 = row[6], row[7], row[8], row[9], row[10], row[11]
    for i in range(px.shape[0]):
        x, y = px[i], py[i]
        px[i] = m0 * x + m1 * y + m2
        py[i] = m3 * x + m4 * y + m5


@kernel
def _deal(
    row: F32,
    x: F32,
    y: F32,
    c: F32,
    first: int,
    deal: Scalar,
    u: F32,
    v: F32,
    colors: F32,
) -> None:
    # The points that a map gets, from pack `first` on: their affine part, and their new colours,
    # which move by the map's speed towards the map's colour, where `_lay_down` puts the points.
    # Four packs that lie side by side are dealt like cards, 0, 4, 8, ..., 1, 5, 9, ...: so a pack
    # is read in vectors, where a random order of points took over twice as long. (Unsigned indices:
    # cutting slices for every pack took a tenth of the kernel's time)
    packs = x.shape[0] // PACK
    m0, m1, m2, m3, m4, m5 = row[0], row[1], row[2], row[3], row[4], row[5]
    target, speed = row[12], row[13]
    for pack in range(u.shape[0] // PACK):
        k = (deal[0] * (first + pack) + deal[1]) & (packs - 1)
        begin = U64(4 * PACK * (k >> 2) + (k & 3))
        low = U64(pack * PACK)
        place = U64(((deal[2] * (first + pack) + deal[3]) & (packs - 1)) * PACK)
        for i in range(PACK):
            j = begin + U64(4) * U64(i)
            xi, yi, ci = x[j], y[j], c[j]
            u[low + U64(i)] = m0 * xi + m1 * yi + m2
            v[low + U64(i)] = m3 * xi + m4 * yi + m5
            color = ci + speed * (target - ci)
            # a point seeded again comes back with its map's colour, not with what is left of the
            # mark
            colors[place + U64(i)] = target if (ci < ZERO) & (color > -HALF) else color


@kernel
def _lay_down(
    row: F32,
    px: F32,
    py: F32,
    first: int,
    deal: Scalar,
    nx: F32,
    ny: F32,
) -> None:
    # the map's post transform, and its packs to places among those of other maps: packs side by
    # side are dealt together, and should not have met the same map
    packs = nx.shape[0] // PACK
    m0, m1, m2, m3, m4, m5 = row[6], row[7], row[8], row[9], row[10], row[11]
    for pack in range(px.shape[0] // PACK):
        low = U64(pack * PACK)
        place = U64(((deal[2] * (first + pack) + deal[3]) & (packs - 1)) * PACK)
        for i in range(PACK):
            x, y = px[low + U64(i)], py[low + U64(i)]
            nx[place + U64(i)] = m0 * x + m1 * y + m2
            ny[place + U64(i)] = m3 * x + m4 * y + m5


@kernel
def _seed_again(x: F32, y: F32, c: F32, seed: Scalar) -> None:
    # points that left, or are not numbers, start anew in [-1, 1]^2 and are not plotted at first;
    # most of the time there is none, and looking takes a tenth of the time of seeding
    left = 0
    for i in range(x.shape[0]):
        xi, yi = x[i], y[i]
        stays = (xi > -LARGE) & (xi < LARGE) & (yi > -LARGE) & (yi < LARGE)
        left += 0 if stays else 1
    if left == 0:
        return
    for i in range(x.shape[0]):
        xi, yi = x[i], y[i]
        stays = xi > -LARGE and xi < LARGE and yi > -LARGE and yi < LARGE
        h = hash32(i, seed)
        x[i] = xi if stays else TWO * unit32(h) - ONE
        y[i] = yi if stays else TWO * unit32(U32(h * HASH_1)) - ONE
        c[i] = c[i] if stays else UNPLOTTED


@kernel
def _plot(
    x: F32,
    y: F32,
    c: F32,
    frame: F32,
    width: int,
    cells: I32x2,
    histogram: arrays.U64,
    waiting: arrays.U32,
    filled: I32,
) -> None:
    # cells and colours first, in a loop that vectorises; then the scattered additions
    places, colors = cells[0], cells[1]
    find_cells(x, y, c, frame, width, places)
    for i in range(x.shape[0]):
        color = c[i] if c[i] >= ZERO else ZERO
        colors[i] = np.int32(color * F(65535.0))
    if filled.shape[0] > 0:
        for i in range(x.shape[0]):
            put_by(U32(places[i]), U32(colors[i]), waiting, filled)
        add_heaps(histogram, waiting, filled, HIGH_HEAP)
        return
    for i in range(x.shape[0]):
        histogram[U32(places[i])] += COUNT_ONE + U64(U32(colors[i]))


@entry
def iterate_flame(
    maps: F32x2,
    numbers: I32x2,
    arguments: F32x3,
    bounds: F64,
    frame: F32,
    seed: np.uint64,
    points: int,
    warming: int,
    width: int,
    work: F32x2,
    cells: I32x2,
    histogram: arrays.U64,
    waiting: arrays.U32,
    filled: I32,
    trace: F32x2,
) -> None:
    """The chaos game of a fractal flame, many points at a time, added up in a histogram.

    Each iteration gives every map one contiguous run of the points, as long as its probability
    says (rounded at random), of packs dealt from all of them and shuffled: which map a point meets
    is random, and independent of what it met before, as in the game played point by point, and
    points that met the same map part. A map's variation is one branch-free loop over its run,
    which the compiler vectorises.

    maps       (n + 1, 14) float32: affine part (6), post transform (6), colour, colour speed;
               the last row is the final transform
    numbers    (n + 1, 3) int32: variations of each, -1 for none; the last row all -1 if there is
               no final transform
    arguments  (n + 1, 3, 5) float32: weight and four parameters of each variation
    bounds     (n + 1,) float64: cumulative probabilities from 0 to 1
    frame      (6,) float32: affine map to cells of the histogram, border included
    seed       uint64
    points     how many; rounded up to a multiple of m
    width      side of the histogram with its border, size + 2
    warming    iterations before any point is plotted, from new points; 0: go on with the points
               that an earlier call left in work
    work       (12, m) float32, m a power of two, 128 to BATCH: how many points move together; the
               first three rows are the points, the others scratch
    cells      (2, m) int32 scratch
    histogram  (width * width,) uint64, added to: count << 40 | sum of 16-bit colours; the border,
               one cell wide, takes what falls outside
    waiting, filled  as put_by's, nothing waiting; both empty: points are added
               at once, no more than MAX_AT_ONCE in all
    trace      (3, t) float32, written with the first t points plotted: x, y, colour (negative
               for a point just seeded)
    source     Draves & Reckase (2003), section 2 to 4
    """
    m = work.shape[1]
    n = maps.shape[0] - 1
    final = numbers[n, 0] >= 0
    x, y, c = work[0], work[1], work[2]
    nx, ny, nc = work[3], work[4], work[5]
    u, v, fx, fy = work[6], work[7], work[8], work[9]
    spare_a, spare_b = work[10], work[11]
    state = seed + SPLITMIX_STEP
    start = U32(splitmix(state) >> U64(32))
    if warming > 0:
        for i in range(m):
            h = hash32(i, start)
            x[i] = TWO * unit32(h) - ONE
            y[i] = TWO * unit32(U32(h * HASH_1)) - ONE
            c[i] = HALF
    # Runs are whole packs, rounded at random so that the shares are right in the mean: what is left
    # over from 8 lanes and from unrolling is done one by one, which took twice as long where a
    # flame has many maps
    packs = m // PACK
    traced = 0
    iterations = (points + m - 1) // m
    for step in range(-warming, iterations):
        state = state + SPLITMIX_STEP
        word = splitmix(state)
        # two orders of the packs, i -> (odd number times i + another) mod how many there are
        deal = (
            np.int64(word & U64(0x3FF)) | np.int64(1),
            np.int64((word >> U64(10)) & U64(0x3FF)),
            np.int64((word >> U64(20)) & U64(0x3FF)) | np.int64(1),
            np.int64((word >> U64(30)) & U64(0x3FF)),
        )
        shift = np.float64(np.int64((word >> U64(40)) & U64(0xFFFF))) / 65536.0
        state = state + SPLITMIX_STEP
        lane_seed = U32(splitmix(state) >> U64(32))
        first = 0
        for k in range(n):
            bound = np.int64(bounds[k + 1] * packs + shift)
            bound = packs if bound > packs or k == n - 1 else bound
            if bound > first:
                length = (bound - first) * PACK
                row = maps[k]
                _deal(row, x, y, c, first, deal, u[:length], v[:length], nc)
                _apply_map(
                    numbers[k],
                    arguments[k],
                    u[:length],
                    v[:length],
                    fx[:length],
                    fy[:length],
                    U32(lane_seed + U32(k * 4)),
                    spare_a[:length],
                    spare_b[:length],
                )
                _lay_down(row, fx[:length], fy[:length], first, deal, nx, ny)
                first = bound
        _seed_again(nx, ny, nc, lane_seed)
        x, nx = nx, x
        y, ny = ny, y
        c, nc = nc, c
        if step < 0:
            continue
        sx, sy = x, y
        if final:
            row = maps[n]
            for i in range(m):
                u[i] = row[0] * x[i] + row[1] * y[i] + row[2]
                v[i] = row[3] * x[i] + row[4] * y[i] + row[5]
            final_seed = U32(lane_seed + U32(n * 4))
            _apply_map(numbers[n], arguments[n], u, v, fx, fy, final_seed, spare_a, spare_b)
            _post_transform(row, fx, fy)
            sx, sy = fx, fy
        _plot(sx, sy, c, frame, width, cells, histogram, waiting, filled)
        if traced < trace.shape[1]:
            for i in range(min(m, trace.shape[1] - traced)):
                trace[0, traced + i] = sx[i]
                trace[1, traced + i] = sy[i]
                trace[2, traced + i] = c[i]
            traced += m
    add_heaps(histogram, waiting, filled, 0)
    if (warming + iterations) & 1:  # the rows have changed places that often
        for i in range(m):
            nx[i], ny[i], nc[i] = x[i], y[i], c[i]
