"""A box of a picture as a square: bilinear as Pillow does it, by kernel where the bytes agree."""

from __future__ import annotations

import functools
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL import __version__ as pillow_version

from pixmix_cli.mixing.compiled import resize as resize_kernels
from pixmix_cli.mixing.compiled import vectors

U8 = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # top, left, height, width, in pixels of the picture

MAX_SCRATCH = 32 << 20  # bytes; larger boxes go to Pillow, so that a worker's memory stays flat


class Resizer:
    """Resizes boxes to squares of one size, with its scratch memory. Not for several threads."""

    def __init__(self, size: int) -> None:
        """Nothing is allocated yet. size  side of the square, pixels"""
        self._size = size
        self._longest = 0
        self._taps = 0
        self._scratch: resize_kernels.Scratch | None = None

    def __call__(self, picture: U8, box: Box, flip: bool = False) -> U8:
        """The square, mirrored left to right if asked: a new array (size, size, 3) uint8.

        picture  (h, w, 3) uint8; the box lies inside it
        """
        if self.has_kernel_for(box):
            return self.by_kernel(picture, box, flip)
        return by_pillow(picture, box, self._size, flip)

    def has_kernel_for(self, box: Box) -> bool:
        """Whether the kernel is used for such a box, with this Pillow."""
        return _scratch(max(box[2:]), self._size) <= MAX_SCRATCH and agrees()

    def by_kernel(self, picture: U8, box: Box, flip: bool) -> U8:
        """The same without asking whether the kernel may be used."""
        size = self._size
        out = np.empty((size, size, 3), np.uint8)
        flat = np.ascontiguousarray(picture).reshape(-1)
        resize_kernels.resize(
            flat, picture.shape[1], box, size, flip, self.scratch_for(box), out.reshape(-1)
        )
        return out

    def scratch_for(self, box: Box) -> resize_kernels.Scratch:
        """Scratch memory for a box, the same as long as it is large enough."""
        size, height, width = self._size, box[2], box[3]
        across, down = resize_kernels.taps(width, size), resize_kernels.taps(height, size)
        longest, taps = max(height, width, size), max(across, down)
        if self._scratch is None or longest > self._longest or taps > self._taps:
            self._longest = max(longest, self._longest)
            self._taps = max(taps, self._taps)
            self._scratch = resize_kernels.Scratch(
                across=np.empty(size * 2 * (self._taps + 1), np.int16),
                down=np.empty(size * 2 * (self._taps + 1), np.int16),
                firsts=np.empty((2, size), np.int32),
                exact=np.empty((self._taps + 1) * size, np.float64),
                # zeros only so that memory checkers are content: what nobody wrote meets no result
                between=np.zeros(_scratch(self._longest, size), np.uint8),
                few=np.zeros(4 * 3 * self._longest + vectors.SLACK, np.uint8),
            )
        return self._scratch


def _scratch(longest: int, size: int) -> int:
    """Bytes between the two passes."""
    return max(longest, 4) * (size * 3 + 1)


def by_pillow(picture: U8, box: Box, size: int, flip: bool) -> U8:
    """The square by Pillow; arguments and result as those of `Resizer`."""
    top, left, height, width = box
    cropped = Image.fromarray(picture).crop((left, top, left + width, top + height))
    pixels = np.asarray(cropped.resize((size, size), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(pixels[:, ::-1] if flip else pixels)


@functools.cache
def agrees() -> bool:
    """Whether kernel and installed Pillow give the same bytes; warns if not. About 1 ms, once."""
    side = np.arange(60)
    noise = (side[:, None] * 89 + side * side * 57 + side[:, None] * side * 31) % 256
    picture = np.stack([noise, noise[::-1], noise.T], axis=2).astype(np.uint8)
    resizer = Resizer(20)
    for box in ((1, 2, 50, 30), (0, 0, 30, 60), (2, 1, 58, 41), (3, 4, 9, 11), (0, 5, 60, 20)):
        if not np.array_equal(
            resizer.by_kernel(picture, box, True), by_pillow(picture, box, 20, True)
        ):
            warnings.warn(
                f"Pillow {pillow_version} resizes otherwise than pixmix's own code: Pillow is "
                "used for that, which is slower",
                stacklevel=2,
            )
            return False
    return True
