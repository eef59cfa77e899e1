"""PixMix on arrays, one picture at a time: what the transform for training loops is made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing import batch
from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.mixing.draws import draw
from pixmix_cli.mixing.mixer import Mixer, fit_square, resize_shorter_side
from pixmix_cli.mixing.uniforms import uniforms_for
from pixmix_cli.seeding import Stream, key_for

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


class MixingArrays(Protocol):
    """Mixing pictures by number: a list of arrays, or what loads them when they are asked for."""

    def __len__(self) -> int:
        """How many numbers there are to draw from."""

    def __getitem__(self, number: int) -> U8:
        """(h, w, 3) uint8."""


class ArrayMix:
    """Crops and mixes a picture as `pixmix bake` does. It can be sent to other processes."""

    def __init__(
        self, mixing: MixingArrays, config: PixMixConfig, next_seed: Callable[[], int]
    ) -> None:
        """Keep what is needed.

        mixing     pictures to mix in, of any size, at least one; those whose shorter side is
                   config.mixing_size already are not resized again at each use
        next_seed  called once a picture: a number from 0 to 2^63 - 1. A NumPy generator in here
                   would be copied to every worker, and all would draw alike
        raises     ValueError when `mixing` is empty
        """
        if len(mixing) == 0:
            raise ValueError("PixMix needs at least one mixing picture")
        self._mixing = mixing
        self._config = config
        self._next_seed = next_seed
        self._mixer: Mixer | batch.SmallMixer | None = None

    def mix(self, pixels: U8) -> U8:
        """One augmented copy.

        pixels   (h, w, 3) uint8
        returns  (size, size, 3) uint8, size of the recipe
        """
        config, count = self._config, len(self._mixing)
        key = key_for(self._next_seed(), Stream.BAKE)
        if self._mixer is None:
            small = batch.possible(config)
            self._mixer = batch.SmallMixer(config, count) if small else Mixer(config)
        if isinstance(self._mixer, batch.SmallMixer):
            square = fit_square(pixels, config.size, whole=config.crop == "none")
            return self._mixer(key, square, self._mixing_picture)
        (numbers,) = uniforms_for([key])
        draws = draw(config, numbers, pixels.shape[:2], count)
        other = self._mixing_picture(draws.mixing) if draws.uses_mixing else None
        return self._mixer.sample(draws, pixels, other)

    def _mixing_picture(self, number: int) -> U8:
        return resize_shorter_side(self._mixing[number], self._config.mixing_size)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the scratch memory, which each process makes for itself."""
        return {**self.__dict__, "_mixer": None}


class Normalise:
    """Pixels to floats, a channel a plane: the values of torchvision's ToTensor and Normalize."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Make a table of the 256 levels of each channel.

        mean, std  of R, G and B, in [0, 1] units
        raises     ValueError unless they are three numbers each, and std above 0
        """
        means, stds = np.array(mean, np.float32), np.array(std, np.float32)
        if means.shape != (3,) or stds.shape != (3,):
            raise ValueError("mean and std are three numbers each, of R, G and B")
        if not (np.isfinite(means).all() and np.isfinite(stds).all() and (stds > 0).all()):
            raise ValueError(f"std must be above 0, and mean a number, not {std} and {mean}")
        levels = np.arange(256, dtype=np.float32) / np.float32(255)
        self._tables = (levels - means[:, None]) / stds[:, None]

    def __call__(self, pixels: U8) -> F32:
        """(h, w, 3) uint8 to (3, h, w) float32."""
        out = np.empty((3, *pixels.shape[:2]), np.float32)
        for channel, table in enumerate(self._tables):
            np.take(table, pixels[:, :, channel], out=out[channel], mode="clip")
        return out
