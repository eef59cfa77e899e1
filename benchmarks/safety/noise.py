"""The control: coloured 1/f noise at full contrast, a mixing set without any structure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EXPONENTS = (0.8, 1.5)  # of 1/f^a, amplitude; natural pictures lie near 1 (Field 1987)
SPREAD = 2.2  # standard deviations that the full range takes in, to either side: std about 57


def coloured_noise(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """One picture: random phases, power falling with frequency, random colours, full range.

    size     side in pixels
    returns  (size, size, 3) uint8
    """
    exponent = rng.uniform(*EXPONENTS)
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)
    frequency = np.hypot(fy, fx)
    frequency[0, 0] = np.inf  # no mean
    shape = (3, size, size // 2 + 1)
    spectrum = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    channels = np.fft.irfft2(spectrum * frequency**-exponent, (size, size))
    channels /= channels.std((1, 2), keepdims=True)
    # three independent fields mixed at random: pictures between grey and three free channels
    mixture = rng.standard_normal((3, 3)) + rng.uniform(0, 1.5) * rng.choice((-1, 1), (3, 1))
    channels = np.einsum("ij,jyx->yxi", mixture, channels)
    channels /= channels.std((0, 1))
    levels = 127.5 * (1 + channels / SPREAD)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
