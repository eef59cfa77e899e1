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


def _check(counts: np.ndarray) -> quality.TraceCheck:
    # of a trace that gives each cell of the frame so many points
    y, x = np.nonzero(counts)
    amounts = counts[y, x]
    trace = np.zeros((3, int(amounts.sum())), np.float32)
    trace[0], trace[1] = np.repeat(x, amounts), np.repeat(y, amounts)
    middle_of_cells = np.array([[1, 0, 1.5, 0, 1, 1.5]], np.float32)
    return quality.check_frames(trace, middle_of_cells)[0]


def test_dots_and_smooth_blobs_are_duds_and_edges_are_not() -> None:
    rng = np.random.default_rng(0)
    dots = np.zeros((32, 32), int)
    dots[5, 5] = dots[20, 9] = 4000
    assert _check(dots).dud
    y, x = np.mgrid[:32, :32] - 15.5
    blob = rng.poisson(20 * np.exp(-(x * x + y * y) / 200))
    smooth = _check(blob)
    assert smooth.structure < 0.08
    assert smooth.dud
    edges = rng.poisson(16 * ((x // 3 + y // 3) % 2))
    assert not _check(edges).dud


def test_nothing_in_the_frame_is_a_dud() -> None:
    assert _check(np.zeros((32, 32), int)).dud
