"""The compiled augmentations give Pillow's bytes, for every picture and strength."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ImageOps

from pixmix_cli.mixing import augmentations
from pixmix_cli.mixing.augmentations import augment, disagreeing
from pixmix_cli.mixing.config import PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import ALL_OPS, Augmentation, Draws, draw, draw_augmentation
from pixmix_cli.mixing.mixer import pixmix
from pixmix_cli.seeding import Stream, rng_for
from tests.compiled import augment_kernels, in_python, kernels
from tests.conftest import picture

U8 = NDArray[np.uint8]


def by_kernel(pixels: U8, augmentation: Augmentation) -> U8:
    """An augmented copy of a square picture, all in compiled code."""
    size = len(pixels)
    config = PixMixConfig(size=size)
    only_start = Draws((0, 0, 1, 1), False, 0, (0.0, 0.0), augmentation, ())
    _, by_pillow = augmentations.numbers(only_start, size)
    assert not by_pillow
    return pixmix(config, only_start, pixels, None)


def odd_picture(kind: str, size: int, seed: int) -> U8:
    """Pictures that find the corners of histograms, interpolation and rounding."""
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (size, size, 3), np.uint8)
    if kind == "flat":
        return np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
    if kind == "two values":
        return rng.choice(rng.integers(0, 256, 2), (size, size, 3)).astype(np.uint8)
    if kind == "one odd pixel":
        pixels = np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
        pixels[tuple(rng.integers(0, size, 2))] = rng.integers(0, 256, 3)
        return pixels
    if kind == "black and white":
        return (rng.integers(0, 2, (size, size, 1)) * np.full(3, 255)).astype(np.uint8)
    return picture(seed, size, size)


KINDS = ["noise", "flat", "two values", "one odd pixel", "black and white", "smooth"]


@st.composite
def strengths(draw_from: Any) -> Augmentation:
    """Every augmentation with every strength that some severity and size can give."""
    name = draw_from(st.sampled_from(ALL_OPS))
    if name in ("autocontrast", "equalize"):
        return Augmentation(name)
    if name == "posterize":
        return Augmentation(name, draw_from(st.integers(1, 4)))
    if name == "solarize":
        return Augmentation(name, draw_from(st.integers(0, 256)))
    if name == "rotate":
        return Augmentation(name, draw_from(st.integers(-30, 30)))
    if name.startswith("translate"):
        return Augmentation(name, draw_from(st.integers(-50, 50)))
    if name.startswith("shear"):
        return Augmentation(name, draw_from(st.floats(-0.3, 0.3)))
    return Augmentation(name, draw_from(st.floats(0.1, 1.9)))


@settings(max_examples=400, deadline=None)
@given(strengths(), st.sampled_from(KINDS), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_a_kernel_gives_pillows_bytes(
    augmentation: Augmentation, kind: str, size: int, seed: int
) -> None:
    pixels = odd_picture(kind, size, seed)
    np.testing.assert_array_equal(by_kernel(pixels, augmentation), augment(pixels, augmentation))


@pytest.mark.parametrize("preset", ["imagenet", "cifar"])
@pytest.mark.parametrize("kind", KINDS)
def test_drawn_augmentations_give_pillows_bytes_at_the_recipes_size(preset: str, kind: str) -> None:
    config = PRESETS[preset]
    rng = rng_for(1, Stream.BAKE, preset, kind)
    pixels = odd_picture(kind, config.size, 5)
    for _ in range(60):
        augmentation = draw_augmentation(config, rng)
        expected = augment(pixels, augmentation)
        np.testing.assert_array_equal(by_kernel(pixels, augmentation), expected)


@pytest.mark.parametrize(
    "shear",
    [0.25, -0.25, 0.125, 1 / 3, 0.0, 2.0**-30, -(2.0**-30), 1e-300, -1e-300, 0.5, 2 / 255]
    + [sign * 10.0**-k for sign in (-1, 1) for k in range(2, 9)],
)
@pytest.mark.parametrize("name", ["shear_x", "shear_y"])
def test_shears_by_simple_fractions_are_done_exactly(name: str, shear: float) -> None:
    pixels = odd_picture("noise", 40, 1)
    augmentation = Augmentation(name, shear)
    np.testing.assert_array_equal(by_kernel(pixels, augmentation), augment(pixels, augmentation))


def uncompiled(pixels: U8, augmentation: Augmentation) -> U8:
    """The same by the kernels' Python, one level deep."""
    height, width = pixels.shape[:2]
    row = np.array(augmentations._row(augmentation, height))
    code, value, matrix = int(row[kernels.CODE]), row[kernels.VALUE], row[kernels.MATRIX :]
    flat, out = pixels.ravel(), np.empty(pixels.size, np.uint8)
    if in_python(augment_kernels.is_pointwise)(code):
        counts, tables = np.empty((3, 256), np.int32), np.empty((3, 256), np.uint8)
        in_python(augment_kernels.byte_tables)(code, value, flat, counts, tables)
        out = tables[np.arange(flat.size) % 3, flat]
    elif code == augment_kernels.COLOR:
        in_python(augment_kernels.color)(flat, value, out)
    elif code == augment_kernels.SHARPNESS:
        in_python(augment_kernels.sharpness)(flat, height, width, value, out)
    elif code == augment_kernels.SHEAR_X:
        in_python(augment_kernels.shear_x)(flat, height, width, matrix, out)
    elif code == augment_kernels.SHEAR_Y:
        wholes, scaled = np.empty(width, np.int32), np.empty(3 * width, np.int32)
        in_python(augment_kernels.shear_y)(flat, height, width, matrix, wholes, scaled, out)
    elif code == augment_kernels.ROTATE:
        places, shares = np.empty(width, np.int32), np.empty((2, width))
        in_python(augment_kernels.affine)(flat, height, width, matrix, places, shares, out)
    else:
        right = int(value) if code == augment_kernels.TRANSLATE_X else 0
        down = int(value) if code == augment_kernels.TRANSLATE_Y else 0
        in_python(augment_kernels.translate)(flat, height, width, right, down, out)
    return out.reshape(pixels.shape)


@pytest.mark.parametrize("name", ALL_OPS)
def test_kernels_uncompiled_give_pillows_bytes(name: str) -> None:
    for size in (1, 2, 3, 11):
        pixels = odd_picture("noise", size, size)
        for value in augmentations._TEST_VALUES[name]:
            augmentation = Augmentation(name, value)
            expected = augment(pixels, augmentation)
            np.testing.assert_array_equal(uncompiled(pixels, augmentation), expected)


@pytest.fixture
def another_pillow(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Pillow that posterizes and shears differently: what a later version might do."""
    original = ImageOps.posterize
    monkeypatch.setattr(ImageOps, "posterize", lambda p, bits: original(p, max(1, bits - 1)))
    monkeypatch.setitem(augmentations._OPS, "shear_x", lambda p, v: ImageOps.invert(p))
    disagreeing.cache_clear()
    yield
    disagreeing.cache_clear()


def test_the_installed_pillow_agrees_with_every_kernel() -> None:
    disagreeing.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert disagreeing() == frozenset()


@pytest.mark.usefixtures("another_pillow")
def test_a_pillow_that_differs_is_used_for_what_differs_with_one_warning() -> None:
    with pytest.warns(UserWarning, match="differs from pixmix's own posterize, shear_x") as found:
        disagreeing()
    assert disagreeing() == {"posterize", "shear_x"}
    assert len(found) == 1


@pytest.mark.usefixtures("another_pillow")
def test_the_parent_of_workers_warns_of_a_pillow_that_differs() -> None:
    from pixmix_cli.pipelines.bake.worker import Baker

    with pytest.warns(UserWarning, match="posterize, shear_x"):
        Baker.prepare()


@pytest.mark.filterwarnings("ignore:Pillow")
@pytest.mark.parametrize("augmentation", [Augmentation("posterize", 3), Augmentation("shear_x", 1)])
def test_the_bytes_are_pillows_even_where_the_kernel_differs(
    another_pillow: None, augmentation: Augmentation
) -> None:
    pixels = picture(3, 24, 24)
    start = Draws((0, 0, 1, 1), False, 0, (0.0, 0.0), augmentation, ())
    got = pixmix(PixMixConfig(size=24), start, pixels, None)
    np.testing.assert_array_equal(got, augment(pixels, augmentation))


@pytest.mark.parametrize("preset", ["imagenet", "cifar"])
def test_kernels_and_pillow_make_the_same_mixed_picture(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PRESETS[preset]
    original, mixing = picture(1, config.size, config.size), picture(2, config.size, config.size)
    records = [draw(config, rng_for(9, Stream.BAKE, i), (300, 300), 9) for i in range(25)]
    by_kernels = [pixmix(config, record, original, mixing) for record in records]
    monkeypatch.setattr(augmentations, "disagreeing", lambda: frozenset(ALL_OPS))
    for record, expected in zip(records, by_kernels):
        np.testing.assert_array_equal(pixmix(config, record, original, mixing), expected)


@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation("rotate", 180),
        Augmentation("rotate", 90),
        Augmentation("rotate", 33.3),
        Augmentation("translate_x", 1.5),
        Augmentation("translate_y", 1000),
    ],
)
def test_strengths_that_no_draw_gives_are_done_as_pillow_does(augmentation: Augmentation) -> None:
    pixels = picture(4, 30, 30)
    start = Draws((0, 0, 1, 1), False, 0, (0.0, 0.0), augmentation, ())
    got = pixmix(PixMixConfig(size=30), start, pixels, None)
    np.testing.assert_array_equal(got, augment(pixels, augmentation))
