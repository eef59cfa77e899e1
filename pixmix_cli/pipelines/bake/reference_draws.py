"""Draws as the published code makes them, for parity studies: two global streams, in its order.

The published code draws crops and flips from torch's generator and everything else from NumPy's
legacy one. Here both are seeded once; then copy after copy, and in each copy the samples in source
order, as `for i in range(len(dataset)): dataset[i]` would. So a sample's draws depend on all before
it, and the parent draws them all, whatever part of the set is to be made; workers get records.

The crops are drawn by torchvision itself. Only this module of a bake imports torch.

source  PixMix (2022), the published code: its order of calls, without its DataLoader
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torchvision
from torchvision.transforms import RandomCrop, RandomResizedCrop

from pixmix_cli.errors import InputError, PictureError, PixMixError
from pixmix_cli.mixing.config import PAPER_OPERATIONS, PixMixConfig
from pixmix_cli.mixing.draws import (
    ALL_OPS,
    BASE_OPS,
    CROP_RATIO,
    CROP_SCALE,
    UNLEVELLED_OPS,
    Augmentation,
    Draws,
    Round,
    augmentation_at,
)
from pixmix_cli.mixing.mixer import shorter_side_at
from pixmix_cli.sources.mixing_set import MixingSet
from pixmix_cli.sources.pictures import PictureRef, PixelsRef
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images
from pixmix_cli.storage.orientation import orientation_of

LARGEST_SEED = 2**32 - 1  # of NumPy's legacy generator
Box = tuple[int, int, int, int]


def check(config: PixMixConfig, mixing: MixingSet, seed: int) -> None:
    """Refuse what the published code cannot do. Raises InputError."""
    if mixing.shares:
        raise InputError(
            "--draws reference knows no weights of mixing sets", "sets without weights"
        )
    if config.operations != PAPER_OPERATIONS:
        raise InputError("--draws reference knows add and multiply only", "without --operations")
    if config.crop != "random" or not config.flip:
        raise InputError(
            "--draws reference crops and flips as the published code",
            "without --crop and --no-flip",
        )
    if seed > LARGEST_SEED:
        raise InputError(f"--draws reference takes a --seed up to {LARGEST_SEED}, not {seed}")


def versions() -> dict[str, str]:
    """Whose streams these are, for the settings."""
    return {
        "numpy": np.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
    }


@dataclass
class ReferenceDraws:
    """All records of a set, made as far as they are asked for: a text of 0.5 KB a picture."""

    config: PixMixConfig
    source: Source
    mixing: MixingSet
    seed: int
    _copies: list[list[str]] = field(default_factory=list)
    _numpy: np.random.RandomState | None = None
    _torch: torch.Tensor | None = None  # state of torch's generator
    _mixing_sizes: dict[int, tuple[int, int]] = field(default_factory=dict)

    def of(self, copy: int) -> list[str]:
        """The records of one copy, in source order, each as the JSON of `Draws.to_json`.

        A picture whose size cannot be read draws nothing, and its record is empty.

        raises  PictureError when the size of a mixing picture cannot be read
        """
        while len(self._copies) <= copy:
            if self._numpy is None:
                self._numpy = np.random.RandomState(self.seed)
            with torch.random.fork_rng(devices=[]):
                if self._torch is None:
                    torch.manual_seed(self.seed)
                else:
                    torch.set_rng_state(self._torch)
                made = [self._record(ref, self._numpy) for ref in self.source.pictures]
                self._torch = torch.get_rng_state()
            self._copies.append(made)
        return self._copies[copy]

    def _record(self, ref: PictureRef, random: np.random.RandomState) -> str:
        config = self.config
        if config.geometry == "imagenet":
            try:
                size = _size_of(ref)
            except PixMixError:
                return ""  # the worker that reads it says why
            crop = _resized_crop(size)
            flip = _flip()
        else:
            flip = _flip()
            side = config.size + 2 * config.padding
            top, left = _place(side, side, config.size)
            crop = (top - config.padding, left - config.padding, config.size, config.size)
        mixing = int(random.choice(len(self.mixing.pictures)))
        height, width = self._mixing_size(mixing)
        top, left = _place(height, width, config.size)
        draws = Draws(
            crop=crop,
            flip=flip,
            mixing=mixing,
            # the middle of the numbers that mean this place
            mixing_offset=(
                (top + 0.5) / (height - config.size + 1),
                (left + 0.5) / (width - config.size + 1),
            ),
            start=draw_augmentation(config, random) if random.random_sample() < 0.5 else None,
            rounds=tuple(draw_round(config, random) for _ in range(random.randint(config.k + 1))),
        )
        return json.dumps(draws.to_json())

    def _mixing_size(self, number: int) -> tuple[int, int]:
        """(height, width) of a mixing picture after its resize."""
        if number not in self._mixing_sizes:
            try:
                height, width = _size_of(self.mixing.pictures[number])
            except PixMixError as error:
                raise PictureError(f"mixing set: {error.message}", "without that picture") from None
            shape = shorter_side_at(height, width, self.config.mixing_size)
            self._mixing_sizes[number] = shape
        return self._mixing_sizes[number]


def draw_round(config: PixMixConfig, random: np.random.RandomState) -> Round:
    """One mixing round, in the published order of calls."""
    augmentation = draw_augmentation(config, random) if random.random_sample() < 0.5 else None
    operation = config.operations[int(random.choice(len(config.operations)))]
    beta, one = config.beta, np.float32(1)
    if random.random_sample() < 0.5:
        a, b = np.float32(random.beta(beta, 1)), np.float32(random.beta(1, beta))
    else:
        a, b = one + np.float32(random.beta(1, beta)), -np.float32(random.beta(1, beta))
    return Round(augmentation, operation, float(a), float(b))


def draw_augmentation(config: PixMixConfig, random: np.random.RandomState) -> Augmentation:
    """One augmentation with its strength, in the published order of calls."""
    names = ALL_OPS if config.all_ops else BASE_OPS
    name = names[int(random.choice(len(names)))]
    if name in UNLEVELLED_OPS:
        return Augmentation(name)
    level = float(random.uniform(0.1, config.severity))
    return augmentation_at(name, level, lambda: -1 if random.uniform() > 0.5 else 1, config.size)


def _flip() -> bool:
    """The coin of RandomHorizontalFlip."""
    return bool(torch.rand(1) < 0.5)


def _resized_crop(size: tuple[int, int]) -> Box:
    """What RandomResizedCrop draws for a picture of (height, width)."""
    blank: Any = torch.empty((3, *size), device="meta")
    top, left, height, width = RandomResizedCrop.get_params(
        blank, list(CROP_SCALE), list(CROP_RATIO)
    )
    return top, left, height, width


def _place(height: int, width: int, size: int) -> tuple[int, int]:
    """What RandomCrop(size) draws for a picture of these sides: (top, left)."""
    blank: Any = torch.empty((3, height, width), device="meta")
    top, left, _, _ = RandomCrop.get_params(blank, (size, size))
    return top, left


def _size_of(ref: PictureRef) -> tuple[int, int]:
    """(height, width) of a picture, from its header. Raises PixMixError."""
    if isinstance(ref, PixelsRef):
        return ref.layout[:2]
    data = ref.read()
    sides = images.size_of(data, ref.name)
    return sides[::-1] if ref.upright and orientation_of(data) > 4 else sides
