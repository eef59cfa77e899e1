"""EXIF orientation, for the kinds of datasets whose readers apply it."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]

_ORIENTATION = 0x0112
_MARKS = (b"Exif", b"eXIf", b"EXIF", b"tiff:Orientation", b"Raw profile type exif")
_TURNS: dict[int, Callable[[U8], U8]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: pixels[::-1].transpose(1, 0, 2),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: pixels.transpose(1, 0, 2)[::-1],
}


def upright(pixels: U8, data: bytes) -> U8:
    """A decoded picture turned and mirrored as its EXIF orientation says (JEITA CP-3451, 4.6.4).

    pixels   (h, w, 3) uint8, what `images.decode_rgb` made of data
    returns  the same, or a new array, (w, h, 3) where it was turned by a quarter
    """
    turn = _TURNS.get(orientation_of(data))
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def orientation_of(data: bytes) -> int:
    """The EXIF orientation of a picture that can be decoded, 1 to 8, or 1 where it has none.

    That of a TIFF is 1: Pillow has turned it.
    """
    if not any(mark in data for mark in _MARKS):
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_formats()) as picture:
                if picture.format != "JPEG":  # a PNG may have it at its end
                    picture.load()
                found = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # whatever a damaged EXIF block makes Pillow raise: it says nothing then
        return 1
    return found if found in _TURNS else 1


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those that carry EXIF and are not turned by Pillow itself."""
    Image.init()
    return tuple(name for name in ("JPEG", "PNG", "WEBP", "AVIF") if name in Image.OPEN)
