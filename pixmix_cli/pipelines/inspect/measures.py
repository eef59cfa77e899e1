"""Measures of pictures and of sets of them: what `pixmix inspect` tells.

They are for people and decide no byte, so they may use NumPy freely. A picture is (h, w, 3), of any
shape; levels run from 0 to 255. Brightness is grey = .299 R + .587 G + .114 B.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ACTIVE_LEVELS",
    "EDGE_LEVELS",
    "active_share",
    "box_dimension",
    "colorfulness",
    "contrast",
    "contrast_at_32",
    "halved",
    "hue_entropy",
    "level_entropy",
    "pairwise_distance",
    "shrink",
    "spectral_slope",
]

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Pixels = NDArray[Any]  # (h, w, 3), 0..255, of any number type

ACTIVE_LEVELS = 6.0  # a block is active when its grey has a larger standard deviation
EDGE_LEVELS = 16.0  # and a pixel is on an edge when its grey differs more from a neighbour's


def shrink(pixels: Pixels, side: int) -> F64:
    """Box means over a side x side grid, whatever the picture's shape.

    pixels   (h, w, 3); a side shorter than `side` is enlarged by repeating pixels
    returns  (side, side, 3) float64 in 0..255
    """
    h, w = pixels.shape[:2]
    rows, columns = np.arange(side) * h // side, np.arange(side) * w // side
    wide = np.int64 if pixels.dtype.kind in "iu" else np.float64
    sums = np.add.reduceat(pixels, rows, axis=0, dtype=wide)
    sums = np.add.reduceat(sums, columns, axis=1)
    # reduceat gives one entry alone where two edges fall together
    heights = np.maximum(np.diff(np.append(rows, h)), 1)
    widths = np.maximum(np.diff(np.append(columns, w)), 1)
    return sums / (heights[:, None, None] * widths[None, :, None])


def halved(pixels: U8) -> NDArray[np.float32]:
    """The picture shrunk twofold by box means, so that grain does not count as structure.

    pixels   (h, w, 3) uint8, h and w >= 2; an odd last row or column is left out
    returns  (h // 2, w // 2, 3) float32 in 0..255
    """
    h, w = pixels.shape[0] // 2 * 2, pixels.shape[1] // 2 * 2
    wide = pixels[:h, :w].astype(np.uint16)
    rows = wide[0::2] + wide[1::2]
    sums = rows[:, 0::2] + rows[:, 1::2]
    return sums.astype(np.float32) * np.float32(0.25)


def _grey(pixels: Pixels) -> NDArray[Any]:
    return pixels[..., 0] * 0.299 + pixels[..., 1] * 0.587 + pixels[..., 2] * 0.114


def level_entropy(pixels: Pixels) -> float:
    """Shannon entropy in bits of the histogram of 256 grey levels: 0 flat, 8 at most."""
    levels = np.minimum(_grey(pixels) + 0.5, 255.0).astype(np.int64)
    return _entropy(np.bincount(levels.ravel(), minlength=256))


def _entropy(counts: NDArray[np.int64]) -> float:
    p = counts[counts > 0] / counts.sum()
    return float(abs((p * np.log2(p)).sum()))  # the sum is at most 0: no -0 of one level alone


def active_share(pixels: Pixels) -> float:
    """Share of 8x8 blocks whose grey levels have a standard deviation above ACTIVE_LEVELS.

    pixels  h and w >= 8; what does not fill a block is left out
    """
    grey = _grey(pixels)
    h, w = grey.shape[0] // 8 * 8, grey.shape[1] // 8 * 8
    blocks = grey[:h, :w].reshape(h // 8, 8, w // 8, 8).std(axis=(1, 3))
    return float((blocks > ACTIVE_LEVELS).mean())


def colorfulness(pixels: Pixels) -> float:
    """Hasler & Suesstrunk (2003), M3: spread and mean of the opponent colours."""
    r, g, b = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    rg = r - g
    yb = (r + g) * 0.5 - b
    spread = np.hypot(rg.std(), yb.std())
    return float(spread + 0.3 * np.hypot(rg.mean(), yb.mean()))


def hue_entropy(pixels: Pixels) -> float:
    """Entropy in bits of the hue over 36 bins, pixels with saturation and value above 40 only.

    returns  0 (no hue or one) to log2(36) = 5.17
    """
    r, g, b = (np.ascontiguousarray(pixels[..., k]) for k in range(3))
    high = np.maximum(np.maximum(r, g), b)
    span = high - np.minimum(np.minimum(r, g), b)
    lit = (high > 40.0) & (255.0 * span > 40.0 * high)
    if not lit.any():
        return 0.0
    r, g, b, high, span = (plane[lit] for plane in (r, g, b, high, span))
    # in sixths of a turn, from red
    hue = np.where(high == b, 4.0 + (r - g) / span, 0.0)
    hue = np.where(high == g, 2.0 + (b - r) / span, hue)
    hue = np.where(high == r, (g - b) / span, hue)
    return _entropy(np.bincount((hue * 6.0).astype(np.int64) % 36, minlength=36))


def spectral_slope(pixels: Pixels) -> float:
    """Fall of the radial power spectrum of grey, log over log, 4 cycles to a third of the side.

    pixels   its central square is taken, of a side >= 18; five rings, 27, tell something
    returns  about 0 for white noise, 2 for natural pictures; 0 for a flat one
    """
    grey = _grey(pixels)
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    grey = grey[top : top + side, left : left + side]
    power = np.abs(np.fft.rfft2(grey - grey.mean())) ** 2
    # columns that stand for two of the whole transform
    power[:, 1 : (side + 1) // 2] *= 2.0
    twice = np.ones(side // 2 + 1)
    twice[1 : (side + 1) // 2] = 2.0
    vertical = np.fft.fftfreq(side) * side
    radius = np.rint(np.hypot(vertical[:, None], np.arange(power.shape[1]))).astype(np.int64)
    sums = np.bincount(radius.ravel(), power.ravel())
    cells = np.bincount(radius.ravel(), np.broadcast_to(twice, radius.shape).ravel())
    ring = np.arange(4, side // 3)
    values = sums[ring] / cells[ring]
    kept = values > 0
    if kept.sum() < 2:
        return 0.0
    return 0.0 - float(np.polyfit(np.log(ring[kept]), np.log(values[kept]), 1)[0])


def box_dimension(pixels: Pixels) -> float:
    """Box-counting dimension of the edges: pixels whose grey differs by more than EDGE_LEVELS from
    the neighbour to the right or below.

    pixels   h and w >= 16
    returns  the slope of log(boxes that hold an edge) over log(1 / side of a box), for sides 1, 2,
             4, ... up to an eighth of the shorter side: 1 for a line, 2 for edges everywhere; 0
             where there is no edge at all
    """
    grey = _grey(pixels)
    edge: NDArray[np.bool_] = np.zeros(grey.shape, bool)
    edge[:, :-1] |= np.abs(np.diff(grey, axis=1)) > EDGE_LEVELS
    edge[:-1] |= np.abs(np.diff(grey, axis=0)) > EDGE_LEVELS
    if not edge.any():
        return 0.0
    counts = []
    for _ in range(int(np.log2(min(edge.shape) // 8)) + 1):
        counts.append(np.count_nonzero(edge))
        even = np.pad(edge, ((0, edge.shape[0] % 2), (0, edge.shape[1] % 2)))
        edge = even[0::2] | even[1::2]
        edge = edge[:, 0::2] | edge[:, 1::2]
    return 0.0 - float(np.polyfit(np.arange(len(counts)), np.log2(counts), 1)[0])


def contrast(pixels: Pixels) -> float:
    """Standard deviation of R, G and B, mean of the three."""
    return float(pixels.reshape(-1, 3).std(axis=0).mean())


def contrast_at_32(pixels: Pixels) -> float:
    """The contrast after shrinking to 32x32."""
    return contrast(shrink(pixels, 32))


# ---------------------------------------------------------------- sets


def pairwise_distance(thumbnails: NDArray[Any]) -> F64:
    """RMS distances between all pairs of thumbnails; needs n * n numbers, so for thousands.

    thumbnails  (n, ...)
    returns     (n * (n - 1) / 2,), in the thumbnails' unit
    """
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float64)
    flat -= flat.mean(axis=0)
    squares = (flat * flat).sum(axis=1)
    gram = squares[:, None] + squares[None, :] - 2.0 * flat @ flat.T
    above = np.triu_indices(len(flat), 1)
    return np.asarray(np.sqrt(np.maximum(gram[above], 0.0) / flat.shape[1]))
