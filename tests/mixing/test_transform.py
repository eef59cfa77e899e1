"""PixMix as a transform among others."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.mixing import PRESETS, PixMix
from tests.conftest import picture

MIXING = [picture(100 + i, 64, 80) for i in range(4)]


class Counter:
    """Seeds 0, 1, 2, …: can be pickled."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        self.number += 1
        return self.number - 1


@pytest.mark.parametrize(("preset", "size"), [("cifar", 32), ("imagenet", 224)])
def test_the_result_has_the_recipes_size_and_the_type_of_what_went_in(
    preset: str, size: int
) -> None:
    mix = PixMix(MIXING, PRESETS[preset], Counter())
    pixels = picture(1, 90, 70)
    array = mix(pixels)
    assert array.shape == (size, size, 3)
    assert array.dtype == np.uint8
    pil = mix(Image.fromarray(pixels).convert("L"))
    assert isinstance(pil, Image.Image)
    assert (pil.mode, pil.size) == ("RGB", (size, size))


def test_the_seed_alone_decides() -> None:
    pixels = picture(1, 32, 32)
    config = PRESETS["cifar"]
    first, again = (PixMix(MIXING, config, Counter()) for _ in range(2))
    made = [first(pixels) for _ in range(8)]
    for one in made:
        assert np.array_equal(one, again(pixels))
    assert len({one.tobytes() for one in made}) > 4


def test_pictures_resized_beforehand_give_the_same() -> None:
    from pixmix_cli.mixing.mixer import resize_shorter_side

    config = PRESETS["cifar"]
    small = [resize_shorter_side(one, config.mixing_size) for one in MIXING]
    pixels = picture(1, 32, 32)
    one, two = PixMix(MIXING, config, Counter()), PixMix(small, config, Counter())
    for _ in range(8):
        assert np.array_equal(one(pixels), two(pixels))


@pytest.mark.process
def test_it_goes_to_a_worker_and_mixes_the_same_there() -> None:
    mix = PixMix(MIXING, PRESETS["cifar"], Counter())
    pixels = picture(2, 32, 32)
    mix(pixels)
    sent = pickle.loads(pickle.dumps(mix))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.map(sent, [pixels] * 3, chunksize=3)
    for one in there:
        assert np.array_equal(one, mix(pixels))


def test_no_mixing_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        PixMix([], PRESETS["cifar"], itertools.count().__next__)
