"""The thirteen augmentations of PixMix: by Pillow, and as numbers for the kernels.

The kernels give Pillow's bytes (see `augment_kernels`). Since Pillow may change, each is compared
with the installed version once a process, on a small picture; one that disagrees is left to Pillow.
So it never matters to the bytes which of the two made a picture.

source  Hendrycks et al. (2020), AugMix, whose list PixMix uses; the affine coefficients are
        Pillow's, about the top-left corner (torchvision's shears are centred instead).
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps
from PIL import __version__ as pillow_version

from pixmix_cli.mixing.compiled import augment as augment_kernels
from pixmix_cli.mixing.compiled import mix
from pixmix_cli.mixing.compiled import sample as sample_kernels
from pixmix_cli.mixing.config import OPERATIONS
from pixmix_cli.mixing.draws import ALL_OPS, Augmentation, Draws

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
BILINEAR = Image.Resampling.BILINEAR


_CODES = {name: code for code, name in enumerate(ALL_OPS)}
_OPERATION_CODES = {name: code for code, name in enumerate(OPERATIONS)}
_NO_MORE = [0.0] * (mix.COLUMNS - 1)  # what follows a row's code where nothing does


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


Numbers = tuple[list[list[float]], dict[int, Augmentation]]


def numbers(draws: Draws, size: int) -> Numbers:
    """A record as the rows of numbers that `mix.render` takes.

    size     side of the crop, pixels
    returns  (1 + rounds) rows of mix.COLUMNS, and, by row, what Pillow has to prepare
    """
    by_pillow: dict[int, Augmentation] = {}

    def row(place: int, augmentation: Augmentation | None) -> list[float]:
        if augmentation is None:
            return [augment_kernels.NOTHING, *_NO_MORE]
        if augmentation.name in disagreeing() or not _is_ordinary(augmentation):
            by_pillow[place] = augmentation
            return [augment_kernels.PREPARED, *_NO_MORE]
        return _row(augmentation, size)

    rows = [row(0, draws.start)]
    for place, step in enumerate(draws.rounds, 1):
        numbers_of_step = row(place, step.augmentation)
        numbers_of_step[mix.OPERATION] = _OPERATION_CODES[step.operation]
        numbers_of_step[mix.A], numbers_of_step[mix.B] = step.a, step.b
        numbers_of_step[mix.CHOICE] = step.choice
        numbers_of_step[mix.SCREEN_A] = step.screen_a
        numbers_of_step[mix.SCREEN_B] = step.screen_b
        rows.append(numbers_of_step)
    return rows, by_pillow


def _is_ordinary(augmentation: Augmentation) -> bool:
    """Whether its strength is one that could be drawn; a record read back may hold any."""
    name, value = augmentation.name, augmentation.value
    if value is None:
        return True
    if name == "rotate":
        return value % 90 != 0 or value == 0  # Pillow turns by quarters in another way
    return not name.startswith("translate") or value == int(value)


def _row(augmentation: Augmentation, size: int) -> list[float]:
    """One augmentation as a row of mix.COLUMNS numbers, of no operation."""
    name, value = augmentation.name, augmentation.value
    row: list[float] = [_CODES[name], *_NO_MORE]
    if value is None:
        return row
    row[mix.VALUE] = value
    if name == "rotate":
        row[mix.MATRIX :] = rotation(value, size)
    elif name == "shear_x":
        row[mix.MATRIX :] = 1, value, 0, 0, 1, 0
    elif name == "shear_y":
        row[mix.MATRIX :] = 1, 0, 0, value, 1, 0
    return row


def rotation(degrees: float, size: int) -> tuple[float, float, float, float, float, float]:
    """Pillow's matrix for a turn about the middle of a square picture, counter-clockwise."""
    angle = -math.radians(degrees % 360.0)
    cosine, sine, middle = round(math.cos(angle), 15), round(math.sin(angle), 15), size / 2
    negative = round(-math.sin(angle), 15)
    right = cosine * -middle + sine * -middle + 0.0 + middle
    down = negative * -middle + cosine * -middle + 0.0 + middle
    return cosine, sine, right, negative, cosine, down


_TEST_SIZE = 24  # px; large enough for every path of every kernel
_TEST_VALUES: dict[str, tuple[float | int | None, ...]] = {
    "autocontrast": (None,),
    "equalize": (None,),
    "posterize": (1, 4),
    "rotate": (-17, 2),
    "solarize": (200,),
    "shear_x": (0.0217, -0.25),
    "shear_y": (0.0217, -0.25),
    "translate_x": (3, -3),
    "translate_y": (3, -3),
    "color": (0.28, 1.9),
    "contrast": (0.28, 1.9),
    "brightness": (0.28, 1.9),
    "sharpness": (0.28, 1.9),
}


@functools.cache
def disagreeing() -> frozenset[str]:
    """Augmentations whose kernel and the installed Pillow differ; warns of them. A few ms, once."""
    side = np.arange(_TEST_SIZE)
    # smooth in one channel, rough in another, far from full range in the third
    picture = np.stack(
        [
            side[:, None] * 7 + side * 3,
            (side[:, None] * 89 + side * side * 57 + side[:, None] * side * 31) % 256,
            60 + (side[:, None] * 5 + side * 11) % 97,
        ],
        axis=2,
    ).astype(np.uint8)
    work = mix.workspace(_TEST_SIZE, _TEST_SIZE)
    out = np.empty(picture.size, np.uint8)
    found = set()
    for name, values in _TEST_VALUES.items():
        for value in values:
            augmentation = Augmentation(name, value)
            record = np.array([_row(augmentation, _TEST_SIZE)], np.float64)
            flat = picture.ravel()
            sample_kernels.render(record, flat, flat, sample_kernels.NOTHING, _TEST_SIZE, work, out)
            if not np.array_equal(out, augment(picture, augmentation).ravel()):
                found.add(name)
    if found:
        warnings.warn(
            f"Pillow {pillow_version} differs from pixmix's own {', '.join(sorted(found))}: "
            "Pillow is used for that, which is slower",
            stacklevel=2,
        )
    return frozenset(found)
