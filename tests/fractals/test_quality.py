"""Measures on pictures whose answer is known, and what the checks let through."""

from __future__ import annotations

import numpy as np
import pytest

from fractals import quality

FLAT = np.full((128, 128, 3), 90, np.uint8)


def _noise(seed: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_a_flat_picture_scores_nothing() -> None:
    pixels = FLAT.astype(float)
    assert quality.active_share(pixels) == 0.0
    assert quality.colorfulness(pixels) == 0.0
    assert quality.hue_entropy(pixels) == 0.0
    assert quality.contrast_at_32(FLAT) == 0.0
    assert quality.check_picture(FLAT).dud


def test_active_share_counts_blocks_with_structure() -> None:
    pixels = FLAT.astype(float)
    pixels[:64, ::2] = 200.0  # the upper half striped
    assert quality.active_share(pixels) == pytest.approx(0.5)


def test_colorfulness_of_two_opposite_colours_follows_the_formula() -> None:
    pixels = np.zeros((8, 8, 3))
    pixels[:4, :, 0] = 200.0
    pixels[4:, :, 1] = 200.0
    # rg is +-200 (mean 0), yb 100 everywhere
    assert quality.colorfulness(pixels) == pytest.approx(200.0 + 0.3 * 100.0)


def test_hue_entropy_of_equally_many_reds_and_greens_is_one_bit() -> None:
    pixels = np.zeros((8, 8, 3))
    pixels[:4, :, 0] = 200.0
    pixels[4:, :, 1] = 200.0
    assert quality.hue_entropy(pixels) == pytest.approx(1.0)


@pytest.mark.parametrize("slope", [0.0, 2.0])
def test_spectral_slope_is_that_of_the_noise_made(slope: float) -> None:
    rng = np.random.default_rng(0)
    f = np.hypot(np.fft.fftfreq(256)[:, None], np.fft.fftfreq(256)[None, :])
    f[0, 0] = 1.0
    spectrum = np.fft.fft2(rng.normal(size=(256, 256))) / f ** (slope / 2)
    grey = np.fft.ifft2(spectrum).real
    pixels = np.repeat(grey[..., None], 3, axis=2)
    assert quality.spectral_slope(pixels) == pytest.approx(slope, abs=0.15)


def test_shrinking_takes_means_of_boxes_also_where_the_side_does_not_divide() -> None:
    pixels = _noise(0, 50)
    small = quality.shrink(pixels, 7)
    assert small[0, 0] == pytest.approx(pixels[:7, :7].mean(axis=(0, 1)))
    assert small[6, 6] == pytest.approx(pixels[42:, 42:].mean(axis=(0, 1)))


def test_pairwise_distance_is_root_mean_square() -> None:
    thumbnails = np.stack([np.zeros((2, 2, 3)), np.ones((2, 2, 3)), np.full((2, 2, 3), 0.5)])
    assert sorted(quality.pairwise_distance(thumbnails)) == pytest.approx([0.5, 0.5, 1.0])


def test_picture_check_measures_what_the_measures_do() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    pixels = coarse.repeat(4, axis=0).repeat(4, axis=1)
    check = quality.check_picture(pixels)
    assert check.contrast == pytest.approx(quality.contrast_at_32(pixels))
    spread = np.ptp(pixels.astype(float), axis=-1).mean()
    assert check.color == pytest.approx(spread)
    assert not check.dud


def test_a_grey_picture_is_a_dud_however_strong_its_contrast() -> None:
    grey = np.repeat(_noise(2)[..., :1].repeat(8, axis=0).repeat(8, axis=1)[:128, :128], 3, axis=2)
    check = quality.check_picture(grey)
    assert check.contrast > 46.0
    assert check.dud


def _histogram(counts: np.ndarray) -> np.ndarray:
    padded = np.pad(counts, 1).astype(np.uint64)
    return (padded << np.uint64(40)).reshape(-1)


def test_dots_and_smooth_blobs_are_duds_and_edges_are_not() -> None:
    rng = np.random.default_rng(0)
    dots = np.zeros((32, 32), int)
    dots[5, 5] = dots[20, 9] = 4000
    assert quality.check_trace(_histogram(dots), 34).dud
    y, x = np.mgrid[:32, :32] - 15.5
    blob = rng.poisson(20 * np.exp(-(x * x + y * y) / 200))
    smooth = quality.check_trace(_histogram(blob), 34)
    assert smooth.structure < 0.08
    assert smooth.dud
    edges = rng.poisson(16 * ((x // 3 + y // 3) % 2))
    assert not quality.check_trace(_histogram(edges), 34).dud


def test_nothing_in_the_frame_is_a_dud() -> None:
    assert quality.check_trace(np.zeros(34 * 34, np.uint64), 34).dud
