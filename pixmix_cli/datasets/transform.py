"""PixMix as a transform for training loops: from the folders of mixing sets to tensors."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.mixing.config import PixMixConfig, recipe_of
from pixmix_cli.mixing.transform import ArrayMix, MixingArrays, Normalise
from pixmix_cli.pipelines.bake.mixing_pictures import MixingPictures, cache_key
from pixmix_cli.sources.mixing_set import MixingSet, open_mixing_set, weighted_paths
from pixmix_cli.sources.picture_cache import PictureCache, default_folder
from pixmix_cli.storage.remote import AnyPath
from pixmix_cli.units import MAX_PIXELS

U8 = NDArray[np.uint8]
Place = str | os.PathLike[str]
Picture = Image.Image | U8 | torch.Tensor


class PixMix:
    """Crops and mixes a picture as `pixmix bake` does; takes the place of random crop and flip.

        transform = PixMix("mixing", preset="imagenet", mean=[...], std=[...])

    Random numbers come from torch's generator, which a DataLoader seeds anew for each worker and
    epoch. Mixing pictures are decoded once for all workers and runs, into the cache folder that
    `pixmix bake` has, and read from there by memory map. It can be sent to workers, by fork or
    spawn.
    """

    def __init__(
        self,
        mixing: Place | Sequence[Place] | Mapping[Place, float] | Sequence[U8],
        config: PixMixConfig | None = None,
        next_seed: Callable[[], int] | None = None,
        *,
        preset: str = "imagenet",
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        mixing_cache: Place | None = None,
    ) -> None:
        """List the mixing pictures; none is decoded yet.

        mixing        a folder, tar or URL of mixing pictures; several of them, as PATH or
                      PATH:WEIGHT; a mapping from path to weight; or pictures, (h, w, 3) uint8
        config        the recipe; None: the preset's, at `size` pixels
        next_seed     called once a picture: a number from 0 to 2^63 - 1; None: torch's generator
        mean, std     of R, G and B in [0, 1] units, as torchvision's Normalize has them. With
                      them a tensor comes out
        mixing_cache  folder of decoded mixing pictures; None: PIXMIX_CACHE_DIR or the user's cache
        raises        InputError for a mixing set that is missing or holds no picture; ValueError
                      for settings out of range, or an empty list
        """
        if config is None:
            config = recipe_of(preset)
        if size is not None:
            config = replace(config, size=size)
        if (mean is None) != (std is None):
            raise ValueError("mean and std go together")
        self._mixing = _open(mixing, config.mixing_size, mixing_cache)
        self._mix = ArrayMix(self._mixing, config, next_seed or _torch_seed)
        self._normalise = (
            None if mean is None or std is None else Normalise(tuple(mean), tuple(std))
        )

    def decode_all(self) -> None:
        """Decode every mixing picture now, and not when it is first drawn."""
        if isinstance(self._mixing, _Decoded):
            self._mixing.decode_all()

    def __call__(self, picture: Picture) -> Any:
        """One augmented copy.

        picture  a PIL picture of any mode; (h, w, 3) uint8; or a tensor (3, h, w) uint8
        returns  with mean and std a tensor (3, size, size) float32, the values of torchvision's
                 ToTensor and Normalize; else the type that went in, RGB
        """
        mixed = self._mix.mix(_pixels(picture))
        if self._normalise is not None:
            return torch.from_numpy(self._normalise(mixed))
        if isinstance(picture, Image.Image):
            return Image.fromarray(mixed)
        if isinstance(picture, torch.Tensor):
            return torch.from_numpy(np.ascontiguousarray(mixed.transpose(2, 0, 1)))
        return mixed


def _pixels(picture: Picture) -> U8:
    """(h, w, 3) uint8 of whatever a picture is. Raises TypeError."""
    if isinstance(picture, Image.Image):
        return np.asarray(picture if picture.mode == "RGB" else picture.convert("RGB"))
    is_tensor = isinstance(picture, torch.Tensor)
    pixels: Any = np.asarray(picture.permute(1, 2, 0) if is_tensor else picture)  # type: ignore[union-attr]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise TypeError(
            f"PixMix takes PIL pictures, (h, w, 3) uint8 arrays and (3, h, w) uint8 tensors, not "
            f"{pixels.dtype} {pixels.shape}: put it before what converts and normalises"
        )
    return pixels


def _torch_seed() -> int:
    """A number from torch's generator. In a DataLoader's worker that is the worker's own."""
    return torch.empty((), dtype=torch.int64).random_().item()  # type: ignore[return-value]


def named_sets(
    mixing: Place | Sequence[Place] | Mapping[Any, float],
) -> tuple[tuple[AnyPath, ...], tuple[float, ...]]:
    """Paths of mixing sets, and their weights or none, of whatever names them.

    raises  ValueError, InputError for weights that cannot be, and for no set at all
    """
    weights: tuple[float, ...] = ()
    if isinstance(mixing, (str, os.PathLike)):
        mixing = [mixing]
    if isinstance(mixing, Mapping):
        weights = tuple(map(float, mixing.values()))
        if not all(0 < weight < float("inf") for weight in weights):
            raise ValueError("weights of mixing sets must be above 0")
    paths = [os.fspath(place) for place in mixing]
    if not paths:
        raise ValueError("PixMix needs at least one mixing set")
    places, told = weighted_paths(paths)
    return places, weights or told


def _open(mixing: Any, side: int, cache: Place | None) -> MixingArrays:
    """Mixing pictures by number, whatever names them."""
    is_named = isinstance(mixing, (str, os.PathLike, Mapping))
    if not is_named and not all(isinstance(place, (str, os.PathLike)) for place in mixing):
        arrays: MixingArrays = mixing
        return arrays
    places, weights = named_sets(mixing)
    found = open_mixing_set(places, warnings.warn, weights)
    return _Decoded(found, side, cache_folder(cache))


def cache_folder(named: Place | None) -> Path:
    """The folder of decoded mixing pictures: the one that is named, or the user's."""
    return default_folder() if named is None else Path(named)


class _Decoded:
    """A mixing set's pictures by drawn number, decoded and resized. Each process has its own."""

    def __init__(self, mixing: MixingSet, side: int, folder: Path) -> None:
        """side: to which the shorter side is resized, pixels; folder: of the cache."""
        self._mixing = mixing
        self._side = side
        self._folder = folder
        self._key = cache_key(mixing, side, MAX_PIXELS, folder)
        self._owner = 0  # process
        self._pictures: MixingPictures | None = None

    def __len__(self) -> int:
        return self._mixing.draws_from

    def decode_all(self) -> None:
        """Put every picture that can be read into the cache."""
        self._opened().load_all()

    def __getitem__(self, number: int) -> U8:
        pictures = self._opened()
        _, picture = pictures.get(number, "skip")
        for row in pictures.errors():
            warnings.warn(f"mixing picture left out: {row.error}", stacklevel=4)
        return picture

    def _opened(self) -> MixingPictures:
        if self._pictures is None or self._owner != os.getpid():
            # also after a fork: a lock on a descriptor that both have would keep neither out
            on_disk = PictureCache(self._folder, self._key, len(self._mixing.pictures), mapped=True)
            self._pictures = MixingPictures(self._mixing, self._side, on_disk)
            self._owner = os.getpid()
        return self._pictures

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pictures": None}
