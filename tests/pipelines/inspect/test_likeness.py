"""Near-duplicates: what the search finds is what comparing all pairs finds."""

from __future__ import annotations

import numpy as np
import pytest

from pixmix_cli.pipelines.inspect import likeness as module
from pixmix_cli.pipelines.inspect.likeness import Likeness, likeness


def naive(thumbnails: np.ndarray, limit: float, listed: int) -> Likeness:
    """All pairs, in whole numbers."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.int64)
    first, second = np.triu_indices(len(flat), 1)
    ssd = ((flat[first] - flat[second]) ** 2).sum(axis=1)
    close = np.flatnonzero(ssd < limit * limit * 255**2 * flat.shape[1])
    close = close[np.lexsort((second[close], first[close], ssd[close]))]
    scale = 255 * flat.shape[1] ** 0.5
    named = tuple(
        (int(first[k]), int(second[k]), round(float(ssd[k]) ** 0.5 / scale, 5))
        for k in close[:listed]
    )
    return Likeness(len(close), named, float(ssd.min()) ** 0.5 / scale)


def pictures(kind: str, n: int, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    some = rng.integers(0, 256, (n, *shape))
    if kind == "few levels":
        some //= 86
    if kind == "copies":
        some = some[rng.integers(0, n // 4 + 1, n)]
    if kind == "clusters":
        some = some[rng.integers(0, n // 8 + 1, n)] + rng.integers(-3, 4, some.shape)
    if kind == "grey":
        some[:] = rng.integers(0, 256, (n, *(1,) * len(shape)))
    return np.clip(some, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("listed", [0, 7, 100_000])
@pytest.mark.parametrize("limit", [0.0, 0.02, 0.1, 2.0])
@pytest.mark.parametrize("shape", [(4, 4, 3), (1, 1, 1)])
@pytest.mark.parametrize("kind", ["noise", "few levels", "copies", "clusters", "grey"])
def test_it_finds_what_comparing_all_pairs_finds(
    monkeypatch: pytest.MonkeyPatch, kind: str, shape: tuple[int, ...], limit: float, listed: int
) -> None:
    for name, value in (("LEAF", 8), ("TOGETHER", 3), ("AXES", 4), ("CHECKED", 32), ("FIRST", 5)):
        monkeypatch.setattr(module, name, value)
    rng = np.random.default_rng(len(kind))
    for n in (2, 17, 120):
        thumbnails = pictures(kind, n, shape, rng)
        assert likeness(thumbnails, limit, listed) == naive(thumbnails, limit, listed)


def test_near_duplicates_among_many_are_found_without_looking_at_most_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    thumbnails = np.repeat(rng.integers(0, 256, (2000, 2, 2, 3)), 4, axis=1).astype(np.uint8)
    thumbnails[1500] = thumbnails[3]
    thumbnails[4] = np.minimum(thumbnails[1900].astype(int) + 1, 255)
    looked_at = []
    real = module._distances

    def counting(one: np.ndarray, other: np.ndarray, same: bool) -> np.ndarray:
        looked_at.append(len(one) * len(other))
        return real(one, other, same)

    monkeypatch.setattr(module, "_distances", counting)
    monkeypatch.setattr(module, "LEAF", 16)
    monkeypatch.setattr(module, "TOGETHER", 1)
    found = likeness(thumbnails, 0.02, 10)
    assert [(i, j) for i, j, _ in found.closest] == [(3, 1500), (4, 1900)]
    assert sum(looked_at) < 0.2 * 2000 * 1999 / 2


def test_all_pairs_of_equal_pictures_are_counted_and_only_so_many_named() -> None:
    found = likeness(np.zeros((700, 2, 2, 3), np.uint8), 0.02, 5)
    assert found.pairs == 700 * 699 // 2
    assert found.closest == tuple((0, j, 0.0) for j in range(1, 6))


@pytest.mark.parametrize("n", [0, 1])
def test_one_picture_or_none_is_like_nothing(n: int) -> None:
    assert likeness(np.zeros((n, 2, 2, 3), np.uint8), 0.02, 5) == Likeness(0, (), None)


@pytest.mark.parametrize("kind", ["noise", "copies"])
@pytest.mark.parametrize("n", [0, 1, 2, 300])
def test_progress_adds_up_to_the_pictures(kind: str, n: int) -> None:
    counts: list[int] = []
    likeness(pictures(kind, n, (4, 4, 3), np.random.default_rng(1)), 0.02, 5, counts.append)
    assert sum(counts) == n
