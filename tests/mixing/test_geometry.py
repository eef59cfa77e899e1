"""Crops and resizes against torchvision's transforms, which the published code calls."""

from __future__ import annotations

import numpy as np
import pytest
import torchvision.transforms.functional as F
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomCrop

from pixmix_cli.mixing.config import PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import Draws, draw
from pixmix_cli.mixing.mixer import crop_mixing, crop_original, fit_square, resize_shorter_side
from pixmix_cli.seeding import Stream, rng_for

U8 = NDArray[np.uint8]
IMAGENET, CIFAR = PRESETS["imagenet"], PRESETS["cifar"]
BILINEAR = InterpolationMode.BILINEAR
SHAPES = [(1, 1), (32, 32), (224, 224), (100, 333), (333, 100), (256, 300), (5, 90), (90, 5)]


def _picture(height: int, width: int) -> U8:
    return np.random.default_rng(height * 1000 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


def _draws(crop: tuple[int, int, int, int], flip: bool, offset: tuple[float, float]) -> Draws:
    return Draws(crop, flip, 0, offset, None, ())


@pytest.mark.parametrize("size", [32, 36, 224, 256])
@pytest.mark.parametrize("shape", SHAPES)
def test_resizing_the_shorter_side_is_torchvisions_resize(
    shape: tuple[int, int], size: int
) -> None:
    picture = _picture(*shape)
    want = F.resize(Image.fromarray(picture), size, BILINEAR)
    np.testing.assert_array_equal(resize_shorter_side(picture, size), np.asarray(want))


def test_a_picture_of_the_right_size_is_not_resized() -> None:
    picture = _picture(36, 50)
    np.testing.assert_array_equal(resize_shorter_side(picture, 36), picture)


@pytest.mark.parametrize("shape", SHAPES)
def test_imagenet_crop_is_torchvisions_resized_crop_then_flip(shape: tuple[int, int]) -> None:
    picture = _picture(*shape)
    flips = set()
    for i in range(6):
        draws = draw(IMAGENET, rng_for(3, Stream.BAKE, i), shape, 1)
        flips.add(draws.flip)
        want = F.resized_crop(Image.fromarray(picture), *draws.crop, [224, 224], BILINEAR)
        want = F.hflip(want) if draws.flip else want
        np.testing.assert_array_equal(crop_original(IMAGENET, draws, picture), np.asarray(want))
    assert flips == {False, True}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("top", [-4, 0, 3, 4])
@pytest.mark.parametrize("left", [-4, -1, 0, 4])
def test_cifar_crop_is_torchvisions_flip_then_pad_then_crop(
    flip: bool, top: int, left: int
) -> None:
    picture = _picture(32, 32)
    turned = F.hflip(Image.fromarray(picture)) if flip else Image.fromarray(picture)
    want = F.crop(F.pad(turned, [4]), top + 4, left + 4, 32, 32)
    got = crop_original(CIFAR, _draws((top, left, 32, 32), flip, (0.0, 0.0)), picture)
    np.testing.assert_array_equal(got, np.asarray(want))


def test_a_picture_that_is_no_square_is_fitted_by_its_shorter_side_and_centre() -> None:
    picture = _picture(90, 131)
    want = F.center_crop(F.resize(Image.fromarray(picture), 32, BILINEAR), [32])
    np.testing.assert_array_equal(fit_square(picture, 32), np.asarray(want))


@pytest.mark.parametrize("shape", [(32, 36), (36, 32), (36, 60), (256, 300)])
def test_the_mixing_crop_reaches_every_place_of_torchvisions_random_crop(
    shape: tuple[int, int],
) -> None:
    resized = np.zeros((*shape, 3), np.uint8)
    resized[..., 0], resized[..., 1] = np.mgrid[: shape[0], : shape[1]] % 256
    tops, lefts = set(), set()
    for offset in np.linspace(0, np.nextafter(1, 0), 4001):
        crop = crop_mixing(CIFAR, _draws((0, 0, 32, 32), False, (offset, 0.0)), resized)
        assert crop.shape == (32, 32, 3)
        tops.add(int(crop[0, 0, 0]))
        crop = crop_mixing(CIFAR, _draws((0, 0, 32, 32), False, (0.0, offset)), resized)
        assert crop.shape == (32, 32, 3)
        lefts.add(int(crop[0, 0, 1]))
    assert tops == set(range(shape[0] - 32 + 1))
    assert lefts == {left % 256 for left in range(shape[1] - 32 + 1)}
    top, left, height, width = RandomCrop.get_params(Image.fromarray(resized), (32, 32))
    assert (top in tops, left % 256 in lefts, height, width) == (True, True, 32, 32)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (PixMixConfig(size=224), 256),
        (PixMixConfig(size=299), 342),
        (PixMixConfig(size=7), 8),
        (PixMixConfig(size=1), 1),
        (PixMixConfig(size=32, geometry="cifar"), 36),
        (PixMixConfig(size=64, geometry="cifar"), 72),
        (PixMixConfig(size=1, geometry="cifar"), 1),
    ],
)
def test_mixing_pictures_are_resized_in_the_recipes_proportion(
    config: PixMixConfig, expected: int
) -> None:
    assert config.mixing_size == expected


def test_cifar_pads_by_an_eighth() -> None:
    assert [PixMixConfig(size=size, geometry="cifar").padding for size in (32, 64, 8)] == [4, 8, 1]
