"""How strong a mixing picture is: its contrast and its colour, apart from each other.

A recipe carries both where they are not 1, so that recipes of pictures as they are made stay as
they are.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.units import MAX_TONE

GREY = np.float32(127.5)
UNTONED = {"contrast": 1.0, "saturation": 1.0}  # as pictures are made


def recorded(contrast: float, saturation: float) -> dict[str, float]:
    """What recipes and settings say of a tone: by name, what is not 1."""
    tone = {"contrast": contrast, "saturation": saturation}
    return {name: value for name, value in tone.items() if value != UNTONED[name]}


def tone_of(recipe: Mapping[str, object]) -> dict[str, float]:
    """The contrast and saturation that a recipe asks for, by name; 1 where it says nothing.

    raises  ValueError, one line, for what is no number from 0 to MAX_TONE
    """
    tone = {}
    for name, usual in UNTONED.items():
        value = recipe.get(name, usual)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"recipe: {name} is {_shown(value)}: it must be a number")
        if not 0 <= value <= MAX_TONE:  # which NaN is not, either
            raise ValueError(
                f"recipe: {name} is {_shown(value)}: it must be between 0 and {MAX_TONE}"
            )
        tone[name] = value + 0.0  # -0.0 is 0
    return tone


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def toned(pixels: NDArray[np.uint8], contrast: float, saturation: float) -> NDArray[np.uint8]:
    """A picture whose brightness and whose colour stand more or less apart from middle grey.

    With g the mean of a pixel's three channels, a channel x becomes
    127.5 + contrast (g - 127.5) + saturation (x - g), rounded, 0 to 255.

    pixels      (h, w, 3) uint8
    contrast    0 to MAX_TONE; 1 leaves the brightness as it is, 0 makes it middle grey
    saturation  0 to MAX_TONE; 1 leaves the colour as it is, 0 makes the picture grey
    returns     (h, w, 3) uint8; the same array where both are 1
    """
    if contrast == 1 and saturation == 1:
        return pixels
    x = pixels.astype(np.float32)
    grey = ((x[..., 0] + x[..., 1] + x[..., 2]) / np.float32(3))[..., None]
    x -= grey
    x *= np.float32(saturation)
    grey -= GREY
    grey *= np.float32(contrast)
    grey += GREY
    x += grey
    np.rint(x, out=x)
    return np.clip(x, 0, 255, out=x).astype(np.uint8)
