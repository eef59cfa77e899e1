"""The compiled resize gives Pillow's bytes for every box and size."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixmix_cli.mixing import resize
from pixmix_cli.mixing.resize import Resizer, agrees, by_pillow
from tests.compiled import in_python, resize_kernels


@st.composite
def boxes(draw: Any) -> tuple[tuple[int, int], resize.Box]:
    """(height, width) of a picture and a box inside it, down to one pixel."""
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    h, w = draw(st.integers(1, height)), draw(st.integers(1, width))
    return (height, width), (
        draw(st.integers(0, height - h)),
        draw(st.integers(0, width - w)),
        h,
        w,
    )


@settings(max_examples=200, deadline=None)
@given(boxes(), st.integers(1, 130), st.booleans(), st.integers(0, 2**32 - 1))
def test_the_kernel_gives_pillows_bytes(
    shape_and_box: tuple[tuple[int, int], resize.Box], size: int, flip: bool, seed: int
) -> None:
    (height, width), box = shape_and_box
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    if seed % 3 == 0:
        picture = (picture // 128 * 255).astype(np.uint8)
    got = Resizer(size).by_kernel(picture, box, flip)
    np.testing.assert_array_equal(got, by_pillow(picture, box, size, flip))


@pytest.mark.parametrize("size", [20, 32, 61, 224])
def test_the_order_of_the_two_passes_is_pillows_around_where_it_changes(size: int) -> None:
    rng = np.random.default_rng(size)
    resizer = Resizer(size)
    for more in (1, 2, 9, 40):
        for width in (size + more - 1, size + more, size + more + 1):
            for height in (size + 2 * more - 1, size + 2 * more, size + 2 * more + 1):
                picture = rng.integers(0, 256, (height, width, 3), np.uint8)
                box = (0, 0, height, width)
                got = resizer.by_kernel(picture, box, False)
                np.testing.assert_array_equal(got, by_pillow(picture, box, size, False))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("taps", range(1, 10))
def test_every_number_of_pixels_weighed_gives_pillows_bytes(taps: int, flip: bool) -> None:
    rng = np.random.default_rng(taps)
    size, resizer = 24, Resizer(24)
    length = max(size * taps // 2, 1) if taps > 1 else 1
    for height, width in ((length, length), (length, 40), (40, length), (length, 3), (3, length)):
        picture = rng.choice(np.array([0, 1, 128, 255], np.uint8), (height, width, 3))
        box = (0, 0, height, width)
        got = resizer.by_kernel(picture, box, flip)
        np.testing.assert_array_equal(got, by_pillow(picture, box, size, flip))


@pytest.mark.parametrize("size", [1, 2, 3, 10, 11, 40])
def test_what_lies_behind_a_pictures_last_pixel_does_not_show(size: int) -> None:
    """The picture is the front of an array whose rest would show in the result."""
    rng = np.random.default_rng(size)
    resizer = Resizer(size)
    for height, width in ((1, 1), (2, 1), (3, 2), (4, 3), (5, 1), (9, 30), (30, 9), (33, 31)):
        memory = np.full((height + 8) * (width + 8) * 3, 255, np.uint8)
        picture = memory[: height * width * 3].reshape(height, width, 3)
        picture[:] = rng.integers(0, 40, picture.shape)
        for top in range(max(height - 5, 0), height):
            box = (top, width - 1, height - top, 1)
            got = resizer.by_kernel(picture, box, False)
            np.testing.assert_array_equal(got, by_pillow(picture, box, size, False))
        got = resizer.by_kernel(picture, (0, 0, height, width), True)
        np.testing.assert_array_equal(got, by_pillow(picture, (0, 0, height, width), size, True))


def test_one_resizer_does_small_and_large_boxes_in_any_order() -> None:
    rng = np.random.default_rng(1)
    picture = rng.integers(0, 256, (700, 650, 3), np.uint8)
    resizer = Resizer(48)
    for box in ((0, 0, 9, 9), (3, 5, 690, 640), (0, 0, 60, 70), (699, 649, 1, 1), (1, 0, 600, 2)):
        got = resizer(picture, box, True)
        np.testing.assert_array_equal(got, by_pillow(picture, box, 48, True))


def test_a_box_too_large_for_the_scratch_memory_is_left_to_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resize, "MAX_SCRATCH", 10_000)
    picture = np.random.default_rng(2).integers(0, 256, (300, 200, 3), np.uint8)
    resizer = Resizer(16)
    got = resizer(picture, (0, 0, 300, 200), False)
    np.testing.assert_array_equal(got, by_pillow(picture, (0, 0, 300, 200), 16, False))
    assert resizer._longest == 0


@pytest.mark.parametrize("box", [(0, 0, 13, 9), (1, 1, 5, 7), (0, 2, 13, 3)])
def test_the_kernel_uncompiled_gives_pillows_bytes(
    box: resize.Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resize.resize_kernels, "resize", in_python(resize_kernels.resize))
    picture = np.random.default_rng(3).integers(0, 256, (13, 9, 3), np.uint8)
    got = Resizer(4).by_kernel(picture, box, True)
    np.testing.assert_array_equal(got, by_pillow(picture, box, 4, True))


def test_the_installed_pillow_agrees() -> None:
    agrees.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert agrees()


def test_a_pillow_that_resizes_otherwise_is_used_with_one_warning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resize, "by_pillow", lambda p, box, size, flip: np.zeros((size, size, 3)))
    agrees.cache_clear()
    picture = np.full((30, 30, 3), 9, np.uint8)
    with pytest.warns(UserWarning, match="resizes otherwise"):
        first = Resizer(20)(picture, (0, 0, 30, 30))
    second = Resizer(20)(picture, (0, 0, 30, 30))
    agrees.cache_clear()
    assert not first.any()
    assert not second.any()
