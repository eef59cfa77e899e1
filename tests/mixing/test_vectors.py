"""A pixel's channels at once: the numbers that one channel after the other would give."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.compiled import vectors


def _weights(rng: np.random.Generator, rows: int, pairs: int) -> tuple[NDArray, NDArray]:
    """Weights (rows, 2 * pairs), each row with a sum of 2**24, and the same in upper and lower."""
    weights = rng.multinomial(1 << 22, np.ones(2 * pairs) / (2 * pairs), rows) * 4
    weights[0] = [1 << 24] + [0] * (2 * pairs - 1)
    pair = weights.reshape(rows, pairs, 2)
    parts = np.concatenate([pair >> 11, pair & 2047], axis=2)
    return weights, parts.astype(np.int16).ravel()


@pytest.mark.parametrize("pairs", [1, 2, 3, 4, 5])
def test_four_rows_weighed_along_are_the_rounded_weighted_sums(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    pixels = rng.choice(np.array([0, 1, 254, 255], np.uint8), (4, 20, 3))
    weights, parts = _weights(rng, 7, pairs)
    firsts = np.array([0, 3, 3, 5, 6, 9, 20 - 2 * pairs], np.int32)
    source = np.append(np.full(5, 9, np.uint8), pixels)
    source = np.append(source, np.full(vectors.SLACK, 9, np.uint8))
    out = np.full(4 * 23 + 1, 7, np.uint8)
    vectors.along_four_rows(source, 5, 60, firsts, parts, pairs, out, 23)
    for x, first in enumerate(firsts):
        taken = pixels[:, first : first + 2 * pairs].astype(np.int64)
        want = ((weights[x][:, None] * taken).sum(axis=1) + (1 << 23)) >> 24
        got = out[: 4 * 23].reshape(4, 23)[:, 3 * x : 3 * x + 3]
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("n", [vectors.BLOCK, vectors.BLOCK + 5, 3 * vectors.BLOCK])
@pytest.mark.parametrize("pairs", [1, 2, 3, 4, 5])
def test_rows_weighed_along_columns_are_the_rounded_weighted_sums(pairs: int, n: int) -> None:
    rng = np.random.default_rng(pairs)
    rows = rng.choice(np.array([0, 1, 254, 255], np.uint8), (2 * pairs, n))
    weights, parts = _weights(rng, 3, pairs)
    for y in range(3):
        out = np.full(n + 4, 7, np.uint8)
        vectors.along_columns(rows.ravel(), 0, n, parts, 4 * pairs * y, pairs, out, 2, n)
        want = ((weights[y][:, None] * rows.astype(np.int64)).sum(axis=0) + (1 << 23)) >> 24
        np.testing.assert_array_equal(out[2:-2], want)
        np.testing.assert_array_equal(out[[0, 1, -2, -1]], 7)


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


@pytest.mark.parametrize("four", [False, True])
def test_shares_of_differences_are_cut_off(four: bool) -> None:
    rng = np.random.default_rng(2)
    source = rng.choice(np.array([0, 1, 9, 254, 255], np.uint8), 64)
    shares = rng.integers(0, (1 << 23) + 1, 20).astype(np.int32)
    out = np.full(20, 7, np.uint8)
    vectors.shared(source, 3, 40, shares, 1, np.int32(23), out, 2, four)
    n = 12 if four else 3
    first, second = (source[at : at + n].astype(np.int64) for at in (3, 40))
    want = first + ((second - first) * shares[1 : 1 + n] >> 23)
    np.testing.assert_array_equal(out[2 : 2 + n], want)
    np.testing.assert_array_equal(out[[0, 1, *range(2 + n + (4 if four else 1), 20)]], 7)
