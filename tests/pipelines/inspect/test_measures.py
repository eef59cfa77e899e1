"""Measures on pictures whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pixmix_cli.pipelines.inspect import measures

FLAT = np.full((128, 128, 3), 90, np.uint8)


def _noise(seed: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_a_flat_picture_scores_nothing() -> None:
    pixels = FLAT.astype(float)
    assert str(measures.level_entropy(pixels)) == "0.0"  # and not -0.0
    assert measures.active_share(pixels) == 0.0
    assert measures.colorfulness(pixels) == 0.0
    assert measures.hue_entropy(pixels) == 0.0
    assert measures.spectral_slope(pixels) == 0.0
    assert measures.box_dimension(pixels) == 0.0
    assert measures.contrast_at_32(FLAT) == 0.0


def test_active_share_counts_blocks_with_structure() -> None:
    pixels = FLAT.astype(float)
    pixels[:64, ::2] = 200.0  # the upper half striped
    assert measures.active_share(pixels) == pytest.approx(0.5)


def test_colorfulness_of_two_opposite_colours_follows_the_formula() -> None:
    pixels = np.zeros((8, 8, 3))
    pixels[:4, :, 0] = 200.0
    pixels[4:, :, 1] = 200.0
    # rg is +-200 (mean 0), yb 100 everywhere
    assert measures.colorfulness(pixels) == pytest.approx(200.0 + 0.3 * 100.0)


def test_hue_entropy_of_equally_many_reds_and_greens_is_one_bit() -> None:
    pixels = np.zeros((8, 8, 3))
    pixels[:4, :, 0] = 200.0
    pixels[4:, :, 1] = 200.0
    assert measures.hue_entropy(pixels) == pytest.approx(1.0)


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_spectral_slope_is_that_of_the_noise_made(slope: float) -> None:
    rng = np.random.default_rng(0)
    f = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :])
    f[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.normal(size=(256, 256))) / f ** (slope / 2)
    grey = np.fft.ifft2(spectrum).real
    pixels = np.repeat(grey[..., None], 3, axis=2)
    assert measures.spectral_slope(pixels) == pytest.approx(slope, abs=0.15)


def test_shrinking_takes_means_of_boxes_also_where_the_side_does_not_divide() -> None:
    pixels = _noise(0, 50)
    small = measures.shrink(pixels, 7)
    assert small[0, 0] == pytest.approx(pixels[:7, :7].mean(axis=(0, 1)))
    assert small[6, 6] == pytest.approx(pixels[42:, 42:].mean(axis=(0, 1)))


def test_pairwise_distance_is_root_mean_square() -> None:
    thumbnails = np.stack([np.zeros((2, 2, 3)), np.ones((2, 2, 3)), np.full((2, 2, 3), 0.5)])
    assert sorted(measures.pairwise_distance(thumbnails)) == pytest.approx([0.5, 0.5, 1.0])


def test_shrinking_to_more_pixels_than_there_are_repeats_them() -> None:
    pixels = _noise(3, 2)
    assert (measures.shrink(pixels, 4) == pixels.repeat(2, axis=0).repeat(2, axis=1)).all()


def test_halving_takes_means_of_four_and_drops_the_odd_row_and_column() -> None:
    pixels = _noise(4)[:7, :5]
    small = measures.halved(pixels)
    assert small.shape == (3, 2, 3)
    assert small[1, 1] == pytest.approx(pixels[2:4, 2:4].mean(axis=(0, 1)))


def test_entropy_of_four_equally_common_levels_is_two_bits() -> None:
    levels = np.array([0, 80, 160, 255], np.uint8).repeat(16).reshape(8, 8, 1).repeat(3, axis=2)
    assert measures.level_entropy(levels) == pytest.approx(2.0)


def _grey(binary: np.ndarray) -> np.ndarray:
    return np.repeat((binary * 255).astype(np.uint8)[..., None], 3, axis=2).astype(np.float32)


def test_box_dimension_is_one_for_a_line_and_two_for_noise() -> None:
    line = np.zeros((256, 256))
    line[100:] = 1.0
    assert measures.box_dimension(_grey(line)) == pytest.approx(1.0, abs=0.02)
    assert measures.box_dimension(_noise(5, 256).astype(np.float32)) > 1.97


def test_box_dimension_of_sierpinskis_triangle_is_log_three_over_log_two() -> None:
    i = np.arange(256)
    triangle = (i[:, None] & i[None, :]) == 0
    assert measures.box_dimension(_grey(triangle)) == pytest.approx(np.log2(3), abs=0.05)


@pytest.mark.parametrize("shape", [(16, 16), (17, 90), (90, 30), (131, 77)])
def test_pictures_of_any_shape_can_be_measured(shape: tuple[int, int]) -> None:
    pixels = _noise(6, 140)[: shape[0], : shape[1]].astype(np.float32)
    assert 0.9 < measures.active_share(pixels) <= 1.0
    assert 1.8 < measures.box_dimension(pixels) <= 2.0
    if min(shape) >= 27:
        assert abs(measures.spectral_slope(pixels)) < 1.5


# ---------------------------------------------------------------- sets
