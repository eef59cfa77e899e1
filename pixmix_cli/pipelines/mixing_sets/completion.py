"""What of a mixing set is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pixmix_cli.outputs.part import Whole
from pixmix_cli.outputs.rows import committed_rows, has_its_length
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.pipelines.finish import Completion


def unmade(
    path: Path, total: int, layout: str, shard_size: int, *, settle_errors: bool
) -> np.ndarray:
    """Which pictures of a mixing set are not there, (total,) bool.

    layout         "folder" | "webdataset"
    shard_size     webdataset: pictures a tar
    settle_errors  what was skipped is not missing; else it is to be tried again
    raises         InputError for a damaged row
    """
    wanted = np.ones(total, bool)
    for row in committed_rows(path):
        index = row.get("index", -1)
        if not 0 <= index < total:
            continue
        if layout == "folder":
            wanted[index] = not settle_errors if "error" in row else not has_its_length(path, row)
        elif "stop" in row and row["stop"] == min(index + shard_size, total):
            wanted[index : row["stop"]] = not has_its_length(path, row)
    return wanted


def gaps(path: Path, run: RunPlan, whole: Whole) -> Iterator[str]:
    """Names of the pictures that have still to be made."""
    total, shard_size = whole.layout["pictures"], run.options.get("shard-size", 1)
    left = unmade(path, total, run.options["format"], shard_size, settle_errors=True)
    yield from (f"picture {index}" for index in np.flatnonzero(left).tolist())


COMPLETION = Completion(gaps)
