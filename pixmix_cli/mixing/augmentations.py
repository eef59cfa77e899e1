"""The thirteen augmentations of PixMix, on arrays, by Pillow.

source  Hendrycks et al. (2020), AugMix, whose list PixMix uses; the affine coefficients are
        Pillow's, about the top-left corner (torchvision's shears are centred instead).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from pixmix_cli.mixing.draws import Augmentation

U8 = NDArray[np.uint8]
BILINEAR = Image.Resampling.BILINEAR


def _affine(picture: Image.Image, *coefficients: float) -> Image.Image:
    return picture.transform(picture.size, Image.Transform.AFFINE, coefficients, resample=BILINEAR)


_OPS: dict[str, Callable[[Image.Image, float], Image.Image]] = {
    "autocontrast": lambda p, v: ImageOps.autocontrast(p),
    "equalize": lambda p, v: ImageOps.equalize(p),
    "posterize": lambda p, v: ImageOps.posterize(p, int(v)),
    "rotate": lambda p, v: p.rotate(v, resample=BILINEAR),
    "solarize": lambda p, v: ImageOps.solarize(p, int(v)),
    "shear_x": lambda p, v: _affine(p, 1, v, 0, 0, 1, 0),
    "shear_y": lambda p, v: _affine(p, 1, 0, 0, v, 1, 0),
    "translate_x": lambda p, v: _affine(p, 1, 0, v, 0, 1, 0),
    "translate_y": lambda p, v: _affine(p, 1, 0, 0, 0, 1, v),
    "color": lambda p, v: ImageEnhance.Color(p).enhance(v),
    "contrast": lambda p, v: ImageEnhance.Contrast(p).enhance(v),
    "brightness": lambda p, v: ImageEnhance.Brightness(p).enhance(v),
    "sharpness": lambda p, v: ImageEnhance.Sharpness(p).enhance(v),
}


def augment(picture: U8, augmentation: Augmentation) -> U8:
    """An augmented copy.

    picture  (h, w, 3) uint8
    returns  (h, w, 3) uint8; what comes from outside the picture is black
    raises   KeyError for an unknown name
    """
    operation = _OPS[augmentation.name]
    value = 0 if augmentation.value is None else augmentation.value
    return np.asarray(operation(Image.fromarray(picture), value))
