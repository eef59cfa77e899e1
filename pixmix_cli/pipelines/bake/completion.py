"""What of a baked set is not there, and how it is ended."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pixmix_cli.errors import PictureError
from pixmix_cli.outputs.file_names import ROWS
from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.part import Whole
from pixmix_cli.outputs.row_files import committed_rows, finished_until
from pixmix_cli.outputs.rows import BakedPicture, BakedRow, Place, SkippedSample
from pixmix_cli.outputs.run_plan import FractalTotals, RunPlan
from pixmix_cli.pipelines.bake.formats.base import Format
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import FIRST_PLAIN, Copy, all_copies
from pixmix_cli.pipelines.finish import Completion


def shard_lengths(samples: int, shard_size: int) -> list[int]:
    """Samples of each shard of a copy."""
    whole, rest = divmod(samples, shard_size)
    return [shard_size] * whole + ([rest] if rest else [])


def unbaked(
    path: Path | None, layout: Format[Any], lengths: list[int], copies: tuple[Copy, ...]
) -> Iterator[tuple[int, tuple[Copy, ...]]]:
    """(shard, copies that are not there) of a baked set, for each shard that lacks any.

    path    None: nothing is there
    raises  InputError for a damaged row
    """
    done: Counter[tuple[int, int]] = Counter()  # by the copy's code, and shard
    skipped: defaultdict[int, set[int]] = defaultdict(set)
    if path is not None:
        for row in committed_rows(path):
            if isinstance(row, SkippedSample):
                skipped[row.shard].add(row.index)
            elif isinstance(row, BakedRow) and layout.is_in_place(path, row):
                done[row.copy, row.shard] += row.pictures
    for shard, length in enumerate(lengths):
        expected = length - len(skipped[shard])
        missing = tuple(
            copy
            for copy in copies
            # of a shard of which every sample was skipped only slices have a row, of 0 pictures
            if done[copy.code, shard] < expected
            or (expected == 0 and layout.joined and (copy.code, shard) not in done)
        )
        if missing:
            yield shard, missing


def gaps(path: Path, run: RunPlan, whole: Whole) -> Iterator[str]:
    """Names of the shards that have still to be made."""
    counts = whole.layout
    copies = all_copies(counts["copies"], counts["plain"])
    lengths = shard_lengths(counts["samples"], counts["shard_size"])
    for shard, missing in unbaked(path, FORMATS[run.options["format"]], lengths, copies):
        yield from (f"{copy.folder}, shard {shard}" for copy in missing)


def finished_copies(path: Path) -> tuple[int, int]:
    """Augmented and plain copies that an earlier run of a baked set has finished."""
    rows = [path / ROWS]
    augmented = finished_until(rows, "copy", stop=FIRST_PLAIN)
    return augmented, finished_until(rows, "copy", first=FIRST_PLAIN)


def beyond(whole: Whole, place: Place) -> bool:
    """Whether a row is of a copy that is more than the whole."""
    copy = Copy.from_code(place[0])
    return copy.number >= whole.layout["plain" if copy.plain else "copies"]


def join(output: Output) -> list[dict[str, Any]]:
    """Put together what the layout commits in pieces."""
    return FORMATS[output.plan.options["format"]].join(output)


def check(output: Output, whole: Whole) -> None:
    """Refuse to end a set without pictures, or one that its readers would number otherwise.

    raises  PictureError
    """
    layout = FORMATS[output.plan.options["format"]]
    classes = json.loads(whole.extras["classes.json"]) if layout.needs_every_class else []
    lost: dict[int, set[int]] = defaultdict(lambda: set(range(len(classes))))  # by copy
    pictures, reason = 0, ""
    for row in output.rows():
        if isinstance(row, BakedRow):
            pictures += row.pictures
            if isinstance(row, BakedPicture):
                lost[row.copy].discard(row.label)
        elif isinstance(row, SkippedSample) and row.shard >= 0:
            reason = reason or row.error
    if not pictures and whole.layout["samples"]:
        raise nothing_baked(whole.layout["samples"], reason)
    for labels in lost.values():
        if labels:
            raise class_lost(classes[min(labels)])


def nothing_baked(samples: int, reason: str) -> PictureError:
    """What to say where not one picture of a source could be read."""
    return PictureError(
        f"none of the {samples} pictures of SOURCE can be read; the first: {reason}",
        "another SOURCE, with --overwrite",
    )


def class_lost(name: str) -> PictureError:
    """What to say where readers number the classes that they find, and one has no picture left."""
    return PictureError(
        f"no picture of class {name} can be read, and without it an ImageFolder numbers the "
        "classes otherwise",
        "its pictures mended or its folder taken out of SOURCE, with --overwrite, or --format "
        "webdataset",
    )


def facts(whole: Whole) -> FractalTotals:
    """How many classes there are, whether or not each has a sample."""
    return {"classes": len(json.loads(whole.extras["classes.json"]))}  # type: ignore[typeddict-item]


COMPLETION = Completion(gaps, beyond, join, check, facts)
