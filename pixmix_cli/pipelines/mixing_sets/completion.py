"""What of a mixing set is not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pixmix_cli.outputs.file_names import ERRORS, ROWS
from pixmix_cli.outputs.part import Whole
from pixmix_cli.outputs.row_files import committed_rows, finished_until
from pixmix_cli.outputs.rows import Place
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.pipelines.finish import Completion
from pixmix_cli.pipelines.mixing_sets.formats import SetFormat
from pixmix_cli.pipelines.mixing_sets.registry import SET_FORMATS


def unmade(
    path: Path, total: int, layout: SetFormat, shard_size: int, *, settled: bool
) -> np.ndarray:
    """Which pictures of a mixing set are not there, (total,) bool.

    shard_size  pictures a tar, where there are tars
    settled     what was skipped is not missing; else it is to be tried again
    raises      InputError for a damaged row
    """
    wanted = np.ones(total, bool)
    for row in committed_rows(path):
        _, _, index, _ = row.place
        if 0 <= index < total:
            layout.mark(wanted, path, row, shard_size, settled)
    return wanted


def gaps(path: Path, run: RunPlan, whole: Whole) -> Iterator[str]:
    """Names of the pictures that have still to be made."""
    total, shard_size = whole.layout["pictures"], run.options.get("shard-size", 1)
    layout = SET_FORMATS[run.options["format"]]
    left = unmade(path, total, layout, shard_size, settled=True)
    yield from (f"picture {index}" for index in np.flatnonzero(left).tolist())


def finished_pictures(path: Path) -> int:
    """How many pictures an earlier run of a mixing set has finished, or skipped."""
    return finished_until([path / ROWS, path / ERRORS], "index")


def beyond(whole: Whole, place: Place) -> bool:
    """Whether a row is of a picture that is more than the whole."""
    return place[2] >= whole.layout["pictures"]


COMPLETION = Completion(gaps, beyond)
