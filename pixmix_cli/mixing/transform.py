"""PixMix online: one transform among others, for those who do not bake."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.mixing.draws import draw
from pixmix_cli.mixing.mixer import Mixer, resize_shorter_side
from pixmix_cli.seeding import Stream, rng_for

U8 = NDArray[np.uint8]
Picture = TypeVar("Picture", "Image.Image", U8)


class PixMix:
    """Crops and mixes a picture as `pixmix bake` does, and gives back one of the same type.

    Takes the place of the random crop and flip; converting and normalising come after it. It can be
    sent to the workers of a DataLoader.
    """

    def __init__(
        self, mixing: Sequence[U8], config: PixMixConfig, next_seed: Callable[[], int]
    ) -> None:
        """Keep what is needed.

        mixing     pictures to mix in, (h, w, 3) uint8 of any size, at least one; those whose
                   shorter side is config.mixing_size already are not resized again at each use
        config     e.g. PRESETS["cifar"]
        next_seed  called once a picture: a number from 0 to 2^63 - 1, e.g. from torch's generator,
                   which a DataLoader seeds anew for each worker and epoch. A NumPy generator in
                   here would be copied to every worker, and all would draw alike.
        raises     ValueError when `mixing` is empty
        """
        if len(mixing) == 0:
            raise ValueError("PixMix needs at least one mixing picture")
        self._mixing = mixing
        self._config = config
        self._next_seed = next_seed
        self._mixer: Mixer | None = None

    def __call__(self, picture: Picture) -> Picture:
        """One augmented copy.

        picture  a PIL picture of any mode, or (h, w, 3) uint8
        returns  the same type, RGB, config.size on both sides
        """
        if isinstance(picture, Image.Image):
            return Image.fromarray(self._mix(np.asarray(picture.convert("RGB"))))
        return self._mix(picture)

    def _mix(self, pixels: U8) -> U8:
        config = self._config
        if self._mixer is None:
            self._mixer = Mixer(config)
        rng = rng_for(self._next_seed(), Stream.BAKE)
        draws = draw(config, rng, pixels.shape[:2], len(self._mixing))
        mixing = None
        if draws.uses_mixing:
            mixing = resize_shorter_side(self._mixing[draws.mixing], config.mixing_size)
        return self._mixer.sample(draws, pixels, mixing)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the scratch memory, which each process makes for itself."""
        return {**self.__dict__, "_mixer": None}
