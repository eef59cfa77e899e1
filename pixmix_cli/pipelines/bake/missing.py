"""Which shards of a baked set are not there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from pixmix_cli.pipelines.bake.formats import registry
from pixmix_cli.storage.output import (
    committed_rows,
)


def shard_lengths(samples: int, shard_size: int) -> list[int]:
    """Samples of each shard of a copy."""
    whole, rest = divmod(samples, shard_size)
    return [shard_size] * whole + ([rest] if rest else [])


def unbaked(
    path: Path | None, layout: str, lengths: list[int], copies: tuple[int, ...]
) -> Iterator[tuple[int, tuple[int, ...]]]:
    """(shard, copies that are not there) of a baked set, for each shard that lacks any.

    path    None: nothing is there
    layout  "webdataset" | "imagefolder" | "npy" | "parquet"
    raises  InputError for a damaged row
    """
    done: Counter[tuple[int, int]] = Counter()
    skipped: defaultdict[int, set[int]] = defaultdict(set)
    if path is not None:
        for row in committed_rows(path):
            if "error" in row:
                skipped[row["shard"]].add(row["index"])
            elif registry.is_in_place(path, row):
                done[row["copy"], row["shard"]] += row.get("count", 1)
    for shard, length in enumerate(lengths):
        expected = length - len(skipped[shard])
        missing = tuple(
            copy
            for copy in copies
            # a shard of which every sample was skipped is a row of 0 pictures, or no row at all
            if done[copy, shard] < expected
            or (expected == 0 and layout != "imagefolder" and (copy, shard) not in done)
        )
        if missing:
            yield shard, missing
