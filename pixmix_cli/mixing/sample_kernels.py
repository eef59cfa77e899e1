"""One sample from whole pictures in one compiled call: crop, resize, mixing picture's crop, mixing.

Called one after the other from Python, the same steps spend a fifth of their time between them.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing import augment_kernels, kernels, resize_kernels

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def crop_and_render(
    flat: U8,
    picture_width: int,
    box: tuple[int, int, int, int],
    flip: bool,
    scratch: resize_kernels.Scratch,
    record: F64,
    mixing: U8,
    mixing_width: int,
    corner: tuple[int, int],
    size: int,
    nothing: U8,
    work: kernels.Workspace,
    original: U8,
    crop: U8,
    out: U8,
) -> None:
    """Mix one sample in the imagenet geometry.

    flat            (h * picture_width * 3,) uint8, the whole original
    box             (top, left, height, width) in pixels, inside it; mirrored if `flip`
    record          as `kernels.render`'s
    mixing          (h' * mixing_width * 3,) uint8, the mixing picture; (0,) where no round uses it
    corner          (top, left) of its crop, pixels
    nothing         (0, 0) uint8
    original, crop  (size * size * 3,) uint8, scratch
    out             (size * size * 3,) uint8, written
    """
    resize_kernels.resize(flat, picture_width, box, size, flip, scratch, original)
    if mixing.shape[0] > 0:
        n = size * 3
        top, left = corner
        for y in range(size):
            begin = ((top + y) * mixing_width + left) * 3
            augment_kernels.copy(mixing[begin : begin + n], crop[y * n : (y + 1) * n])
    kernels.render(record, original, crop, nothing, size, size, work, out)
