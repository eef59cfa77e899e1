"""One sample from whole pictures in one compiled call: crop, resize, mixing picture's crop, mixing.

Called one after the other from Python, the same steps spend a fifth of their time between them.
Crops that are there already go through the same function, since compiling another that holds all of
the mixing takes five seconds.
"""

from __future__ import annotations

import numpy as np

from pixmix_cli.mixing.compiled import augment as augment_kernels
from pixmix_cli.mixing.compiled import mix
from pixmix_cli.mixing.compiled import resize as resize_kernels
from pixmix_kernels import entry
from pixmix_kernels.arrays import U8, F64x2, U8x2


@entry
def crop_and_render(
    flat: U8,
    picture_width: int,
    box: tuple[int, int, int, int],
    flip: bool,
    scratch: resize_kernels.Scratch,
    record: F64x2,
    mixing: U8,
    mixing_width: int,
    corner: tuple[int, int],
    size: int,
    prepared: U8x2,
    work: mix.Workspace,
    original: U8,
    crop: U8,
    out: U8,
) -> None:
    """Mix one sample in the imagenet geometry.

    flat            (h * picture_width * 3,) uint8, the whole original
    box             (top, left, height, width) in pixels, inside it; mirrored if `flip`; without
                    height where `original` holds the crop already
    record          as `mix.render`'s, like `prepared`
    mixing          (h' * mixing_width * 3,) uint8, the mixing picture; (0,) where no round uses it
                    or `crop` holds the crop already
    corner          (top, left) of its crop, pixels
    original, crop  (size * size * 3,) uint8, the crops; scratch where they are made here
    out             (size * size * 3,) uint8, written
    """
    if box[2] > 0:
        resize_kernels.resize(flat, picture_width, box, size, flip, scratch, original)
    if mixing.shape[0] > 0:
        begin = (corner[0] * mixing_width + corner[1]) * 3
        augment_kernels.cut_square(mixing, begin, mixing_width, size, crop)
    mix.render(record, original, crop, prepared, size, size, work, out)


NOTHING = np.empty((0, 0), np.uint8)
NONE = np.empty(0, np.uint8)
_NO_WEIGHTS = np.empty(0, np.int16)
_NO_SCRATCH = resize_kernels.Scratch(
    _NO_WEIGHTS, _NO_WEIGHTS, np.empty((2, 0), np.int32), np.empty(0), NONE, NONE
)


def render(
    record: F64x2,
    original: U8,
    crop: U8,
    prepared: U8x2,
    size: int,
    work: mix.Workspace,
    out: U8,
) -> None:
    """`mix.render` for square crops, by the function above."""
    crop_and_render(
        NONE, 0, (0, 0, 0, 0), False, _NO_SCRATCH, record, NONE, 0, (0, 0), size, prepared, work,
        original, crop, out,
    )  # fmt: skip
