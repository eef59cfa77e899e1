"""Both ends of a run: its output, and the manifest, which the last one of several parts writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixmix_cli.errors import InputError
from pixmix_cli.pipelines.bake.formats import npy
from pixmix_cli.pipelines.bake.formats.base import copy_folder
from pixmix_cli.pipelines.bake.job import PLAIN, BakeJob
from pixmix_cli.pipelines.bake.missing import shard_lengths, unbaked
from pixmix_cli.pipelines.mixing_sets.plan import unmade
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.storage.mirror import open_output
from pixmix_cli.storage.output import (
    MANIFEST,
    PLAN,
    Output,
    Row,
    RunPlan,
    look,
)
from pixmix_cli.storage.part import Whole
from pixmix_cli.storage.remote import Url

if TYPE_CHECKING:
    from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob


def begin(job: BakeJob | MixingSetJob, run: RunPlan, whole: Whole) -> Output:
    """Open a job's output, or its part of it, for this run.

    raises  as Output
    """
    path = job.output
    assert path is not None
    return open_output(
        path,
        run,
        job.elsewhere,
        resume=job.resume,
        overwrite=job.overwrite,
        part=job.part,
        whole=None if job.part is None else whole,
        missing=lambda: not _is_complete(path, run, whole),
    )


def finish(output: Output, whole: Whole, made: int, skipped: int) -> Step:
    """Write the manifest, if this run fills the output alone or is the last of its parts.

    made, skipped  pictures of this run, told where other parts have still to end
    returns        the last step, with the output's totals
    raises         StorageError
    """
    if output.part is not None:
        own = {"pictures": made, "skipped": skipped}
        if not output.take_over():
            return Step(0, (), own, waits="other parts are still at work; the last one ends it")
        if not output.finished_before and not _is_complete(output.path, output.plan, whole):
            return Step(0, (), own, waits="parts are missing; the last one to run ends it")
    return _write_manifest(output, whole)


def finish_left_over(path: Path, elsewhere: Url | None = None) -> dict[str, int]:
    """Finish an output whose parts are all done, and whose last one did not come to its end.

    elsewhere  the output, where `path` is its mirror
    returns    the output's totals
    raises     InputError when it is no such output, when parts are missing or still at work
    """
    state = look(path)
    if state.status == "finished":
        summary: dict[str, int] = json.loads((path / MANIFEST).read_bytes()).get("summary", {})
        return summary
    told = (state.plan or {}).get("whole")
    if told is None:
        raise InputError(
            f"{path} is not the unfinished work of --shard runs",
            "the command that makes it, with --resume",
        )
    assert state.plan is not None
    try:
        whole = Whole.from_json(told)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path / PLAN} is damaged: {error}", "one of its --shard runs again"
        ) from None
    run = RunPlan(*(state.plan[name] for name in ("command", "options", "versions", "inputs")))
    with open_output(path, run, elsewhere, resume=True, overwrite=False, whole=whole) as output:
        if not _is_complete(output.path, output.plan, whole):
            raise InputError(
                f"{path} is not complete: {_missing(output.path, output.plan, whole)}",
                "its --shard runs again; what is there is not made again",
            )
        step = _write_manifest(output, whole)
    assert step.summary is not None
    return step.summary


def _write_manifest(output: Output, whole: Whole) -> Step:
    records: list[Row] = []
    if output.plan.options.get("format") == "npy" and not output.finished_before:
        records = npy.merge(output, output.plan.options["size"])
    extras = {name: text.encode() for name, text in whole.extras.items()}
    return Step(0, tuple(records), output.finish(extras, whole.made_with))


def _is_complete(path: Path, run: RunPlan, whole: Whole) -> bool:
    return next(_gaps(path, run, whole), None) is None


def _missing(path: Path, run: RunPlan, whole: Whole) -> str:
    gaps = list(_gaps(path, run, whole))
    names = ", ".join(gaps[:3]) + (", ..." if len(gaps) > 3 else "")
    return f"{len(gaps)} missing ({names})"


def _gaps(path: Path, run: RunPlan, whole: Whole) -> Iterator[str]:
    """Names of what has still to be made."""
    options, layout = run.options, whole.layout
    if run.command == "bake":
        copies = (*range(layout["copies"]), *range(PLAIN, PLAIN + layout["plain"]))
        lengths = shard_lengths(layout["samples"], layout["shard_size"])
        for shard, missing in unbaked(path, options["format"], lengths, copies):
            yield from (f"{copy_folder(c)}, shard {shard}" for c in missing)
        return
    shard_size = options.get("shard-size", 1)
    left = unmade(path, layout["pictures"], options["format"], shard_size, settle_errors=True)
    for index in np.flatnonzero(left).tolist():
        yield f"picture {index}"
