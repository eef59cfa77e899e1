"""The checks that keep duds out.

They decide which picture is made, so they use integer arithmetic and kernels only, and give the
same answer on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fractals.kernels.checks import measure_frames, measure_picture

__all__ = [
    "CHECK_SIZE",
    "TRACE_GRID",
    "PictureCheck",
    "TraceCheck",
    "check_frames",
    "check_picture",
]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

TRACE_GRID = 32
CHECK_SIZE = 128  # finished pictures are checked at this side, whatever side is asked for


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


def check_frames(trace: F32, frames: F32) -> list[TraceCheck]:
    """How the points of an orbit spread over each of several frames.

    trace   (3, t) float32: x, y, colour; negative colours count as outside
    frames  (k, 6) float32: maps to the cells of a grid of TRACE_GRID a side with its border
    """
    width = TRACE_GRID + 2
    results = np.empty((len(frames), 5))
    places, histogram = np.empty(trace.shape[1], np.int32), np.empty(width * width, np.uint64)
    measure_frames(trace, frames, width, places, histogram, results)
    return [TraceCheck(*row) for row in results.tolist()]


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
    seen = np.empty(5, np.int64)
    measure_picture(pixels, seen)
    contrast = sum(float(np.sqrt(float(v))) / (1024.0 * 16.0) for v in seen[1:4])
    return PictureCheck(int(seen[0]) / 256.0, contrast / 3.0, int(seen[4]) / (128.0 * 128.0))
