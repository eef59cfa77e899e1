"""From counts and colours to a picture."""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import numpy as np

from fractals.kernels.scalars import HALF, ONE, TINY, TWO, U32, ZERO, F, log2_32
from pixmix_kernels import entry, kernel
from pixmix_kernels.arrays import F32, F64, I32, U8, F32x2, F32x3, U8x2


@kernel
def _smooth_row(above: F32, here: F32, below: F32, step: int, out: F32) -> None:
    # the 1-2-1 binomial filter along a row and across three, in all 16; ends repeat
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


@entry
def smooth_sparse(
    counts: F32x2, sums: F32x2, enough: np.float32, step: int, new_counts: F32x2, new_sums: F32x2
) -> None:
    """Spreads cells that caught few points over 3x3 others; dense ones stay sharp.

    counts, sums          (h, w) float32, w > 2 * step
    enough                float32: a cell with this many points is left as it is
    step                  distance of the others: passes with 1, 2, 4 reach 7 cells
    new_counts, new_sums  (h, w) float32, set; beyond the edges the outermost cells repeat
    """
    h, w = counts.shape
    for i in range(h):
        up = i - step if i >= step else 0
        down = i + step if i + step < h else h - 1
        n1, s1, on, os = counts[i], sums[i], new_counts[i], new_sums[i]
        _smooth_row(counts[up], n1, counts[down], step, on)
        _smooth_row(sums[up], s1, sums[down], step, os)
        for j in range(w):
            n, s = on[j], os[j]
            keep = n / enough
            keep = keep if keep < ONE else ONE
            on[j] = n + keep * (n1[j] - n)
            os[j] = s + keep * (s1[j] - s)


@entry
def smooth_counts(counts: F32x2, enough: np.float32, step: int, new_counts: F32x2) -> None:
    """What smooth_sparse does to the counts, where nobody asks for the sums."""
    h, w = counts.shape
    for i in range(h):
        up = i - step if i >= step else 0
        down = i + step if i + step < h else h - 1
        n1, on = counts[i], new_counts[i]
        _smooth_row(counts[up], n1, counts[down], step, on)
        for j in range(w):
            n = on[j]
            keep = n / enough
            keep = keep if keep < ONE else ONE
            on[j] = n + keep * (n1[j] - n)


@entry
def upsample(small: F32x3, wide: F32x2, out: F32x3) -> None:
    """Bilinear enlargement of the ground, plane by plane.

    small  (3, g, g) float32
    wide   (g, h) float32 scratch
    out    (3, h, h) float32, set
    """
    g = small.shape[1]
    h = out.shape[1]
    step = F(g) / F(h)
    end = np.int32(g - 1)
    for k in range(3):
        for y in range(g):
            row, w = small[k, y], wide[y]
            for j in range(h):
                fx = (F(j) + HALF) * step - HALF
                fx = fx if fx > ZERO else ZERO
                x0 = np.int32(fx)
                x1 = x0 + np.int32(1) if x0 < end else end
                a, b = row[U32(x0)], row[U32(x1)]
                w[j] = a + (fx - F(x0)) * (b - a)
        for i in range(h):
            fy = (F(i) + HALF) * step - HALF
            fy = fy if fy > ZERO else ZERO
            y0 = np.int64(fy)
            y1 = y0 + 1 if y0 + 1 < g else g - 1
            ty = fy - F(y0)
            a, b, o = wide[y0], wide[y1], out[k, i]
            for j in range(h):
                o[j] = a[j] + ty * (b[j] - a[j])


@entry
def compose(
    counts: F32x2,
    color_counts: F32x2,
    color_sums: F32x2,
    tone: F32,
    palette: F32x2,
    screen: bool,
    rows: F32x2,
    row_color: I32,
    out: F32x3,
) -> None:
    """Lays one layer over the picture.

    A cell's tone is log(1 + count / c0) over log(1 + white / c0), softly held below 1; the layer
    covers by solidity * tone and its light runs from shade to 1 with the tone.

    counts        (h, h) float32
    color_counts, color_sums   (h, h) float32: their ratio is a cell's mean colour coordinate; they
                  may be smoother than the counts, as eyes see colour less sharply than light
    tone          (6,) float32: 1 / c0, 1 / log2(1 + white / c0), solidity, shade, highlight,
                  opacity
    palette       (3, p) float32, sRGB in [0, 1], by the mean colour coordinate of a cell
    screen        True: screen, False: over
    rows          (4, h) float32 scratch
    row_color     (h,) int32 scratch
    out           (3, h, h) float32, changed; a cell without points stays as it is
    """
    h = out.shape[1]
    entries = F(palette.shape[1] - 1)
    inv_c0, inv_white, solidity = tone[0], tone[1], tone[2]
    shade, highlight, opacity = tone[3], tone[4], tone[5]
    covers, lights, glares, colors = rows[0], rows[1], rows[2], rows[3]
    for i in range(h):
        ni, mi, si = counts[i], color_counts[i], color_sums[i]
        for j in range(h):
            t = log2_32(ONE + ni[j] * inv_c0) * inv_white
            # a shoulder from .75 on: cells denser than white still differ
            over = (t - F(0.75)) * TWO
            over = over if over > ZERO else ZERO
            t = t if t < F(0.75) else F(0.75) + HALF * over / (ONE + TWO * over)
            m = si[j] / (mi[j] + TINY)
            m = m if m < ONE else ONE
            row_color[j] = np.int32(m * entries + HALF)
            cover = solidity * t
            covers[j] = (cover if cover < ONE else ONE) * opacity
            lights[j] = shade + (ONE - shade) * t
            glare = (t - F(0.7)) * highlight
            glares[j] = glare if glare > ZERO else ZERO
        for k in range(3):
            p, o = palette[k], out[k, i]
            for j in range(h):
                colors[j] = p[U32(row_color[j])]
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


@entry
def shrink_picture(picture: F32x3, column: F64, small: F32x3) -> None:
    """Box means of a picture over a coarser grid.

    picture  (3, h, h) float32
    column   (h,) float64 scratch
    small    (3, g, g) float32, g <= h, set
    """
    h = picture.shape[1]
    g = small.shape[1]
    for k in range(3):
        for gy in range(g):
            top = gy * h // g
            bottom = (gy + 1) * h // g
            for j in range(h):
                column[j] = 0.0
            for i in range(top, bottom):
                row = picture[k, i]
                for j in range(h):
                    column[j] += np.float64(row[j])
            for gx in range(g):
                left = gx * h // g
                right = (gx + 1) * h // g
                total = 0.0
                for j in range(left, right):
                    total += column[j]
                small[k, gy, gx] = F(total / np.float64((bottom - top) * (right - left)))


@entry
def to_bytes(picture: F32x3, low: F32, gain: F32, rows: U8x2, out: U8) -> None:
    """Stretches each channel, rounds to bytes, and lays the three side by side.

    picture    (3, h, h) float32
    low, gain  (3,) float32: byte = 255 * (value - low) * gain, held to 0..255
    rows       (3, h) uint8 scratch: the arithmetic vectorises only where it does not also have to
               lay three channels side by side
    out        (h * h * 3,) uint8, set: the three channels side by side
    """
    h = picture.shape[1]
    r, g, b = rows[0], rows[1], rows[2]
    for i in range(h):
        for k in range(3):
            p, q = picture[k, i], rows[k]
            low_k, gain_k = low[k], gain[k]
            for j in range(h):
                value = (p[j] - low_k) * gain_k
                value = value if value > ZERO else ZERO
                value = value if value < ONE else ONE
                q[j] = np.uint8(np.int32(value * F(255.0) + HALF))
        o = out[i * 3 * h : (i + 1) * 3 * h]
        for j in range(h):
            o[3 * j] = r[j]
            o[3 * j + 1] = g[j]
            o[3 * j + 2] = b[j]
