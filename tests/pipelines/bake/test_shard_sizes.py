"""How many samples a shard holds when nobody says."""

from __future__ import annotations

import pytest

from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.pipelines.bake.formats.npy import SLICE_BYTES
from pixmix_cli.pipelines.bake.formats.registry import FORMATS

SMALL, LARGE = PRESETS["cifar"], PRESETS["imagenet"]


@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "parquet"])
@pytest.mark.parametrize(
    ("samples", "expected"),
    [(1, 1), (99, 99), (6_400, 100), (20_000, 313), (1_281_167, 1_000)],
)
def test_a_set_has_64_shards_of_100_to_1000_samples(
    layout: str, samples: int, expected: int
) -> None:
    assert FORMATS[layout].default_shard_size(samples, SMALL) == expected


def test_slices_of_arrays_are_few_where_pictures_are_small() -> None:
    size = FORMATS["npy"].default_shard_size
    assert size(20_000, SMALL) == 1_250
    assert size(50, SMALL) == 50
    assert size(1_281_167, SMALL) * 32 * 32 * 3 <= SLICE_BYTES
    assert size(1_281_167, LARGE) <= 1_000
