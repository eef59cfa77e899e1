"""Pixels against the oracle: whole pictures, from the files' pixels to the bytes stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.mixing.config import OPERATIONS, PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import Augmentation, Draws, Round, draw
from pixmix_cli.mixing.mixer import (
    Mixer,
    crop_mixing,
    crop_original,
    pixmix,
    resize_shorter_side,
)
from pixmix_cli.seeding import Stream, rng_for
from tests.naive.pixmix_oracle import Power, numpy_power, pixmix_picture, rounded_power

U8 = NDArray[np.uint8]
IMAGENET, CIFAR = PRESETS["imagenet"], PRESETS["cifar"]


def _real(rng: np.random.Generator, height: int, width: int) -> U8:
    """Smooth colour, a little sensor noise, a few straight edges."""
    corners = Image.fromarray(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8))
    smooth = np.asarray(corners.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    picture = smooth + rng.integers(-6, 7, smooth.shape)
    y, x = np.mgrid[:height, :width]
    for _ in range(3):
        angle, cx, cy = rng.random(3) * (2 * np.pi, width, height)
        side = np.cos(angle) * (x - cx) + np.sin(angle) * (y - cy) > 0
        picture = np.where(side[..., None], picture // 2 + rng.integers(0, 128, 3), picture)
    return picture.clip(0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int) -> U8:
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def _holes(rng: np.random.Generator, height: int, width: int) -> U8:
    """Noise, half of it exactly 0: where a negative weight multiplies by up to 1e37."""
    return _noise(rng, height, width) * rng.integers(0, 2, (height, width, 3), dtype=np.uint8)


def _black(rng: np.random.Generator, height: int, width: int) -> U8:
    return np.zeros((height, width, 3), np.uint8)


def _white(rng: np.random.Generator, height: int, width: int) -> U8:
    return np.full((height, width, 3), 255, np.uint8)


Picture = Callable[[np.random.Generator, int, int], U8]
REAL: list[tuple[Picture, Picture]] = [(_real, _real)]
HARD: list[tuple[Picture, Picture]] = [
    (_real, _black),
    (_noise, _noise),
    (_black, _real),
    (_white, _holes),
    (_holes, _holes),
    (_real, _white),
]


@dataclass(frozen=True)
class Difference:
    """Where ours and the oracle's pictures differ."""

    largest: int  # levels
    values: int  # that differ at all
    beyond_one: int  # that differ by more than one level
    total: int  # values compared

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            max(self.largest, other.largest),
            self.values + other.values,
            self.beyond_one + other.beyond_one,
            self.total + other.total,
        )


def _samples(
    config: PixMixConfig,
    original: tuple[int, int],
    mixing: tuple[int, int],
    pictures: list[tuple[Picture, Picture]],
    count: int,
    change: Callable[[Draws], Draws] = lambda draws: draws,
) -> Iterator[tuple[Draws, U8, U8]]:
    rng = np.random.default_rng(7)
    made = [(first(rng, *original), second(rng, *mixing)) for first, second in pictures]
    for i in range(count):
        draws = change(draw(config, rng_for(11, Stream.BAKE, i), original, 100))
        yield draws, *made[i % len(made)]


def _compare(
    config: PixMixConfig, samples: Iterator[tuple[Draws, U8, U8]], power: Power
) -> Difference:
    mixer = Mixer(config)
    sum_ = Difference(0, 0, 0, 0)
    for draws, original, mixing in samples:
        resized = resize_shorter_side(mixing, config.mixing_size)
        got = mixer(
            draws, crop_original(config, draws, original), crop_mixing(config, draws, resized)
        )
        want = pixmix_picture(config, draws, original, mixing, power)
        assert got.shape == want.shape == (config.size, config.size, 3)
        apart = np.abs(got.astype(np.int16) - want)
        sum_ += Difference(
            int(apart.max()), int((apart > 0).sum()), int((apart > 1).sum()), apart.size
        )
    return sum_


CASES = {
    "imagenet photograph": (IMAGENET, (300, 400), (320, 300), 12),
    "imagenet smaller than size": (IMAGENET, (180, 120), (100, 130), 12),
    "imagenet 1x1": (IMAGENET, (1, 1), (1, 1), 6),
    "imagenet tall": (IMAGENET, (900, 40), (700, 100), 6),
    "imagenet wide": (IMAGENET, (40, 900), (100, 700), 6),
    "imagenet 32x32": (IMAGENET, (32, 32), (256, 256), 12),
    "imagenet without all ops": (
        replace(IMAGENET, size=96, all_ops=False, severity=3.0, beta=3.0),
        (150, 140),
        (111, 113),
        24,
    ),
    "imagenet size 1": (replace(IMAGENET, size=1), (50, 60), (40, 30), 24),
    "imagenet size 17": (replace(IMAGENET, size=17, k=7), (50, 60), (40, 30), 24),
    "imagenet severity 10": (replace(IMAGENET, size=64, severity=10.0), (90, 80), (99, 98), 36),
    "imagenet every operation": (
        replace(IMAGENET, size=48, operations=OPERATIONS),
        (90, 80),
        (99, 98),
        60,
    ),
    "cifar every operation": (replace(CIFAR, operations=OPERATIONS), (32, 32), (36, 36), 60),
    "cifar every operation, to nine rounds": (
        replace(CIFAR, size=16, operations=OPERATIONS, k=9),
        (16, 16),
        (19, 19),
        90,
    ),
    "cifar 32x32": (CIFAR, (32, 32), (36, 36), 120),
    "cifar with large mixing pictures": (CIFAR, (32, 32), (200, 333), 48),
    "cifar with a large original": (CIFAR, (90, 131), (131, 90), 36),
    "cifar 1x1": (CIFAR, (1, 1), (1, 1), 24),
    "cifar tall": (CIFAR, (150, 20), (99, 40), 24),
    "cifar wide": (CIFAR, (20, 150), (40, 99), 24),
    "cifar without all ops": (replace(CIFAR, all_ops=False), (32, 32), (50, 50), 60),
    "cifar size 8": (replace(CIFAR, size=8), (8, 8), (9, 30), 60),
    "cifar size 64": (replace(CIFAR, size=64), (64, 64), (72, 80), 36),
    "cifar size 1": (replace(CIFAR, size=1), (1, 1), (2, 3), 24),
}


@pytest.mark.parametrize("name", CASES)
def test_no_value_differs_from_the_oracle_with_a_correctly_rounded_power(name: str) -> None:
    # Measured: 0 of 187 million values. Our power is within 2e-14, so a float32 rounds the other
    # way about once in some millions, and then changes a byte about once in 60,000.
    config, original, mixing, count = CASES[name]
    samples = _samples(config, original, mixing, REAL + HARD, count)
    assert _compare(config, samples, rounded_power).values == 0


def test_differs_from_the_float32_oracle_by_one_level_in_at_most_ten_values_in_a_million() -> None:
    # Measured: largest 1; 1.4e-6 of 23 million values at 224 px, 2.8e-6 of 9 million at 32 px,
    # where NumPy has AVX-512 (its float32 power misses the nearest in 21% of cases); without it
    # (0.06%) not one value differs.
    for name in ("imagenet photograph", "cifar 32x32"):
        config, original, mixing, count = CASES[name]
        found = _compare(config, _samples(config, original, mixing, REAL, 3 * count), numpy_power)
        assert found.largest <= 1
        assert found.values <= 1e-5 * found.total


def _mostly_negative_multiplies(draws: Draws) -> Draws:
    """Two rounds of three multiply; of those two in three by a negative weight."""
    rounds = []
    for i, step in enumerate(draws.rounds):
        if i % 3 == 2:
            rounds.append(step)
        else:
            a = np.float32(1.0 + step.a % 1)
            b = np.float32(-abs(step.b) if i % 2 else abs(step.b))
            rounds.append(replace(step, operation="multiply", a=float(a), b=float(b)))
    return replace(draws, rounds=tuple(rounds))


@pytest.mark.parametrize("geometry", ["imagenet", "cifar"])
@pytest.mark.parametrize("k", [8, 30])
def test_residue_near_zero_is_the_oracles_after_many_negative_multiplies(
    geometry: str, k: int
) -> None:
    config = PixMixConfig(size=32, k=k, beta=1.5, severity=3.0, geometry=geometry)
    samples = _samples(config, (32, 32), (37, 37), HARD, 120, _mostly_negative_multiplies)
    assert _compare(config, samples, rounded_power).values == 0


def test_residue_near_zero_rarely_depends_on_the_last_bit_of_the_power() -> None:
    # Measured with AVX-512: 5.1e-6 of 9 million values differ at k 8, none by more than one level
    # (at k 60 two do, by up to 6); without it none differs.
    config = PixMixConfig(size=32, k=8, beta=3.0, severity=3.0, geometry="cifar")
    samples = _samples(config, (32, 32), (37, 37), HARD, 240, _mostly_negative_multiplies)
    found = _compare(config, samples, numpy_power)
    assert found.largest <= 1
    assert found.values <= 2e-5 * found.total


@pytest.mark.parametrize("value", [0, 1, 127, 128, 254, 255])
@pytest.mark.parametrize("a", [2.0**-149, 0.25, 1.0, 1.75, 2.0])
@pytest.mark.parametrize("b", [-1.0, -0.3, -(2.0**-149), 0.0, 0.5, 1.0])
@pytest.mark.parametrize("operation", ["add", "multiply"])
def test_extreme_weights_give_the_oracles_bytes(
    value: int, a: float, b: float, operation: str
) -> None:
    config = replace(CIFAR, size=16)
    original = np.full((16, 16, 3), value, np.uint8)
    mixing = np.arange(16 * 16 * 3, dtype=np.int64).reshape(16, 16, 3).astype(np.uint8)
    mixing = np.pad(mixing, ((0, 2), (0, 2), (0, 0)))
    steps = (Round(None, operation, a, b), Round(None, "multiply", 1.0, -0.5))
    draws = Draws((0, 0, 16, 16), False, 0, (0.0, 0.0), None, steps)
    got = pixmix(config, draws, original, mixing[:16, :16])
    want = pixmix_picture(config, draws, original, mixing, rounded_power)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation("autocontrast"),
        Augmentation("equalize"),
        *(Augmentation("posterize", bits) for bits in (1, 2, 3, 4)),
        *(Augmentation("solarize", threshold) for threshold in (0, 1, 231, 256)),
        *(Augmentation("rotate", degrees) for degrees in (-30, -1, 0, 8, 30)),
        *(Augmentation(f"shear_{axis}", s) for axis in "xy" for s in (-0.3, 0.003, 0.0, 0.1)),
        *(Augmentation(f"translate_{axis}", t) for axis in "xy" for t in (-10, -1, 0, 3)),
        *(
            Augmentation(name, factor)
            for name in ("color", "contrast", "brightness", "sharpness")
            for factor in (0.118, 0.64, 1.0, 1.9)
        ),
    ],
    ids=lambda augmentation: f"{augmentation.name} {augmentation.value}",
)
def test_an_augmentation_is_the_oracles_as_start_and_inside_a_round(
    augmentation: Augmentation,
) -> None:
    rng = np.random.default_rng(3)
    original = _real(rng, 32, 32)
    steps = (Round(augmentation, "add", 0.75, 0.375),)
    for rounds in ((), steps):
        draws = Draws((0, 0, 32, 32), True, 0, (0.0, 0.0), augmentation, rounds)
        got = pixmix(CIFAR, draws, crop_original(CIFAR, draws, original), None)
        np.testing.assert_array_equal(got, pixmix_picture(CIFAR, draws, original, None))


def _draws(*rounds: Round, start: Augmentation | None = None) -> Draws:
    return Draws((0, 0, 32, 32), False, 0, (0.5, 0.5), start, rounds)


def test_every_augmented_copy_is_made_of_the_original_and_never_of_the_mix() -> None:
    original = _real(np.random.default_rng(5), 32, 32)
    black = np.zeros_like(original)
    darken = Round(None, "multiply", 1.0, 1.0)  # the mix becomes black
    copy = Round(Augmentation("translate_x", 0), "add", 0.0, 1.0)  # and then the copy alone
    np.testing.assert_array_equal(pixmix(CIFAR, _draws(darken, copy), original, black), original)


def test_each_round_is_clipped_before_the_next() -> None:
    grey = np.full((32, 32, 3), 200, np.uint8)
    brighter = Round(Augmentation("translate_x", 0), "add", 1.0, 1.0)  # 313 levels, kept at 255
    darker = Round(Augmentation("translate_x", 0), "add", 1.0, -1.0)  # minus 72.5: 182.5
    got = pixmix(CIFAR, _draws(brighter, darker), grey, None)
    np.testing.assert_array_equal(got, np.full_like(grey, 183))


def test_a_mixer_used_again_gives_what_a_new_one_gives() -> None:
    samples = list(_samples(CIFAR, (32, 32), (40, 44), REAL + HARD, 40))
    used = Mixer(CIFAR)
    for draws, original, mixing in samples[::-1]:
        crops = crop_original(CIFAR, draws, original), crop_mixing(CIFAR, draws, mixing)
        np.testing.assert_array_equal(used(draws, *crops), Mixer(CIFAR)(draws, *crops))


@pytest.mark.parametrize("preset", ["imagenet", "cifar"])
@pytest.mark.parametrize("how", ["by kernels", "a turn by Pillow", "a resize by Pillow"])
def test_a_sample_in_one_call_is_what_its_steps_give(
    preset: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(PRESETS[preset], size=48)
    if how == "a resize by Pillow":
        monkeypatch.setattr("pixmix_cli.mixing.resize.agrees", lambda: False)
    odd = Augmentation("rotate", 90)  # a quarter is left to Pillow
    mixer = Mixer(config)
    for draws, picture, other in _samples(config, (100, 80), (70, 64), REAL + HARD, 24):
        if how == "a turn by Pillow":
            draws = replace(draws, start=odd)
        other.setflags(write=False)
        resized = resize_shorter_side(other, config.mixing_size)
        got = mixer.sample(draws, picture, resized if draws.uses_mixing else None)
        crop = crop_original(config, draws, picture)
        want = Mixer(config)(draws, crop, crop_mixing(config, draws, resized))
        np.testing.assert_array_equal(got, want)


def test_a_sample_refuses_a_mixing_picture_that_is_missing_or_too_small() -> None:
    picture = np.zeros((300, 300, 3), np.uint8)
    draws = replace(_draws(Round(None, "add", 0.5, 0.5)), crop=(0, 0, 300, 300))
    mixer = Mixer(IMAGENET)
    with pytest.raises(ValueError, match="needs a mixing picture"):
        mixer.sample(draws, picture, None)
    with pytest.raises(ValueError, match="224 pixels a side or more"):
        mixer.sample(draws, picture, picture[:200])


def test_mixing_changes_neither_of_its_inputs_and_shares_no_memory_with_them() -> None:
    for draws, original, mixing in _samples(CIFAR, (32, 32), (40, 44), REAL, 40):
        crop, other = crop_original(CIFAR, draws, original), crop_mixing(CIFAR, draws, mixing)
        before = crop.copy(), other.copy()
        result = pixmix(CIFAR, draws, crop, other)
        assert not np.shares_memory(result, crop)
        result[...] = 0
        np.testing.assert_array_equal(crop, before[0])
        np.testing.assert_array_equal(other, before[1])


def test_a_record_that_needs_a_mixing_picture_refuses_to_go_without() -> None:
    original = np.zeros((32, 32, 3), np.uint8)
    copy = Round(Augmentation("autocontrast"), "add", 0.5, 0.5)
    draws = _draws(copy, Round(None, "multiply", 1.0, 0.5))
    assert draws.uses_mixing
    with pytest.raises(ValueError, match="needs a mixing picture"):
        pixmix(CIFAR, draws, original, None)


def test_a_record_of_augmented_copies_needs_no_mixing_picture() -> None:
    original = _real(np.random.default_rng(5), 32, 32)
    draws = _draws(Round(Augmentation("equalize"), "add", 0.5, 0.5))
    assert not draws.uses_mixing
    want = pixmix_picture(CIFAR, draws, original, None)
    np.testing.assert_array_equal(pixmix(CIFAR, draws, original, None), want)


def test_an_original_in_another_memory_order_gives_the_same_picture() -> None:
    rng = np.random.default_rng(5)
    original, mixing = _real(rng, 32, 32), _real(rng, 32, 32)
    draws = _draws(Round(None, "add", 0.75, 0.5), Round(None, "multiply", 0.75, 0.25))
    want = pixmix(CIFAR, draws, original, mixing)
    np.testing.assert_array_equal(pixmix(CIFAR, draws, np.asfortranarray(original), mixing), want)
