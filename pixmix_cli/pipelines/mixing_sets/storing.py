"""Making a mixing set: pictures 0..n-1 from a maker, stored as a folder, tar shards or a stream.

The maker (fractals, feature visualizations) turns a task into pixels and a recipe; this module
encodes, stores, journals and resumes. In a folder a picture is committed by itself; a tar shard is
committed whole, put together by this process in the order of the pictures.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pixmix_cli.outputs.part import Whole
from pixmix_cli.outputs.rows import MixingPicture, SkippedPicture
from pixmix_cli.pipelines.finish import finish, handing_out, open_for
from pixmix_cli.pipelines.mixing_sets.completion import COMPLETION
from pixmix_cli.pipelines.mixing_sets.formats import Finished, in_order, member_name, picture_path
from pixmix_cli.pipelines.mixing_sets.job import Made, Maker, MixingSetJob, PictureTask
from pixmix_cli.pipelines.mixing_sets.plan import MixingSetPlan
from pixmix_cli.pipelines.mixing_sets.registry import SET_FORMATS
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.storage.files import PartialFile, Tmp, commit_all, sha256_hex
from pixmix_cli.storage.tar import Sink, TarWriter

STORING_AHEAD = 2  # batches that wait for encoding before the GPU has to wait for them


def run_set(plan: MixingSetPlan) -> Iterator[Step]:
    """Make what is pending and commit it.

    raises  PixMixError; what was committed before stays
    """
    job = plan.job
    whole = Whole({"pictures": plan.total}, made_with=plan.made_with)
    with open_for(job.destination, plan.run, whole, COMPLETION) as output:
        skipped = 0
        if plan.remaining and output.open_for_writing():
            layout = SET_FORMATS[job.format]
            tasks = plan.tasks(plan.pending)
            if layout.loose:
                tasks = handing_out(output, tasks, partial(_files, job))
            with contextlib.closing(_finished(plan, tasks, output.tmp)) as finished:
                for step in layout.store(output, job, plan.total, plan.pending, finished):
                    skipped += step.errors
                    yield step
        yield finish(output, whole, COMPLETION, plan.own - skipped, skipped)


def stream_set(plan: MixingSetPlan, sink: Sink) -> Iterator[Step]:
    """Write every picture as a tar member to `sink`, in order, as they are finished."""
    tar = TarWriter(sink)
    skipped = 0
    for item in in_order(_finished(plan, plan.tasks(plan.pending), None), plan.pending):
        if item.data is None:
            skipped += 1
        else:
            tar.add(member_name(item.row.index, plan.job.image_format), item.data)
        yield Step(1)
    tar.finish()
    yield Step(0, (), {"pictures": plan.own - skipped, "skipped": skipped})


def _files(job: MixingSetJob, task: PictureTask) -> Iterator[tuple[list[str], list[str]]]:
    """The files that a task puts in place, as `handing_out` has them."""
    paths = [picture_path(index, job.image_format).split("/") for index in task.indices]
    for folder, group in groupby(paths, lambda path: path[0]):
        yield [folder], [name for _, name in group]


def _finished(
    plan: MixingSetPlan, tasks: Iterable[PictureTask], tmp: Tmp | None
) -> Generator[list[Finished], None, None]:
    job = plan.job
    loose = SET_FORMATS[job.format].loose and not job.destination.is_stream
    folder = job.destination.folder if loose else None
    context = (plan.make_maker, plan.maker_context, job, folder, tmp)
    if plan.overlapped:
        yield from _overlap(PictureWorker(*context), tasks)
    else:
        yield from job.engine(PictureWorker, context, tasks, job.workers, _describe_task)


def _overlap(worker: PictureWorker, tasks: Iterable[PictureTask]) -> Iterator[list[Finished]]:
    """Make pictures in this thread (it feeds the GPU) while another encodes and stores them."""
    storing: collections.deque[Future[list[Finished]]] = collections.deque()
    pool = ThreadPoolExecutor(1)
    try:
        for task in tasks:
            storing.append(pool.submit(worker.store, worker.make(task)))
            while storing and (len(storing) > STORING_AHEAD or storing[0].done()):
                yield storing.popleft().result()
        while storing:
            yield storing.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _describe_task(task: PictureTask) -> str:
    return f"pictures {task.indices[0]} to {task.indices[-1]}"


class PictureWorker:
    """One worker: makes and encodes pictures, and in a folder stores them too."""

    def __init__(
        self,
        make_maker: Callable[..., Maker],
        maker_context: tuple[Any, ...],
        job: MixingSetJob,
        folder: Path | None,
        tmp: Tmp | None,
    ) -> None:
        """Make the maker. folder None: hand the bytes back."""
        self._maker = make_maker(*maker_context)
        self._job = job
        self._folder = folder
        self._tmp = tmp

    @staticmethod
    def preload(make_maker: Callable[..., Maker], maker_context: tuple[Any, ...], *_: Any) -> None:
        """What the maker does once for all workers, as for `engines.local.run_tasks`."""
        preload = getattr(make_maker, "preload", None)
        if preload is not None:
            preload(*maker_context)

    def __call__(self, task: PictureTask) -> list[Finished]:
        """One task's pictures, durable already where they are stored here."""
        return self.store(self.make(task))

    def make(self, task: PictureTask) -> list[Made]:
        """The pixels."""
        return self._maker(task)

    def store(self, pictures: list[Made]) -> list[Finished]:
        """Encoded and, in a folder, in place."""
        files: list[PartialFile] = []
        finished = []
        try:
            for made in pictures:
                if made.pixels is None:
                    finished.append(Finished(_skipped(made), None))
                    continue
                job = self._job
                data = job.encode(made.pixels, made.recipe)
                if self._folder is None:
                    name = member_name(made.index, job.image_format)
                    finished.append(Finished(_row(made, name, data), data))
                    continue
                assert self._tmp is not None
                path = picture_path(made.index, job.image_format)
                files.append(PartialFile(self._folder / path, self._tmp))
                files[-1].write(data)
                files[-1].close()
                finished.append(Finished(_row(made, path, data), None))
            commit_all(files)
        except BaseException:
            for file in files:
                file.discard()
            raise
        return finished


def _row(made: Made, path: str, data: bytes) -> MixingPicture:
    facts = dict(made.facts)
    return MixingPicture(
        path=path,
        bytes=len(data),
        sha256=sha256_hex(data),
        index=made.index,
        rejected=facts.pop("rejected", None),
        facts=facts,
    )


def _skipped(made: Made) -> SkippedPicture:
    assert made.error is not None
    return SkippedPicture(error=made.error, index=made.index, facts=made.facts)
