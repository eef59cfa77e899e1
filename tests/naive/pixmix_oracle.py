"""PixMix written again, slowly, from the written procedure: the oracle of `pixmix_cli.mixing`.

Pillow does the geometry and the thirteen augmentations; the mixing is float32 NumPy on whole
pictures, one expression an operation, in the published order. It shares with the code under test
only the record of decisions and the settings.

Two powers are offered, since no two libraries agree on the last bit of a float32 power, and a
later round may magnify that bit: NumPy's own, and the correctly rounded one (float64, rounded
once), against which compiled code can be held to the byte on any processor.

source  Hendrycks et al. (2022), PixMix, figure 4 and section 3
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.mixing.draws import Augmentation, Draws, Round

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Power = Callable[[F32, np.float32], F32]
BILINEAR = Image.Resampling.BILINEAR


def numpy_power(base: F32, exponent: np.float32) -> F32:
    """NumPy's float32 power: within about one unit in the last place, by processor."""
    return base**exponent


def rounded_power(base: F32, exponent: np.float32) -> F32:
    """The float32 nearest to the true power (but where that lies within 1e-8 ulp of a tie)."""
    return (base.astype(np.float64) ** np.float64(exponent)).astype(np.float32)


def pixmix_picture(
    config: PixMixConfig,
    draws: Draws,
    original: U8,
    mixing: U8 | None,
    power: Power = numpy_power,
) -> U8:
    """The picture that `draws` describes.

    original  (h, w, 3) uint8, the whole original
    mixing    (h, w, 3) uint8, the whole mixing picture; None where no round needs it
    power     numpy_power or rounded_power
    returns   (size, size, 3) uint8
    """
    crop = plain_crop(config, draws, Image.fromarray(original))
    mixing_crop = None
    if mixing is not None:
        mixing_crop = crop_of_mixing_picture(config, draws, Image.fromarray(mixing))

    mixed = to_floats(crop if draws.start is None else augmented(crop, draws.start))
    for step in draws.rounds:
        if step.augmentation is not None:
            other = augmented(crop, step.augmentation)
        else:
            assert mixing_crop is not None
            other = mixing_crop
        a, b = np.float32(step.a), np.float32(step.b)
        if step.operation == "add":
            mixed = add(mixed, to_floats(other), a, b)
        elif step.operation == "multiply":
            mixed = multiply(mixed, to_floats(other), a, b, power)
        elif step.operation in ("screen", "overlay", "darken-lighten", "swap-channel"):
            mixed = experimental(step, mixed, to_floats(other), power)
        else:
            raise AssertionError(step.operation)
        mixed = np.clip(mixed, np.float32(0), np.float32(1))
    assert mixed.dtype == np.float32
    return np.floor(mixed * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def to_floats(picture: Image.Image) -> F32:
    """Bytes to [0, 1]."""
    return np.asarray(picture).astype(np.float32) / np.float32(255)


def add(x: F32, y: F32, a: np.float32, b: np.float32) -> F32:
    """A weighted sum on [-1, 1], not yet clipped."""
    x = x * np.float32(2) - np.float32(1)
    y = y * np.float32(2) - np.float32(1)
    return (a * x + b * y + np.float32(1)) / np.float32(2)


def multiply(x: F32, y: F32, a: np.float32, b: np.float32, power: Power = numpy_power) -> F32:
    """A weighted geometric product on [0, 2], not yet clipped; only y is kept away from 0."""
    x = x * np.float32(2)
    y = np.maximum(y * np.float32(2), np.float32(1e-37))
    return power(x, a) * power(y, b) / np.float32(2)


def experimental(step: Round, x: F32, y: F32, power: Power) -> F32:
    """The operations that the published code keeps beside the paper's two, not yet clipped."""
    a, b = np.float32(step.a), np.float32(step.b)
    if step.operation == "screen":
        return screen(x, y, a, b, power)
    if step.operation == "overlay":
        multiplied = x < np.float32(0.5) if step.choice == 0 else x > np.float32(0.5)
        screened = screen(x, y, np.float32(step.screen_a), np.float32(step.screen_b), power)
        return np.where(multiplied, multiply(x, y, a, b, power), screened)
    if step.operation == "darken-lighten":
        return np.minimum(x, y) if step.choice == 0 else np.maximum(x, y)
    swapped = x.copy()
    swapped[..., step.choice] = y[..., step.choice]
    return swapped


def screen(x: F32, y: F32, a: np.float32, b: np.float32, power: Power) -> F32:
    """A product of the inverses, inverted."""
    one = np.float32(1)
    return one - multiply(one - x, one - y, a, b, power)


def plain_crop(config: PixMixConfig, draws: Draws, picture: Image.Image) -> Image.Image:
    """The crop of the original: RandomResizedCrop and flip, or flip, padding and RandomCrop."""
    size = config.size
    top, left, height, width = draws.crop
    if config.geometry == "imagenet":
        crop = picture.crop((left, top, left + width, top + height))
        crop = crop.resize((size, size), BILINEAR)
        return ImageOps.mirror(crop) if draws.flip else crop
    if config.crop == "none":
        picture = picture.resize((size, size), BILINEAR)
    if picture.size != (size, size):
        picture = with_shorter_side(picture, size)
        x, y = (picture.width - size) // 2, (picture.height - size) // 2
        picture = picture.crop((x, y, x + size, y + size))
    if draws.flip:
        picture = ImageOps.mirror(picture)
    return picture.crop((left, top, left + width, top + height))  # black beyond the border


def crop_of_mixing_picture(config: PixMixConfig, draws: Draws, picture: Image.Image) -> Image.Image:
    """Resize of the shorter side to size x 8/7 or size x 9/8, then the drawn crop."""
    size = config.size
    side = round(size * 8 / 7) if config.geometry == "imagenet" else round(size * 9 / 8)
    picture = with_shorter_side(picture, side)
    vertical, horizontal = draws.mixing_offset
    y = int(vertical * (picture.height - size + 1))
    x = int(horizontal * (picture.width - size + 1))
    return picture.crop((x, y, x + size, y + size))


def with_shorter_side(picture: Image.Image, side: int) -> Image.Image:
    """The picture with its shorter side resized to `side`, its longer one in proportion."""
    if picture.width < picture.height:
        return picture.resize((side, int(side * picture.height / picture.width)), BILINEAR)
    return picture.resize((int(side * picture.width / picture.height), side), BILINEAR)


def augmented(picture: Image.Image, augmentation: Augmentation) -> Image.Image:
    """An augmented copy; bilinear, black from outside, affine about the top-left corner."""
    name, value = augmentation.name, augmentation.value
    if name == "autocontrast":
        return ImageOps.autocontrast(picture)
    if name == "equalize":
        return ImageOps.equalize(picture)
    assert value is not None
    if name == "posterize":
        return ImageOps.posterize(picture, int(value))
    if name == "rotate":
        return picture.rotate(value, resample=BILINEAR)
    if name == "solarize":
        return ImageOps.solarize(picture, int(value))
    if name == "shear_x":
        return affine(picture, (1, value, 0, 0, 1, 0))
    if name == "shear_y":
        return affine(picture, (1, 0, 0, value, 1, 0))
    if name == "translate_x":
        return affine(picture, (1, 0, value, 0, 1, 0))
    if name == "translate_y":
        return affine(picture, (1, 0, 0, 0, 1, value))
    if name == "color":
        return ImageEnhance.Color(picture).enhance(value)
    if name == "contrast":
        return ImageEnhance.Contrast(picture).enhance(value)
    if name == "brightness":
        return ImageEnhance.Brightness(picture).enhance(value)
    if name == "sharpness":
        return ImageEnhance.Sharpness(picture).enhance(value)
    raise AssertionError(name)


def affine(picture: Image.Image, coefficients: tuple[float, ...]) -> Image.Image:
    """Output pixel (x, y) taken from (a x + b y + c, d x + e y + f) of the picture."""
    return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, resample=BILINEAR)
