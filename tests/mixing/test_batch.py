"""A batch gives the draws and the pictures that samples give one at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from pixmix_cli.mixing.augmentations import disagreeing, numbers
from pixmix_cli.mixing.batch import BatchMixer, possible
from pixmix_cli.mixing.config import OPERATIONS, PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import ALL_OPS, draw
from pixmix_cli.mixing.mixer import crop_mixing, crop_original, pixmix
from pixmix_cli.seeding import Stream, key_for, rng_for
from tests.compiled import kernels, philox

CIFAR = PRESETS["cifar"]
RECIPES = {
    "the paper's": CIFAR,
    "nine augmentations": replace(CIFAR, all_ops=False),
    "strong, many rounds": replace(CIFAR, severity=10, k=9),
    "another size and beta": PixMixConfig(size=20, beta=0.5, severity=2, geometry="cifar"),
    "square roots": replace(CIFAR, beta=2.0),
    "no rounds": replace(CIFAR, k=0),
    "no flip": replace(CIFAR, flip=False),
    "no crop": replace(CIFAR, crop="none"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_draws_of_a_batch_are_those_of_its_samples(recipe: str) -> None:
    config = RECIPES[recipe]
    names = [f"a/{i}.png" for i in range(2000)]
    keys = [key_for(7, Stream.BAKE, 3, name) for name in names]
    heads, records = BatchMixer(config, 23).draw(keys)
    for name, head, record in zip(names, heads, records):
        draws = draw(config, rng_for(7, Stream.BAKE, 3, name), (config.size, config.size), 23)
        want = np.array(numbers(draws, config.size)[0])
        rounds = len(draws.rounds)
        np.testing.assert_array_equal(record[: 1 + rounds], want)
        assert not record[1 + rounds :].any()
        top, left = draws.crop[:2]
        expected = [rounds, draws.flip, top, left, draws.mixing, *draws.mixing_offset]
        assert head.tolist() == [*map(float, expected), float(draws.uses_mixing)]


def test_the_stream_is_numpys_philox() -> None:
    stream = np.empty(philox.STREAM, np.uint64)
    for key in (0, 1, 2**64 - 1, 2**128 - 1, 0x0123456789ABCDEF_FEDCBA9876543210):
        philox.begin(stream, np.uint64(key % 2**64), np.uint64(key >> 64))
        got = [philox.uniform(stream) for _ in range(13)]
        assert got == np.random.Generator(np.random.Philox(key=key)).random(13).tolist()


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (9, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_pictures_of_a_batch_are_those_of_its_samples(
    recipe: str, pictures: NDArray[np.uint8]
) -> None:
    config = RECIPES[recipe]
    size = config.size
    squares = np.ascontiguousarray(pictures[:, :size, :size])
    mixing = [
        np.random.default_rng(i).integers(0, 256, (config.mixing_size, 50 + i, 3), np.uint8)
        for i in range(5)
    ]
    names = [f"{i}" for i in range(200)]
    which = np.arange(200) % 9
    mixer = BatchMixer(config, 5)
    keys = [key_for(1, Stream.BAKE, 0, name) for name in names]
    for part in (slice(0, 50), slice(50, 200)):  # a larger batch after a smaller one
        got = mixer(keys[part], squares, which[part], lambda i: (i, mixing[i]))
        for name, square, picture in zip(names[part], which[part], got.pixels):
            draws = draw(config, rng_for(1, Stream.BAKE, 0, name), (size, size), 5)
            original = crop_original(config, draws, squares[square])
            other = crop_mixing(config, draws, mixing[draws.mixing])
            np.testing.assert_array_equal(picture, pixmix(config, draws, original, other))


@pytest.mark.parametrize("limits", [{"KEPT_BYTES": 2 * 36 * 36 * 3}, {"MAX_KEPT": 1}])
def test_mixing_pictures_for_which_there_is_no_room_are_cut_one_by_one(
    limits: dict[str, int], pictures: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [key_for(1, Stream.BAKE, 0, str(i)) for i in range(60)]
    which = np.arange(60) % 9
    noise = np.random.default_rng(3).integers(0, 256, (5, 36, 36, 3), np.uint8)
    want = BatchMixer(CIFAR, 5)(keys, pictures, which, lambda i: (9 - i, noise[i]))
    for name, value in limits.items():
        monkeypatch.setattr(f"pixmix_cli.mixing.batch.{name}", value)
    mixer = BatchMixer(CIFAR, 5)
    for _ in range(2):  # seen for the first time, and again
        got = mixer(keys, pictures, which, lambda i: (9 - i, noise[i]))
        np.testing.assert_array_equal(got.pixels, want.pixels)
        np.testing.assert_array_equal(got.mixing, want.mixing)


def test_plain_samples_of_a_batch_are_only_cropped_and_flipped(
    pictures: NDArray[np.uint8],
) -> None:
    keys = [key_for(1, Stream.BAKE, 0, str(i)) for i in range(60)]
    which = np.arange(60) % 9
    plain = np.arange(60) % 2 == 0
    mixing = np.zeros((36, 36, 3), np.uint8)
    mixed = BatchMixer(CIFAR, 1)(keys, pictures, which, lambda i: (i, mixing)).pixels
    got = BatchMixer(CIFAR, 1)(keys, pictures, which, lambda i: (i, mixing), plain).pixels
    np.testing.assert_array_equal(got[~plain], mixed[~plain])
    for i in np.flatnonzero(plain):
        draws = draw(CIFAR, rng_for(1, Stream.BAKE, 0, str(i)), (32, 32), 1)
        np.testing.assert_array_equal(got[i], crop_original(CIFAR, draws, pictures[which[i]]))


def test_batches_are_for_small_pictures_in_the_cifar_geometry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert possible(CIFAR)
    assert not possible(PRESETS["imagenet"])
    assert not possible(replace(CIFAR, size=224))
    monkeypatch.setattr("pixmix_cli.mixing.batch.disagreeing", lambda: frozenset({"rotate"}))
    assert not possible(CIFAR)


def test_codes_of_augmentations_are_their_places_in_the_list() -> None:
    from tests.compiled import augment_kernels

    for place, name in enumerate(ALL_OPS):
        assert getattr(augment_kernels, name.upper()) == place
    assert disagreeing() == frozenset()
    assert kernels.COLUMNS == 14


def test_codes_of_operations_are_their_places_in_the_list() -> None:
    for place, name in enumerate(OPERATIONS):
        assert getattr(kernels, name.upper().replace("-", "_")) == place


def test_operations_beyond_the_papers_are_not_done_in_batches() -> None:
    assert possible(PRESETS["cifar"])
    assert not possible(replace(PRESETS["cifar"], operations=("add", "screen")))
