"""PixMix without baking: pictures mixed anew in each epoch, by the process that trains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.safety.data import SIDE, U8, Labelled
from benchmarks.safety.epochs import on_device
from benchmarks.safety.train import Epochs
from pixmix_cli.mixing.config import PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import Draws, Uniform, draw, draw_augmentation
from pixmix_cli.mixing.mixer import Mixer, resize_shorter_side
from pixmix_cli.mixing.uniforms import uniforms_for
from pixmix_cli.seeding import Stream, keys_for
from pixmix_cli.sources.mixing_set import MixingSet, open_mixing_set, weighted_paths
from pixmix_cli.storage import images

RECIPE = PRESETS["cifar"]
AT_ONCE = 1000  # pictures whose random numbers are made at once


@dataclass(frozen=True)
class Mixing:
    """A mixing set in memory.

    found     which there are, and how one is picked
    pictures  (h, w, 3) uint8 each, the shorter side at the recipe's mixing size
    """

    found: MixingSet
    pictures: Sequence[U8]

    @classmethod
    def load(cls, words: Sequence[str], config: PixMixConfig = RECIPE) -> Mixing:
        """Read sets as `--mixing-set` takes them.

        raises  InputError for a missing or an empty set, PictureError for a broken picture
        """
        paths, weights = weighted_paths(words)
        found = open_mixing_set(paths, lambda text: None, weights)
        pictures = [
            resize_shorter_side(images.decode_rgb(ref.read(), ref.name), config.mixing_size)
            for ref in found.pictures
        ]
        return cls(found, pictures)


def live_epochs(
    train: Labelled,
    mixing: Mixing | None,
    device: torch.device,
    seed: int,
    copies: int,
    config: PixMixConfig = RECIPE,
) -> Epochs:
    """Epoch e shows copy e mod `copies`.

    mixing  None: every round that would mix a picture in takes an augmented copy instead
    """
    labels = torch.from_numpy(train.labels).to(device)
    mixer = Mixer(config)

    def epoch(number: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        made = _copy(train.pictures, mixing, mixer, config, seed, number % copies)
        return on_device(made, device), labels

    return epoch


def without_set(draws: Draws, config: PixMixConfig, rng: Uniform) -> Draws:
    """The same draws, each mixing picture replaced by an augmented copy of the original."""
    rounds = (
        replace(r, augmentation=draw_augmentation(config, rng)) if r.augmentation is None else r
        for r in draws.rounds
    )
    return replace(draws, rounds=tuple(rounds))


def _copy(
    pictures: U8, mixing: Mixing | None, mixer: Mixer, config: PixMixConfig, seed: int, copy: int
) -> U8:
    out = np.empty((len(pictures), SIDE, SIDE, 3), np.uint8)
    drawn_from = 1 if mixing is None else mixing.found.draws_from
    # a name of its own, so that these are not the numbers of `pixmix bake` with the same seed
    keys = keys_for(seed, Stream.BAKE, [f"online {copy}"], range(len(pictures)))
    for begin in range(0, len(pictures), AT_ONCE):
        for offset, rng in enumerate(uniforms_for(keys[begin : begin + AT_ONCE])):
            picture = pictures[begin + offset]
            draws = draw(config, rng, (SIDE, SIDE), drawn_from)
            chosen = None
            if mixing is None:
                draws = without_set(draws, config, rng)
            elif draws.uses_mixing:
                chosen = mixing.pictures[mixing.found.pick(draws.mixing)]
            out[begin + offset] = mixer.sample(draws, picture, chosen)
    return out
