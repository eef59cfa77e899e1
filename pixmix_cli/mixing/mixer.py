"""Pixels: the picture that a record of draws describes. No randomness in here."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.mixing import augmentations
from pixmix_cli.mixing.augmentations import BILINEAR
from pixmix_cli.mixing.compiled import mix
from pixmix_cli.mixing.compiled import sample as sample_kernels
from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.mixing.draws import Draws
from pixmix_cli.mixing.resize import Resizer

U8 = NDArray[np.uint8]
# else the kernels would be compiled once more for such arrays
_FOR_KERNELS: tuple[Literal["C"], Literal["W"]] = ("C", "W")


class Mixer:
    """PixMix for one recipe, with its scratch memory. Not for several threads at once."""

    def __init__(self, config: PixMixConfig) -> None:
        """Allocate the scratch memory for one picture of config.size."""
        size = config.size
        self._config = config
        self._resizer = Resizer(size)
        self._shape = (size, size, 3)
        self._work = mix.workspace(size, size)
        self._mixing = np.empty(self._shape, np.uint8)
        self._original = np.empty(size * size * 3, np.uint8)

    def __call__(self, draws: Draws, original: U8, mixing: U8 | None) -> U8:
        """Mix one sample.

        original  (size, size, 3) uint8, the plain crop
        mixing    (size, size, 3) uint8, or None when draws.uses_mixing is false
        returns   (size, size, 3) uint8, a new array
        source    PixMix (2022), figure 4; operations in section 3.2
        """
        numbers = augmentations.numbers(draws, self._shape[0])
        return self._by_steps(draws, numbers, original, mixing)

    def _by_steps(
        self, draws: Draws, numbers: augmentations.Numbers, original: U8, mixing: U8 | None
    ) -> U8:
        """As `__call__`, with the draws as numbers."""
        for picture in (original, mixing):
            if picture is not None and picture.shape != self._shape:
                raise ValueError(f"a picture must be {self._shape}, not {picture.shape}")
        if draws.uses_mixing:
            np.copyto(self._mixing, _given(mixing))
        original = np.require(original, requirements=_FOR_KERNELS)
        rows, by_pillow = numbers
        record = np.array(rows, np.float64)
        prepared = sample_kernels.NOTHING
        if by_pillow:
            prepared = np.empty((len(record), original.size), np.uint8)
            for row, augmentation in by_pillow.items():
                prepared[row] = augmentations.augment(original, augmentation).ravel()
        out = np.empty(self._shape, np.uint8)
        size = self._shape[0]
        sample_kernels.render(
            record, original.ravel(), self._mixing.ravel(), prepared, size, self._work, out.ravel()
        )
        return out

    def sample(self, draws: Draws, picture: U8, mixing: U8 | None) -> U8:
        """Crop and mix one sample, in one compiled call where kernels can do it all.

        picture  (h, w, 3) uint8, the whole original
        mixing   (h', w', 3) uint8, the mixing picture resized to config.mixing_size, or None when
                 draws.uses_mixing is false
        returns  (size, size, 3) uint8, a new array
        """
        config, size = self._config, self._config.size
        rows, by_pillow = numbers = augmentations.numbers(draws, size)
        by_kernels = config.geometry == "imagenet" and not by_pillow
        if not by_kernels or not self._resizer.has_kernel_for(draws.crop):
            crop = None if mixing is None else crop_mixing(config, draws, mixing)
            original = crop_original(config, draws, picture, self._resizer)
            return self._by_steps(draws, numbers, original, crop)
        other, corner, width = sample_kernels.NONE, (0, 0), 0
        if draws.uses_mixing:
            mixing = _given(mixing)
            if min(mixing.shape[:2]) < size:
                raise ValueError(f"a mixing picture must have {size} pixels a side or more")
            corner, width = mixing_corner(size, draws.mixing_offset, mixing), mixing.shape[1]
            other = np.require(mixing, requirements=_FOR_KERNELS).reshape(-1)
        flat = np.require(picture, requirements=_FOR_KERNELS).reshape(-1)
        out = np.empty(self._shape, np.uint8)
        sample_kernels.crop_and_render(
            flat, picture.shape[1], draws.crop, draws.flip, self._resizer.scratch_for(draws.crop),
            np.array(rows, np.float64), other, width, corner, size, sample_kernels.NOTHING,
            self._work, self._original, self._mixing.reshape(-1), out.reshape(-1),
        )  # fmt: skip
        return out


def pixmix(config: PixMixConfig, draws: Draws, original: U8, mixing: U8 | None) -> U8:
    """One PixMix picture from its record; `Mixer` does many without allocating anew.

    original, mixing, result  (size, size, 3) uint8
    """
    return Mixer(config)(draws, original, mixing)


def crop_original(
    config: PixMixConfig, draws: Draws, picture: U8, resizer: Resizer | None = None
) -> U8:
    """The plain crop of the original that everything is made from.

    picture  (h, w, 3) uint8, h and w >= 1
    resizer  to config.size, where there is one already
    returns  (size, size, 3) uint8, contiguous
    """
    if config.geometry == "imagenet":
        return (resizer or Resizer(config.size))(picture, draws.crop, draws.flip)
    square_pixels = fit_square(picture, config.size, whole=config.crop == "none")
    if draws.flip:
        square_pixels = square_pixels[:, ::-1]
    size, (top, left) = config.size, draws.crop[:2]
    crop = np.zeros((size, size, 3), np.uint8)  # black beyond the border
    rows, columns = slice(max(0, top), size + min(0, top)), slice(max(0, left), size + min(0, left))
    seen = square_pixels[rows, columns]
    y, x = max(0, -top), max(0, -left)
    crop[y : y + seen.shape[0], x : x + seen.shape[1]] = seen
    return crop


def fit_square(picture: U8, size: int, *, whole: bool = False) -> U8:
    """The picture itself where it is size x size, else its shorter side to size and the centre.

    whole  squeeze it instead, so that nothing is cut off

    CIFAR's pictures are 32 x 32 already; this lets the cifar geometry take any picture.
    """
    if picture.shape[:2] == (size, size):
        return picture
    if whole:
        return np.asarray(Image.fromarray(picture).resize((size, size), BILINEAR))
    resized = resize_shorter_side(picture, size)
    top, left = (resized.shape[0] - size) // 2, (resized.shape[1] - size) // 2
    return resized[top : top + size, left : left + size]


def resize_shorter_side(picture: U8, size: int) -> U8:
    """The picture with its shorter side at `size`, as torchvision's Resize(size) on PIL pictures.

    picture  (h, w, 3) uint8
    returns  (h', w', 3) uint8 with min(h', w') = size; the longer side truncated to whole pixels
    """
    height, width = shorter_side_at(picture.shape[0], picture.shape[1], size)
    if (height, width) == picture.shape[:2]:
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), BILINEAR))


def shorter_side_at(height: int, width: int, size: int) -> tuple[int, int]:
    """(height, width) of a picture of these sides after its shorter side is brought to `size`."""
    if height <= width:
        return size, max(size, int(size * width / height))
    return max(size, int(size * height / width)), size


def crop_mixing(config: PixMixConfig, draws: Draws, resized: U8) -> U8:
    """The mixing picture's crop: a view of the picture resized to config.mixing_size.

    resized  (h, w, 3) uint8, both sides >= config.size
    returns  (size, size, 3) uint8 view
    """
    top, left = mixing_corner(config.size, draws.mixing_offset, resized)
    return resized[top : top + config.size, left : left + config.size]


def mixing_corner(size: int, offset: tuple[float, float], resized: U8) -> tuple[int, int]:
    """(top, left) in pixels of the mixing picture's crop; `resized` as for `crop_mixing`.

    offset  as Draws.mixing_offset
    """
    vertical, horizontal = offset
    height, width = resized.shape[:2]
    return int(vertical * (height - size + 1)), int(horizontal * (width - size + 1))


def _given(mixing: U8 | None) -> U8:
    if mixing is None:
        raise ValueError("this record needs a mixing picture and none was given")
    return mixing
