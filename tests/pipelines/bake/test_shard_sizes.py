"""How many samples a shard holds when nobody says."""

from __future__ import annotations

import pytest

from pixmix_cli.pipelines.bake.plan import SLICE_BYTES, default_shard_size

SMALL, LARGE = 32 * 32 * 3, 224 * 224 * 3


@pytest.mark.parametrize(
    ("samples", "picture_bytes", "expected"),
    [(1, 0, 1), (99, 0, 99), (6_400, 0, 100), (20_000, 0, 313), (1_281_167, 0, 1_000)],
)
def test_a_set_has_64_shards_of_100_to_1000_samples(
    samples: int, picture_bytes: int, expected: int
) -> None:
    assert default_shard_size(samples, picture_bytes) == expected


def test_slices_of_arrays_are_few_where_pictures_are_small() -> None:
    assert default_shard_size(20_000, SMALL) == 1_250
    assert default_shard_size(50, SMALL) == 50
    assert default_shard_size(1_281_167, SMALL) * SMALL <= SLICE_BYTES
    assert default_shard_size(1_281_167, LARGE) <= 1_000
