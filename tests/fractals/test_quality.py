"""What the checks let through."""

from __future__ import annotations

import numpy as np
import pytest

from fractals import quality
from pixmix_cli.pipelines.inspect import measures

FLAT = np.full((128, 128, 3), 90, np.uint8)


def _noise(seed: int, side: int = 128) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_a_flat_picture_is_a_dud() -> None:
    assert quality.check_picture(FLAT).dud


def test_picture_check_measures_what_the_measures_do() -> None:
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    pixels = coarse.repeat(4, axis=0).repeat(4, axis=1)
    check = quality.check_picture(pixels)
    assert check.contrast == pytest.approx(measures.contrast_at_32(pixels))
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
