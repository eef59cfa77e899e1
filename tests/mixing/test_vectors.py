"""A pixel's channels at once: the numbers that one channel after the other would give."""

from __future__ import annotations

import numpy as np
import pytest

from pixmix_cli.mixing import vectors


@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_weighed_pixels_are_the_rounded_weighted_sums(count: int) -> None:
    rng = np.random.default_rng(count)
    source = rng.integers(0, 256, 40, np.uint8)
    weights = rng.multinomial(1 << 22, np.ones(count) / count).astype(np.int32)
    start, bits = np.int32(1 << 21), np.int32(22)
    out = np.full(9, 7, np.uint8)
    vectors.weigh(source, 5, np.append(np.int32(9), weights), 1, count, start, bits, out, 3)
    pixels = source[5 : 5 + 3 * count].reshape(count, 3).astype(np.int64)
    want = ((weights[:, None] * pixels).sum(axis=0) + (1 << 21)) >> 22
    np.testing.assert_array_equal(out[3:6], want)
    np.testing.assert_array_equal(out[[0, 1, 2, 7, 8]], 7)


def test_pixels_between_others_are_cut_off_bilinear_means() -> None:
    rng = np.random.default_rng(1)
    source = rng.integers(0, 256, 64, np.uint8)
    for right, down in [(0.0, 0.0), (1.0, 1.0), (0.5, 0.25), *rng.random((50, 2)).tolist()]:
        out = np.full(8, 7, np.uint8)
        vectors.between(source, 4, 31, right, down, out, 2)
        upper, lower = source[4:10].astype(float), source[31:37].astype(float)
        above = upper[:3] + (upper[3:] - upper[:3]) * right
        below = lower[:3] + (lower[3:] - lower[:3]) * right
        np.testing.assert_array_equal(out[2:5], (above + (below - above) * down).astype(np.uint8))
        np.testing.assert_array_equal(out[[0, 1, 6, 7]], 7)
