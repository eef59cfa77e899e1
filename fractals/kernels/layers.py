"""From a histogram to a layer of the picture, in one pass over its rows."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fractals.kernels.exposure import expose, spread_palette
from fractals.kernels.ground import ground_row
from fractals.kernels.histogram import add_up, read_row
from fractals.kernels.scalars import HALF, ONE, TINY, TWO, U32, ZERO, F, Scalar, log2_32
from pixmix_kernels import arrays, entry, kernel, record
from pixmix_kernels.arrays import F32, I32, F32x2, F32x3, F64x2, U16x3, U64x2

# Cells with this many points are not smoothed: for their light, in two passes, and their colour.
# Colours are smoothed wider and up to larger counts: a mean of few coordinates is noise, which a
# palette amplifies, and eyes see colour less sharply than light.
LIGHT_ENOUGH, STILL_ENOUGH = F(9.0), F(3.0)
COLOR_ENOUGH = F(16.0)
# Pairs of passes of blur, and its weights: binomial filters of five taps and of three
GLOW_BLUR = 4, F(4 / 16), F(1 / 16)
VEIL_BLUR = 1, F(1 / 4), F(0)
GLOW_SOLIDITY, GLOW_SHADE = F(1.3), F(0.2)
# Rows that wait until those below them are there: each kind a ring, a power of two long
RAW, ONCE, TWICE, LIT = 4, 8, 16, 16
RING_ROWS = 2 * RAW + 2 * ONCE + 2 * TWICE + LIT
SPARE_ROWS = 10
FULL_VALUE = F(65535.0)  # a working picture's values are whole numbers up to this


@record
class Bench(NamedTuple):
    """Working memory for pictures of one side, h. Whatever is in it, every layer sets anew."""

    coarse: F64x2  # (g, g), counts over a coarse grid
    coarse_sums: F64x2  # (g, g)
    buckets: F64x2  # (2, BUCKETS)
    bins: F64x2  # (2, SPREAD_BINS + 2)
    columns: U64x2  # (2, side of the histogram)
    table: F32x2  # (3, p), the palette spread
    soft: F32x2  # (3, g * g): counts and sums to be blurred, and scratch
    wide: F32x3  # (2, 3, h), of ground_row
    rings: F32x2  # (RING_ROWS, h)
    rows: F32x2  # (SPARE_ROWS, h)
    places: I32  # (h,)


@kernel
def smooth_row(above: F32, here: F32, below: F32, step: int, out: F32) -> None:
    """The 1-2-1 binomial filter along a row and across three, in all 16; ends repeat.

    above, here, below, out  (w,) float32, w > 2 * step
    step                     how far along the row the neighbours are
    """
    w = here.shape[0]
    inner = w - 2 * step
    q = F(0.25)
    # views that start at the left, middle and right cells, so that the loop vectorises
    al, am, ar = above[:inner], above[step : step + inner], above[2 * step :]
    hl, hm, hr = here[:inner], here[step : step + inner], here[2 * step :]
    bl, bm, br = below[:inner], below[step : step + inner], below[2 * step :]
    o = out[step : step + inner]
    for j in range(inner):
        corners = al[j] + ar[j] + bl[j] + br[j]
        sides = am[j] + bm[j] + hl[j] + hr[j]
        o[j] = q * (q * corners + HALF * sides + hm[j])
    for edge in range(2 * step):
        j = edge if edge < step else w - 1 - (edge - step)
        left = j - step if j >= step else 0
        right = j + step if j + step < w else w - 1
        corners = above[left] + above[right] + below[left] + below[right]
        sides = above[j] + below[j] + here[left] + here[right]
        out[j] = q * (q * corners + HALF * sides + here[j])


@kernel
def _smooth_ring(ring: F32x2, i: int, h: int, step: int, out: F32) -> None:
    # row i of h, out of a ring that holds those that are `step` above and below it
    last = ring.shape[0] - 1
    above, below = max(i - step, 0), min(i + step, h - 1)
    smooth_row(ring[above & last], ring[i & last], ring[below & last], step, out)


@kernel
def keep_dense(smooth: F32, here: F32, enough: Scalar, out: F32) -> None:
    """What is left of the smoothing where there are points: none at `enough` of them."""
    share = ONE / enough
    for j in range(here.shape[0]):
        n = smooth[j]
        keep = n * share
        keep = keep if keep < ONE else ONE
        out[j] = n + keep * (here[j] - n)


@kernel
def keep_colors(
    smooth: F32, smooth_sums: F32, counts: F32, sums: F32, enough: Scalar, n: F32, s: F32
) -> None:
    """As keep_dense, of counts and of sums of colours by the same shares, into n and s."""
    share = ONE / enough
    for j in range(counts.shape[0]):
        a, b = smooth[j], smooth_sums[j]
        keep = a * share
        keep = keep if keep < ONE else ONE
        n[j] = a + keep * (counts[j] - a)
        s[j] = b + keep * (sums[j] - b)


@kernel
def _blur_down(values: F32, g: int, near: Scalar, far: Scalar, other: F32) -> None:
    # five taps along the columns of (g, g) values in one row
    middle = ONE - TWO * (near + far)
    for i in range(g):
        up, above = max(i - 2, 0) * g, max(i - 1, 0) * g
        below, down = min(i + 1, g - 1) * g, min(i + 2, g - 1) * g
        a, b, c = values[up : up + g], values[above : above + g], values[i * g : (i + 1) * g]
        d, e = values[below : below + g], values[down : down + g]
        o = other[i * g : (i + 1) * g]
        for j in range(g):
            o[j] = far * (a[j] + e[j]) + near * (b[j] + d[j]) + middle * c[j]


@kernel
def _turn(values: F32, g: int, other: F32) -> None:
    # columns become rows
    for i in range(g):
        for j in range(g):
            other[j * g + i] = values[i * g + j]


@kernel
def blur(values: F32, g: int, pairs: int, near: Scalar, far: Scalar, other: F32) -> None:
    """A filter of five taps along columns and along rows, 2 * pairs times, in place.

    values     (g * g,) float32; beyond the edges the outermost repeat
    near, far  float32, weights of cells at distance 1 and 2; all five are 1
    other      (g * g,) float32 scratch
    """
    for _ in range(2):
        for _ in range(pairs):
            _blur_down(values, g, near, far, other)
            _blur_down(other, g, near, far, values)
        _turn(values, g, other)
        for j in range(g * g):
            values[j] = other[j]


@kernel
def compose_row(
    counts: F32,
    color_counts: F32,
    color_sums: F32,
    exposure: Scalar,
    look: F32,
    palette: F32x2,
    screen: bool,
    rows: F32x2,
    places: I32,
    red: F32,
    green: F32,
    blue: F32,
) -> None:
    """Lays a row of one layer over the picture's.

    A cell's tone is log(1 + count / c0) over log(1 + white / c0), softly held below 1; the layer
    covers by solidity * tone and its light runs from shade to 1 with the tone.

    counts        (h,) float32
    color_counts, color_sums  (h,) float32: their ratio is a cell's mean colour coordinate; they may
                  be smoother than the counts
    exposure      (float32 1 / c0, float32 1 / log2(1 + white / c0))
    look          (4,) float32 or more: solidity, shade, highlight, opacity
    palette       (3, p) float32, sRGB in [0, 1], by the mean colour coordinate of a cell
    screen        True: screen, False: over
    rows, places  (4, h) float32 and (h,) int32 or more of each, scratch
    red, green, blue  (h,) float32, changed; a cell without points stays as it is
    """
    h = counts.shape[0]
    entries = F(palette.shape[1] - 1)
    inv_c0, inv_white = exposure
    solidity, shade, highlight, opacity = look[0], look[1], look[2], look[3]
    covers, lights, glares, colors = rows[0], rows[1], rows[2], rows[3]
    for j in range(h):
        t = log2_32(ONE + counts[j] * inv_c0) * inv_white
        # a shoulder from .75 on: cells denser than white still differ
        over = (t - F(0.75)) * TWO
        over = over if over > ZERO else ZERO
        t = t if t < F(0.75) else F(0.75) + HALF * over / (ONE + TWO * over)
        m = color_sums[j] / (color_counts[j] + TINY)
        m = m if m < ONE else ONE
        places[j] = np.int32(m * entries + HALF)
        cover = solidity * t
        covers[j] = (cover if cover < ONE else ONE) * opacity
        lights[j] = shade + (ONE - shade) * t
        glare = (t - F(0.7)) * highlight
        glares[j] = glare if glare > ZERO else ZERO
    for k in range(3):
        p = palette[k]
        o = red if k == 0 else (green if k == 1 else blue)
        for j in range(h):
            colors[j] = p[U32(places[j])]
        if screen:
            for j in range(h):
                value = colors[j] * lights[j]
                value = value + glares[j] * (ONE - value)
                o[j] = o[j] + covers[j] * value * (ONE - o[j])
        else:
            for j in range(h):
                value = colors[j] * lights[j]
                value = value + glares[j] * (ONE - value)
                o[j] = o[j] + covers[j] * (value - o[j])


@kernel
def _exposure(low: float, white: float, cells: float) -> tuple[Scalar, Scalar]:
    # of compose_row, for counts of fine cells, of which `cells` make a coarse one
    return F(cells / low), ONE / log2_32(F(1.0 + white / low))


@kernel
def _lay_soft(
    filter: Scalar, exposure: Scalar, look: F32, palette: F32x2, bench: Bench, ground: F32x3
) -> None:
    # the coarse counts, blurred, over a ground of their own size
    g = bench.coarse.shape[0]
    counts, sums, spare = bench.soft[0], bench.soft[1], bench.soft[2]
    for i in range(g):
        for j in range(g):
            counts[i * g + j] = F(bench.coarse[i, j])
            sums[i * g + j] = F(bench.coarse_sums[i, j])
    pairs, near, far = filter
    blur(counts, g, pairs, near, far, spare)
    blur(sums, g, pairs, near, far, spare)
    for i in range(g):
        n, s = counts[i * g : (i + 1) * g], sums[i * g : (i + 1) * g]
        compose_row(
            n, n, s, exposure, look, palette, False, bench.rows, bench.places,
            ground[0, i], ground[1, i], ground[2, i],
        )  # fmt: skip


@kernel
def _measure(
    histogram: arrays.U64, side: int, base: F32x2, equalize: float, bench: Bench
) -> tuple[float, float]:
    # the coarse counts and the palette, into bench, and the exposure
    add_up(histogram, side, bench.columns, bench.coarse, bench.coarse_sums)
    low, white = expose(bench.coarse, bench.buckets)
    spread_palette(
        base, bench.coarse, bench.coarse_sums, low, equalize, bench.bins, bench.places, bench.table
    )
    return low, white


@entry
def lay_veil(
    histogram: arrays.U64, base: F32x2, equalize: float, look: F32, bench: Bench, ground: F32x3
) -> None:
    """Lays a soft layer over the ground, at the ground's own size.

    histogram  ((g + 2)**2,) uint64
    base       (3, p) float32, the palette
    equalize   0 to 1: how far it is spread
    look       (4,) float32 or more, see compose_row
    bench      of any side from g on
    ground     (3, g, g) float32, changed
    """
    low, white = _measure(histogram, ground.shape[1], base, equalize, bench)
    _lay_soft(VEIL_BLUR, _exposure(low, white, 1.0), look, bench.table, bench, ground)


@entry
def lay_glow(
    histogram: arrays.U64,
    side: int,
    base: F32x2,
    equalize: float,
    strength: np.float32,
    bench: Bench,
    ground: F32x3,
) -> None:
    """Lays a layer's own light, spread wide, over the ground: fills the gaps with its colours.

    histogram  ((side + 2)**2,) uint64, side >= g
    base, equalize, bench, ground  as lay_veil's
    strength   0 to 1
    """
    low, white = _measure(histogram, side, base, equalize, bench)
    look = bench.rows[SPARE_ROWS - 1]
    look[0], look[1], look[2], look[3] = GLOW_SOLIDITY, GLOW_SHADE, ZERO, strength
    _lay_soft(GLOW_BLUR, _exposure(low, white, 1.0), look, bench.table, bench, ground)


@kernel
def _rings(bench: Bench) -> Scalar:
    # (counts, sums) as they are, smoothed once, smoothed twice; then the light's, smoothed once
    rings = bench.rings
    a, b, c = 2 * RAW, 2 * RAW + 2 * ONCE, 2 * RAW + 2 * ONCE + 2 * TWICE
    return (
        rings[:RAW], rings[RAW:a], rings[a : a + ONCE], rings[a + ONCE : b],
        rings[b : b + TWICE], rings[b + TWICE : c], rings[c:],
    )  # fmt: skip


@entry
def lay_layer(
    histogram: arrays.U64,
    fold: int,
    base: F32x2,
    equalize: float,
    look: F32,
    screen: bool,
    first: bool,
    ground: F32x3,
    bench: Bench,
    picture: U16x3,
) -> None:
    """Lays one layer over the picture, or over the ground where it is the first.

    Exposure and palette come from a coarse grid, so that they do not depend on the size. Where
    points are scarce light is smoothed twice, which reaches three cells, and colours three times,
    over distances of 1, 2 and 4, which reach seven. Rows wait in rings for those below them: so a
    layer takes one pass over the histogram and one over the picture, whatever their size.

    histogram  ((fold * h + 2)**2,) uint64
    fold       1, or 2: its cells are added up two by two
    base       (3, p) float32, the palette
    equalize   0 to 1: how far it is spread
    look       (4,) float32: solidity, shade, highlight, opacity, see compose_row
    screen     True: screen, False: over
    ground     (3, g, g) float32
    bench      for pictures of this side
    picture    (h, 3, h) uint16, changed: each row red, green, blue; 65535 is all light
    """
    h = picture.shape[0]
    g = bench.coarse.shape[0]
    low, white = _measure(histogram, fold * h, base, equalize, bench)
    table = bench.table
    fine = np.float64(h) / np.float64(g)
    exposure = _exposure(low, white, fine * fine)
    n0, s0, n1, s1, n2, s2, lit = _rings(bench)
    rows = bench.rows
    smooth, smooth_sums = rows[4], rows[5]
    colors = rows[6:9]
    for r in range(h + 7):
        if r < h:
            read_row(histogram, r, fold, n0[r & (RAW - 1)], s0[r & (RAW - 1)])
        i = r - 1
        if i >= 0 and i < h:
            n, s = n0[i & (RAW - 1)], s0[i & (RAW - 1)]
            _smooth_ring(n0, i, h, 1, smooth)
            _smooth_ring(s0, i, h, 1, smooth_sums)
            keep_dense(smooth, n, LIGHT_ENOUGH, lit[i & (LIT - 1)])
            k = i & (ONCE - 1)
            keep_colors(smooth, smooth_sums, n, s, COLOR_ENOUGH, n1[k], s1[k])
        i = r - 3
        if i >= 0 and i < h:
            n, s = n1[i & (ONCE - 1)], s1[i & (ONCE - 1)]
            _smooth_ring(n1, i, h, 2, smooth)
            _smooth_ring(s1, i, h, 2, smooth_sums)
            k = i & (TWICE - 1)
            keep_colors(smooth, smooth_sums, n, s, COLOR_ENOUGH, n2[k], s2[k])
        i = r - 7
        if i < 0:
            continue
        n, s = n2[i & (TWICE - 1)], s2[i & (TWICE - 1)]
        _smooth_ring(n2, i, h, 4, smooth)
        _smooth_ring(s2, i, h, 4, smooth_sums)
        keep_colors(smooth, smooth_sums, n, s, COLOR_ENOUGH, smooth, smooth_sums)
        light = rows[9]
        _smooth_ring(lit, i, h, 1, light)
        keep_dense(light, lit[i & (LIT - 1)], STILL_ENOUGH, light)
        if first:
            ground_row(ground, i, bench.wide, colors)
        else:
            for k in range(3):
                p, o = picture[i, k], colors[k]
                for j in range(h):
                    o[j] = F(p[j]) * (ONE / FULL_VALUE)
        compose_row(
            light, smooth, smooth_sums, exposure, look, table, screen, rows, bench.places,
            colors[0], colors[1], colors[2],
        )  # fmt: skip
        for k in range(3):
            p, o = picture[i, k], colors[k]
            for j in range(h):
                value = o[j] if o[j] > ZERO else ZERO
                value = value if value < ONE else ONE
                p[j] = np.uint16(np.int32(value * FULL_VALUE + HALF))
