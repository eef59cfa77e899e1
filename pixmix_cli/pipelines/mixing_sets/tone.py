"""How strong a mixing picture is: its contrast and its colour, apart from each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GREY = np.float32(127.5)


def toned(pixels: NDArray[np.uint8], contrast: float, saturation: float) -> NDArray[np.uint8]:
    """A picture whose brightness and whose colour stand more or less apart from middle grey.

    With g the mean of a pixel's three channels, a channel x becomes
    127.5 + contrast (g - 127.5) + saturation (x - g), rounded, 0 to 255.

    pixels      (h, w, 3) uint8
    contrast    0 to 10; 1 leaves the brightness as it is, 0 makes it middle grey
    saturation  0 to 10; 1 leaves the colour as it is, 0 makes the picture grey
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
