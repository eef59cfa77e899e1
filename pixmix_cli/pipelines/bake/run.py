"""bake: a labelled dataset in, shards of PixMix-augmented copies out.

One task is one shard of source samples for all copies still missing: each original is decoded
once. Which sample goes into which shard is settled before the first worker starts, and a sample's
draws are keyed by (seed, copy, sample key), so no worker count, order or interruption changes a
byte.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from pixmix_cli.errors import PictureError
from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.part import Whole
from pixmix_cli.outputs.rows import Artefact, Row, SkippedSample
from pixmix_cli.pipelines.bake.card import dataset_card
from pixmix_cli.pipelines.bake.completion import COMPLETION, class_lost, nothing_baked
from pixmix_cli.pipelines.bake.formats.base import StreamedPiece
from pixmix_cli.pipelines.bake.job import ShardTask
from pixmix_cli.pipelines.bake.plan import BakePlan, context_of, describe_task, tasks
from pixmix_cli.pipelines.bake.worker import AT, Baker
from pixmix_cli.pipelines.finish import finish, handing_out, open_for
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import spool
from pixmix_cli.storage.tar import Sink, TarWriter


def run_bake(plan: BakePlan) -> Iterator[Step]:
    """Bake what is pending and commit it shard by shard.

    raises  PixMixError; what was committed before stays
    """
    job = plan.job
    layout = {
        "samples": len(plan.order),
        "shard_size": plan.shard_size,
        "copies": job.copies,
        "plain": job.plain,
    }
    extras = {name: data.decode() for name, data in extra_files(plan).items()}
    whole = Whole(layout, extras)
    with open_for(job.destination, plan.run, whole, COMPLETION) as output:
        skipped = 0
        if plan.pending and output.open_for_writing():
            if job.running.workers > 1:
                Baker.prepare()
            for step in _bake_pending(plan, output):
                skipped += step.errors
                yield step
        made = plan.own - skipped * len(job.all_copies)
        completion = COMPLETION
        if plan.pending and job.destination.part is None:  # `Skipped` has seen to it, row by row
            completion = replace(COMPLETION, check=lambda output, whole: None)
        yield finish(output, whole, completion, made, skipped)


def extra_files(plan: BakePlan) -> dict[str, bytes]:
    """Name -> bytes of the small files beside the manifest."""
    return {
        "classes.json": (json.dumps(list(plan.source.classes), indent=1) + "\n").encode(),
        "README.md": dataset_card(plan).encode(),
    }


def _bake_pending(plan: BakePlan, output: Output) -> Iterator[Step]:
    workers = min(plan.job.running.workers, len(plan.pending))
    context = context_of(plan, output.tmp)
    skipped = Skipped(
        plan.job.running.max_errors,
        output.rows() if plan.job.destination.goes_on else (),
        plan.source if plan.format.needs_every_class else None,
    )
    describe = partial(_name_the_sample, output.local_tmp / AT)
    todo = handing_out(output, tasks(plan), partial(_files, plan))
    engine = plan.job.running.engine(Baker, (context,), todo, workers, describe)
    with contextlib.closing(engine) as results:
        for (rows, items), (_, copies) in zip(results, plan.pending):
            output.commit(rows)
            artefacts = [row for row in rows if isinstance(row, Artefact)]
            yield Step(
                items,
                () if plan.format.joined else tuple(row.to_json() for row in artefacts),
                bytes=sum(row.bytes for row in artefacts),
                shards=len(copies),
                errors=skipped.add(rows),
            )
    if plan.job.destination.part is None:
        skipped.check_some_left(len(plan.order))


def _files(plan: BakePlan, task: ShardTask) -> Iterator[tuple[list[str], list[str]]]:
    """The files that a task puts in place, as `handing_out` has them."""
    yield [copy.folder for copy in task.copies], plan.format.names(plan.job, task)


class Skipped:
    """Counts what was left out, each picture once, and stops the run where it is too much."""

    def __init__(
        self, limit: int | None, before: Iterable[Row] = (), source: Source | None = None
    ) -> None:
        """Start with what earlier runs have skipped.

        limit   how many may be skipped, None for any number
        before  rows of earlier runs
        source  whose classes must each keep a picture; None where they need not
        """
        self._limit = limit
        self._first = ""
        self._seen = set()
        for row in before:
            if isinstance(row, SkippedSample):
                self._seen.add(_place(row))
                self._first = self._first or (row.error if row.shard >= 0 else "")
        self._source = source
        self._left = [] if source is None else source.counts().tolist()
        for shard, index in self._seen:
            self._lose(shard, index)

    def add(self, rows: Iterable[Row]) -> int:
        """How many more were skipped.

        raises  PictureError when that makes more than the limit, or leaves a class without pictures
        """
        already, last = len(self._seen), ""
        for row in rows:
            if isinstance(row, SkippedSample):
                if _place(row) not in self._seen:
                    self._lose(row.shard, row.index)
                self._seen.add(_place(row))
                last = row.error
                self._first = self._first or (last if row.shard >= 0 else "")
        if self._limit is not None and last and len(self._seen) > self._limit:
            raise PictureError(
                f"{len(self._seen)} pictures cannot be used, more than --max-errors "
                f"{self._limit}; the last: {last}",
                "mend them, or a larger --max-errors with --resume",
            )
        return len(self._seen) - already

    def check_some_left(self, samples: int) -> None:
        """Refuse to end a set of so many samples when all were skipped. Raises PictureError."""
        if samples and sum(shard >= 0 for shard, _ in self._seen) >= samples:
            raise nothing_baked(samples, self._first)

    def _lose(self, shard: int, index: int) -> None:
        if self._source is None or shard < 0:
            return
        label = self._source.labels[index]
        self._left[label] -= 1
        if not self._left[label]:
            raise class_lost(self._source.classes[label])


def _place(row: SkippedSample) -> tuple[int, int]:
    return row.shard, row.index


def stream_bake(plan: BakePlan, sink: Sink, warn: Callable[[str], None]) -> Iterator[Step]:
    """Write every copy, one after the other, to `sink` as one tar, in the plan's order.

    warn    called with one line for each picture that is left out
    raises  PixMixError
    """
    job = plan.job
    if job.running.workers > 1:
        Baker.prepare()
    skipped = Skipped(job.running.max_errors)
    written, reason = 0, ""
    note = spool.new_file(AT)
    engine = job.running.engine(
        Baker,
        (context_of(plan, note.parent),),
        tasks(plan),
        min(job.running.workers, len(plan.pending)),
        partial(_name_the_sample, note),
    )
    with contextlib.closing(engine) as results:
        for rows, items in results:
            size = 0
            for row in rows:
                if isinstance(row, SkippedSample):
                    warn(f"left out: {row.error}")
                    reason = reason or row.error
                elif isinstance(row, StreamedPiece):
                    sink.write(row.data)
                    size += len(row.data)
                    written += row.pictures
            yield Step(items, bytes=size, errors=skipped.add(rows))
    spool.discard(note)
    if not written and plan.own:
        raise nothing_baked(len(plan.order), reason)
    TarWriter(sink).finish()
    yield Step(0, (), {"pictures": written, "skipped": plan.own - written})


def _name_the_sample(note: Path, task: ShardTask) -> str:
    """The task, and the sample that a worker that died was busy with."""
    with contextlib.suppress(OSError):
        index = int.from_bytes(note.read_bytes(), "little")
        for sample in task.samples:
            if sample.index == index:
                return f"{sample.ref.name} of {describe_task(task)}"
    return describe_task(task)
