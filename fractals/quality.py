"""Measures of a picture and of a set, and the checks that keep duds out.

The checks decide which picture is made, so they use integer arithmetic and kernels only, and give
the same answer on every machine. The measures are for people and may use NumPy freely.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractals import kernels

__all__ = [
    "CHECK_SIZE",
    "PictureCheck",
    "TraceCheck",
    "active_share",
    "check_picture",
    "check_trace",
    "colorfulness",
    "contrast_at_32",
    "hue_entropy",
    "pairwise_distance",
    "shrink",
    "spectral_slope",
]

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]

CHECK_SIZE = 128  # finished pictures are checked at this side, whatever side is asked for

# ---------------------------------------------------------------- measures


def shrink(pixels: U8, side: int) -> F64:
    """Box means over a side x side grid.

    pixels   (h, h, 3) uint8, h >= side
    returns  (side, side, 3) float64 in 0..255
    """
    h = pixels.shape[0]
    edges = np.arange(side) * h // side
    rows = np.add.reduceat(pixels.astype(np.int64), edges, axis=0)
    sums = np.add.reduceat(rows, edges, axis=1)
    steps = np.diff(np.append(edges, h))
    return sums / (steps[:, None, None] * steps[None, :, None])


def _grey(pixels: F64) -> F64:
    return 0.299 * pixels[..., 0] + 0.587 * pixels[..., 1] + 0.114 * pixels[..., 2]


def active_share(pixels: F64) -> float:
    """Share of 8x8 blocks whose grey levels have a standard deviation above 6.

    pixels  (h, w, 3), 0..255, h and w >= 8
    """
    grey = _grey(pixels)
    h, w = grey.shape[0] // 8 * 8, grey.shape[1] // 8 * 8
    blocks = grey[:h, :w].reshape(h // 8, 8, w // 8, 8).std(axis=(1, 3))
    return float((blocks > 6.0).mean())


def colorfulness(pixels: F64) -> float:
    """Hasler & Suesstrunk (2003), M3: spread and mean of the opponent colours.

    pixels  (h, w, 3), 0..255
    """
    r, g, b = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    rg = r - g
    yb = 0.5 * (r + g) - b
    spread = np.sqrt(rg.std() ** 2 + yb.std() ** 2)
    return float(spread + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2))


def hue_entropy(pixels: F64) -> float:
    """Entropy in bits of the hue over 36 bins, pixels with saturation and value above 40 only.

    pixels   (h, w, 3), 0..255
    returns  0 (no hue or one) to log2(36) = 5.17
    """
    high = pixels.max(axis=-1)
    low = pixels.min(axis=-1)
    span = high - low
    lit = (high > 40.0) & (255.0 * span > 40.0 * high)
    if not lit.any():
        return 0.0
    r, g, b = (pixels[..., k][lit] for k in range(3))
    top, span = high[lit], span[lit]
    hue = np.where(
        top == r,
        (g - b) / span,
        np.where(top == g, 2.0 + (b - r) / span, 4.0 + (r - g) / span),
    )
    bins = np.bincount((hue * 6.0).astype(np.int64) % 36, minlength=36)
    p = bins[bins > 0] / bins.sum()
    return float(-(p * np.log2(p)).sum())


def spectral_slope(pixels: F64) -> float:
    """Fall of the radial power spectrum of grey, log over log, 4 cycles to a third of the side.

    pixels   (h, h, 3), 0..255
    returns  about 0 for white noise, 2 for natural pictures
    """
    grey = _grey(pixels)
    side = grey.shape[0]
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    f = np.fft.fftfreq(side) * side
    radius = np.rint(np.hypot(f[:, None], f[None, :])).astype(np.int64)
    sums = np.bincount(radius.ravel(), power.ravel())
    cells = np.bincount(radius.ravel())
    ring = np.arange(4, side // 3)
    values = sums[ring] / cells[ring]
    kept = values > 0
    if kept.sum() < 2:
        return 0.0
    return float(-np.polyfit(np.log(ring[kept]), np.log(values[kept]), 1)[0])


def contrast_at_32(pixels: U8) -> float:
    """Standard deviation of R, G and B, mean of the three, after shrinking to 32x32."""
    small = shrink(pixels, 32)
    return float(small.reshape(-1, 3).std(axis=0).mean())


def pairwise_distance(thumbnails: F64) -> F64:
    """RMS distances between all pairs of thumbnails.

    thumbnails  (n, ...) in [0, 1]
    returns     (n * (n - 1) / 2,)
    """
    flat = thumbnails.reshape(len(thumbnails), -1)
    squares = (flat * flat).sum(axis=1)
    gram = squares[:, None] + squares[None, :] - 2.0 * flat @ flat.T
    above = np.triu_indices(len(flat), 1)
    return np.asarray(np.sqrt(np.maximum(gram[above], 0.0) / flat.shape[1]))


# ---------------------------------------------------------------- checks


@dataclass(frozen=True, slots=True)
class TraceCheck:
    """What the cheap check saw in a 32x32 histogram of an orbit."""

    fill: float  # share of cells hit
    entropy: float  # of the points over the cells, bits; 10 at most
    peak: float  # share of points in the fullest cell
    inside: float  # share of points in the frame
    structure: float  # difference of neighbours beyond noise; 0 for a blob

    @property
    def dud(self) -> bool:
        """Empty, a few dots, a smooth blob, or mostly outside its frame."""
        return (
            self.fill < 0.4
            or self.entropy < 6.8
            or self.peak > 0.1
            or self.inside < 0.3
            or self.structure < 0.08
        )


def check_trace(histogram: NDArray[np.uint64], width: int) -> TraceCheck:
    """Fill, entropy, peak and share inside of a histogram, (width * width,), border included."""
    result = np.empty(5)
    kernels.measure_spread(histogram, width, result)
    return TraceCheck(*(float(v) for v in result))


@dataclass(frozen=True, slots=True)
class PictureCheck:
    """What the final check saw in a finished picture of CHECK_SIZE."""

    active: float  # share of 8x8 blocks with structure
    contrast: float  # standard deviation of R, G, B at 32x32, mean of the three
    color: float  # mean distance of the channels from grey, levels

    @property
    def dud(self) -> bool:
        """Flat, pale at training size, or nearly grey."""
        return self.active < 0.55 or self.contrast < 46.0 or self.color < 22.0

    @property
    def score(self) -> float:
        """Larger is better: to choose the least bad if nothing passes."""
        return min(self.active / 0.55, self.contrast / 46.0, self.color / 22.0)


def check_picture(pixels: U8) -> PictureCheck:
    """Measures a finished picture with integers and square roots, the same on every machine.

    pixels  (128, 128, 3) uint8
    """
    levels = pixels.astype(np.int64)
    grey = 77 * levels[..., 0] + 150 * levels[..., 1] + 29 * levels[..., 2]  # of 256 parts
    blocks = grey.reshape(16, 8, 16, 8)
    total = blocks.sum(axis=(1, 3))
    squares = (blocks * blocks).sum(axis=(1, 3))
    # variance times 64^2, against (10 levels)^2: grain adds more here than after shrinking
    variance = 64 * squares - total * total
    active = int((variance > (10 * 256 * 64) ** 2).sum()) / 256.0
    small = levels.reshape(32, 4, 32, 4, 3).sum(axis=(1, 3)).reshape(-1, 3)  # 16 x level
    contrast = 0.0
    for k in range(3):
        values = small[:, k]
        v = 1024 * int((values * values).sum()) - int(values.sum()) ** 2
        contrast += float(np.sqrt(float(v))) / (1024.0 * 16.0)
    spread = levels.max(axis=-1) - levels.min(axis=-1)
    return PictureCheck(active, contrast / 3.0, int(spread.sum()) / (128.0 * 128.0))
