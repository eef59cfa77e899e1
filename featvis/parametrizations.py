"""What is optimised in place of pixels: spectra whose colours are decorrelated.

Every parametrization holds one parameter tensor for a batch, starts each picture from its own
generator, and decodes to pictures (n, 3, side, side) float32 in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from featvis.config import FeatVisConfig

# Square root of the colour covariance of ImageNet's pictures, figures of Olah, Mordvintsev &
# Schubert, "Feature Visualization" (Distill 2017), as published with lucid
# (lucid/optvis/param/color.py). Columns: brightness, blue-yellow, green-magenta.
COLOR_BASIS = (
    (0.26, 0.09, 0.02),
    (0.27, 0.00, -0.05),
    (0.27, -0.09, 0.03),
)

EXTREME = 0.02  # pure black and white have no finite logit: a given picture keeps off by this
START_NOISE = 0.01  # standard deviation of the start in parameter units
# Logits that a unit of the lowest frequency's coefficient makes. 1.0 left pictures of
# squeezenet1_1's middle layers with too little contrast at 32 px.
FOURIER_GAIN = 1.5
MACO_DECAY = 1.0  # natural pictures' amplitude falls about as 1/frequency (Field 1987)
MACO_CONTRAST = 1.6  # standard deviation of MACO's decoded logits
MACO_RATE = 8.0  # phases turn through radians where coefficients move by tenths

F32 = npt.NDArray[np.float32]


class Parametrization(Protocol):
    """One batch of pictures under optimisation."""

    parameter: Tensor
    rate: float  # multiplies the learning rate

    def decode(self, side: int | None = None) -> Tensor:
        """The pictures, (n, 3, side, side) float32 in [0, 1]; None: at their own side."""
        ...

    def start_from(self, pictures: Tensor) -> None:
        """Move the parameter so that it decodes to these pictures and the start noise.

        pictures  (n, 3, side, side) float32 in [0, 1], side being the parametrization's own
        """
        ...


def make_parametrization(
    config: FeatVisConfig,
    side: int,
    rngs: Sequence[np.random.Generator],
    device: str,
    starts: F32 | None = None,
) -> Parametrization:
    """The configured parametrization of len(rngs) pictures of `side` pixels, at its start.

    rngs    one a picture; each is advanced by the noise of its own picture only
    starts  (n, 3, s, s) float32 in [0, 1]: pictures to start from, resized; None: noise alone
    """
    kinds: dict[str, type[Fourier] | type[Maco] | type[Pixel]] = {
        "fourier": Fourier,
        "maco": Maco,
        "pixel": Pixel,
    }
    made = kinds[config.parametrization](config, side, rngs, device)
    if starts is not None:
        pictures = torch.from_numpy(starts).to(device)
        if pictures.shape[-1] != side:
            pictures = torch.nn.functional.interpolate(
                pictures, (side, side), mode="bilinear", antialias=True
            )
        with torch.no_grad():
            made.start_from(pictures)
    return made


class Fourier:
    """Free complex spectra, low frequencies weighted up (Olah et al. 2017, preconditioning).

    A coefficient at frequency f (cycles a side, at least 1) makes f**-decay of what the lowest
    makes, whatever the side, so the same number of steps gives the same contrast at every size.
    """

    rate = 1.0

    def __init__(
        self,
        config: FeatVisConfig,
        side: int,
        rngs: Sequence[np.random.Generator],
        device: str,
    ) -> None:
        self._side = side
        noise = _start_noise(rngs, (3, side, side // 2 + 1, 2))
        self.parameter = torch.from_numpy(noise).to(device).requires_grad_(True)
        weights = FOURIER_GAIN * np.maximum(frequencies(side), 1.0) ** -config.decay
        self._weights = torch.from_numpy(weights.astype(np.float32)).to(device)
        self._basis = color_basis(device)

    def decode(self, side: int | None = None) -> Tensor:
        """The pictures; a larger side continues them without new detail."""
        spectrum = torch.view_as_complex(self.parameter) * self._weights
        return to_colors(synthesize(spectrum, side or self._side), self._basis)

    def start_from(self, pictures: Tensor) -> None:
        """See Parametrization."""
        spectrum = torch.fft.rfft2(from_colors(pictures, self._basis), norm="forward")
        self.parameter += torch.view_as_real(spectrum / self._weights)


class Maco:
    """Phases under a natural picture's fixed amplitudes (Fel et al., "Unlocking Feature
    Visualization for Deeper Networks with MAgnitude Constrained Optimization", NeurIPS 2023).

    The amplitudes are f**-1 in place of ImageNet's measured mean, which they follow closely.
    """

    rate = MACO_RATE

    def __init__(
        self,
        config: FeatVisConfig,
        side: int,
        rngs: Sequence[np.random.Generator],
        device: str,
    ) -> None:
        self._side = side
        shape = (3, side, side // 2 + 1)

        def fill(phases: F32, rng: np.random.Generator) -> None:
            rng.random(dtype=np.float32, out=phases)
            phases *= np.float32(2 * math.pi)

        self.parameter = torch.from_numpy(_drawn(fill, rngs, shape)).to(device)
        self.parameter.requires_grad_(True)
        cycles = frequencies(side)
        amplitude = np.maximum(cycles, 1.0) ** -MACO_DECAY
        amplitude[0, 0] = 0.0
        power = 2 * float((amplitude**2).sum())
        amplitude *= MACO_CONTRAST / math.sqrt(max(power, 1e-12)) / 0.46
        self._amplitude = torch.from_numpy(amplitude.astype(np.float32)).to(device)
        self._basis = color_basis(device)

    def decode(self, side: int | None = None) -> Tensor:
        """The pictures; a larger side continues them without new detail."""
        spectrum = torch.polar(self._amplitude.expand_as(self.parameter), self.parameter)
        return to_colors(synthesize(spectrum, side or self._side), self._basis)

    def start_from(self, pictures: Tensor) -> None:
        """Take over the pictures' phases; the amplitudes stay. Random where there are none."""
        spectrum = torch.fft.rfft2(from_colors(pictures, self._basis), norm="forward")
        noise = torch.polar(START_NOISE * self._amplitude.expand_as(self.parameter), self.parameter)
        self.parameter.copy_(torch.angle(spectrum + noise))


class Pixel:
    """Decorrelated pixels without any preconditioning: the plain baseline."""

    rate = 1.0

    def __init__(
        self,
        config: FeatVisConfig,
        side: int,
        rngs: Sequence[np.random.Generator],
        device: str,
    ) -> None:
        self._side = side
        noise = _start_noise(rngs, (3, side, side))
        self.parameter = torch.from_numpy(noise).to(device).requires_grad_(True)
        self._basis = color_basis(device)

    def decode(self, side: int | None = None) -> Tensor:
        """The pictures; a larger side is interpolated."""
        picture = to_colors(self.parameter, self._basis)
        if side is None or side == self._side:
            return picture
        return torch.nn.functional.interpolate(
            picture, (side, side), mode="bilinear", antialias=side < self._side
        )

    def start_from(self, pictures: Tensor) -> None:
        """See Parametrization."""
        self.parameter += from_colors(pictures, self._basis)


def _start_noise(rngs: Sequence[np.random.Generator], shape: tuple[int, ...]) -> F32:
    def fill(noise: F32, rng: np.random.Generator) -> None:
        rng.standard_normal(dtype=np.float32, out=noise)
        noise *= np.float32(START_NOISE)

    return _drawn(fill, rngs, shape)


def _drawn(
    fill: Callable[[F32, np.random.Generator], None],
    rngs: Sequence[np.random.Generator],
    shape: tuple[int, ...],
) -> F32:
    """(n, *shape): what `fill` writes for each generator, with as many threads as torch has.

    A picture's numbers take a millisecond, in which NumPy lets other threads run; a GPU makes whole
    pictures in a few.
    """
    drawn = np.empty((len(rngs), *shape), np.float32)
    threads = min(torch.get_num_threads(), len(rngs))
    if threads <= 1:
        for picture, rng in zip(drawn, rngs):
            fill(picture, rng)
        return drawn
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, drawn, rngs):
            pass
    return drawn


def frequencies(side: int) -> npt.NDArray[np.float64]:
    """Cycles a side of every coefficient of a real 2-d spectrum, (side, side // 2 + 1)."""
    down = np.fft.fftfreq(side) * side
    across = np.fft.rfftfreq(side) * side
    return np.hypot(down[:, None], across[None, :])


def synthesize(spectrum: Tensor, side: int) -> Tensor:
    """The real pictures of half spectra, at any side.

    spectrum  (n, 3, s, s // 2 + 1) complex64, unscaled (a coefficient is an amplitude)
    returns   (n, 3, side, side) float32; frequencies beyond either side are left out or zero
    """
    own = spectrum.shape[-2]
    if side != own:
        keep = min(own, side)
        low, high = (keep + 1) // 2, (keep - 1) // 2  # rows of frequencies >= 0 and < 0
        across = (keep + 1) // 2
        resized = spectrum.new_zeros((*spectrum.shape[:-2], side, side // 2 + 1))
        resized[..., :low, :across] = spectrum[..., :low, :across]
        if high:
            resized[..., -high:, :across] = spectrum[..., -high:, :across]
        spectrum = resized
    return torch.fft.irfft2(spectrum, s=(side, side), norm="forward")


def color_basis(device: str) -> Tensor:
    """COLOR_BASIS scaled so that its longest column has length 1, (3, 3) float32."""
    basis = np.array(COLOR_BASIS)
    basis /= np.linalg.norm(basis, axis=0).max()
    return torch.from_numpy(basis.astype(np.float32)).to(device)


def to_colors(decorrelated: Tensor, basis: Tensor) -> Tensor:
    """RGB in [0, 1] of pictures in decorrelated colours, (n, 3, h, w) float32 both."""
    n, c, h, w = decorrelated.shape
    return torch.sigmoid(torch.matmul(basis, decorrelated.reshape(n, c, h * w))).view(n, c, h, w)


def from_colors(pictures: Tensor, basis: Tensor) -> Tensor:
    """What `to_colors` makes these pictures of, but for values within EXTREME of 0 and 1."""
    n, c, h, w = pictures.shape
    logits = torch.logit(pictures, eps=EXTREME).reshape(n, c, h * w)
    # on the CPU, since some devices solve nothing
    inverse = torch.linalg.inv(basis.cpu().double()).float().to(basis.device)
    return torch.matmul(inverse, logits).view(n, c, h, w)
