"""Making a mixing set: pictures 0..n-1 from a maker, stored as a folder, tar shards or a stream.

The maker (fractals, feature visualizations) turns a task into pixels and a recipe; this module
encodes, stores, journals and resumes. In a folder a picture is committed by itself; a tar shard is
committed whole, put together by this process in the order of the pictures.
"""

from __future__ import annotations

import collections
import contextlib
import json
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError
from pixmix_cli.pipelines.engines.local import Engine, run_tasks
from pixmix_cli.pipelines.finish import begin, finish, unmade
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.storage import images
from pixmix_cli.storage.files import PartialFile, Tmp, canonical_json, commit_all, sha256_hex
from pixmix_cli.storage.output import (
    Output,
    Row,
    RunPlan,
    check_allowed,
)
from pixmix_cli.storage.part import Part, Whole
from pixmix_cli.storage.remote import Url
from pixmix_cli.storage.tar import Sink, TarWriter

STORING_AHEAD = 2  # batches that wait for encoding before the GPU has to wait for them
A_FOLDER = 1000  # pictures a folder: `ls` and network file systems stay quick


@dataclass(frozen=True, slots=True)
class MixingSetJob:
    """What the user asked for, whatever the pictures are of. output None: a tar stream."""

    output: Path | None
    elsewhere: Url | None = None  # the output, of which `output` then is the mirror
    format: str = "folder"  # "folder" | "webdataset"
    image_format: str = "jpeg"
    quality: int = 95
    shard_size: int = 1000  # webdataset: pictures a tar
    seed: int = 0
    workers: int = 1
    resume: bool = False
    overwrite: bool = False
    part: Part | None = None  # which part of the set to make, where several runs share the work
    engine: Engine = run_tasks

    @property
    def goes_on(self) -> bool:
        """Whether it goes on with what is there, as every part does."""
        return self.resume or self.part is not None


@dataclass(frozen=True, slots=True)
class Task:
    """Pictures to make together; `payload` is for the maker."""

    indices: tuple[int, ...]
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Made:
    """One picture from a maker: pixels and recipe, or the reason why there is none.

    facts  what its manifest row tells besides path, size and hash
    """

    index: int
    pixels: NDArray[np.uint8] | None
    recipe: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


Maker = Callable[[Task], list[Made]]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is settled before the first pixel.

    tasks  cuts the pictures still to make into tasks
    """

    job: MixingSetJob
    run: RunPlan
    total: int
    own: int  # of these, the pictures that this run has to care for: all, or a part's
    pending: NDArray[np.int64]  # indices still to make here, rising
    make_maker: Callable[..., Maker]
    maker_context: tuple[Any, ...]
    tasks: Callable[[NDArray[np.int64]], Iterable[Task]]
    compile: Callable[[], None] | None = None  # fills caches before the workers start
    made_with: dict[str, str] = field(default_factory=dict)
    overlapped: bool = False  # one process, its maker on a GPU, storing in a thread

    @property
    def remaining(self) -> int:
        """Pictures this run has to make."""
        return len(self.pending)


def storage_options(job: MixingSetJob) -> tuple[dict[str, Any], dict[str, str]]:
    """The options and versions of the storing half that decide bytes, for the RunPlan.

    raises  InputError when this Pillow cannot write the format
    """
    if not images.codec_available(job.image_format):
        raise InputError(f"this Pillow cannot write {job.image_format}", "--image-format png")
    options: dict[str, Any] = {
        "seed": job.seed,
        "format": job.format,
        "image-format": job.image_format,
    }
    if job.image_format == "jpeg":
        options["quality"] = job.quality
    if job.format == "webdataset":
        options["shard-size"] = job.shard_size
    return options, images.codec(job.image_format)


@dataclass(frozen=True, slots=True)
class Pending:
    """What a run has to care for, and what of it is still to make."""

    own: int
    pending: NDArray[np.int64]


def pending_pictures(
    job: MixingSetJob, run: RunPlan, total: int, together: int = 1, least: int = 1
) -> Pending:
    """Check the output and list the pictures that are not in it yet.

    together  pictures that are best made by one run, where several share the work
    least     pictures that have to be
    raises    OutputExistsError, ResumeMismatchError, InputError
    """
    own = np.ones(total, bool)
    if job.part is not None:
        unit = job.shard_size
        if job.format != "webdataset":
            unit = job.part.unit(total, together, least)
        own = np.arange(total) // unit % job.part.count == job.part.index
    wanted = own
    if job.output is not None:
        check_allowed(job.output, run, resume=job.goes_on, overwrite=job.overwrite)
        if job.goes_on:
            wanted = own & unmade(
                job.output, total, job.format, job.shard_size, settle_errors=False
            )
    return Pending(int(own.sum()), np.flatnonzero(wanted))


def run(plan: Plan) -> Iterator[Step]:
    """Make what is pending and commit it.

    raises  PixMixError; what was committed before stays
    """
    job = plan.job
    assert job.output is not None
    whole = Whole({"pictures": plan.total}, made_with=plan.made_with)
    with begin(job, plan.run, whole) as output:
        skipped = 0
        if plan.remaining and output.open_for_writing():
            store = _store_folder if job.format == "folder" else _store_tars
            with contextlib.closing(_finished(plan, output.tmp)) as finished:
                for step in store(plan, output, finished):
                    skipped += step.errors
                    yield step
        yield finish(output, whole, plan.own - skipped, skipped)


def stream(plan: Plan, sink: Sink) -> Iterator[Step]:
    """Write every picture as a tar member to `sink`, in order, as they are finished."""
    tar = TarWriter(sink)
    skipped = 0
    for item in _in_order(plan, _finished(plan, None)):
        if item.data is None:
            skipped += 1
        else:
            tar.add(_member_name(item.row["index"], plan.job.image_format), item.data)
        yield Step(1)
    tar.finish()
    yield Step(0, (), {"pictures": plan.own - skipped, "skipped": skipped})


@dataclass(frozen=True, slots=True)
class Finished:
    """One picture from a worker: its row, and its bytes unless the worker stored them."""

    row: Row
    data: bytes | None


def _finished(plan: Plan, tmp: Tmp | None) -> Generator[list[Finished], None, None]:
    job = plan.job
    if plan.compile is not None and job.workers > 1:
        plan.compile()
    folder = job.output if job.format == "folder" else None
    context = (plan.make_maker, plan.maker_context, job, folder, tmp)
    tasks = plan.tasks(plan.pending)
    if plan.overlapped:
        yield from _overlap(PictureWorker(*context), tasks)
    else:
        yield from job.engine(PictureWorker, context, tasks, job.workers, _describe_task)


def _overlap(worker: PictureWorker, tasks: Iterable[Task]) -> Iterator[list[Finished]]:
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


def _describe_task(task: Task) -> str:
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

    def __call__(self, task: Task) -> list[Finished]:
        """One task's pictures, durable already where they are stored here."""
        return self.store(self.make(task))

    def make(self, task: Task) -> list[Made]:
        """The pixels."""
        return self._maker(task)

    def store(self, pictures: list[Made]) -> list[Finished]:
        """Encoded and, in a folder, in place."""
        files: list[PartialFile] = []
        finished = []
        try:
            for made in pictures:
                if made.pixels is None:
                    row = {"error": made.error, "index": made.index, **made.facts}
                    finished.append(Finished(row, None))
                    continue
                job = self._job
                recipe = canonical_json(made.recipe)
                data = images.encode(made.pixels, job.image_format, job.quality, recipe)
                row = {
                    "bytes": len(data),
                    "index": made.index,
                    "sha256": sha256_hex(data),
                    **made.facts,
                }
                if self._folder is None:
                    finished.append(Finished(row, data))
                    continue
                assert self._tmp is not None
                row["path"] = picture_path(made.index, job.image_format)
                files.append(PartialFile(self._folder / row["path"], self._tmp))
                files[-1].write(data)
                files[-1].close()
                finished.append(Finished(row, None))
            commit_all(files)
        except BaseException:
            for file in files:
                file.discard()
            raise
        return finished


def picture_path(index: int, image_format: str) -> str:
    """`012/012345.jpg`: where picture `index` lies in a folder set."""
    return f"{index // A_FOLDER:03d}/{_member_name(index, image_format)}"


def _member_name(index: int, image_format: str) -> str:
    return f"{index:06d}.{images.FORMATS[image_format]}"


def _store_folder(plan: Plan, output: Output, finished: Iterator[list[Finished]]) -> Iterator[Step]:
    for items in finished:
        rows = [item.row for item in items]
        output.commit(rows)
        artefacts = tuple(row for row in rows if "error" not in row)
        yield Step(len(rows), artefacts, errors=len(rows) - len(artefacts))


def _store_tars(plan: Plan, output: Output, finished: Iterator[list[Finished]]) -> Iterator[Step]:
    job = plan.job
    current: _OpenTar | None = None
    try:
        for item in _in_order(plan, finished):
            shard = item.row["index"] // job.shard_size
            if current is not None and current.shard != shard:
                yield current.commit(output)
                current = None
            if current is None:
                first = shard * job.shard_size
                stop = min(first + job.shard_size, plan.total)
                current = _OpenTar(output, shard, first, stop)
            current.add(item, job.image_format)
        if current is not None:
            yield current.commit(output)
            current = None
    finally:
        if current is not None:
            current.discard()


class _OpenTar:
    """A tar shard being put together."""

    def __init__(self, output: Output, shard: int, first: int, stop: int) -> None:
        self.shard = shard
        self._name = f"{shard:06d}.tar"
        self._file = output.partial(self._name)
        self._range = (first, stop)
        self._rows: list[Row] = []
        self._count = 0

    def add(self, item: Finished, image_format: str) -> None:
        row = dict(item.row)
        if item.data is not None:
            row["path"], row["member"] = self._name, _member_name(row["index"], image_format)
            TarWriter(self._file).add(row["member"], item.data)
            self._count += 1
        self._rows.append(row)

    def commit(self, output: Output) -> Step:
        TarWriter(self._file).finish()
        self._file.commit()
        first, stop = self._range
        shard_row = {
            "bytes": self._file.bytes,
            "count": self._count,
            "index": first,
            "path": self._name,
            "sha256": self._file.sha256,
            "stop": stop,
        }
        output.commit([shard_row, *self._rows])
        return Step(stop - first, (shard_row,), errors=stop - first - self._count)

    def discard(self) -> None:
        self._file.discard()


def _in_order(plan: Plan, finished: Iterator[list[Finished]]) -> Iterator[Finished]:
    """Pictures in the order of their index, whatever order the tasks put them in."""
    waiting: dict[int, Finished] = {}
    order = iter(plan.pending.tolist())
    expected = next(order, None)
    for items in finished:
        for item in items:
            waiting[item.row["index"]] = item
        while expected in waiting:
            yield waiting.pop(expected)
            expected = next(order, None)


def describe(
    plan: Plan, bytes_each: float | None, seconds_each: float | None = None
) -> dict[str, Any]:
    """What a run of this plan would do, for --dry-run.

    bytes_each    expected bytes a picture, or None where nothing was measured
    seconds_each  expected seconds of one worker a picture, or None
    """
    job = plan.job
    record: dict[str, Any] = {
        "path": "-" if job.output is None else str(job.elsewhere or job.output),
        "pictures": plan.own,
        "done_already": plan.own - plan.remaining,
    }
    if job.format == "webdataset":
        record["shards"] = -(-plan.own // job.shard_size)
        record["shard_size"] = job.shard_size
    if bytes_each is not None:
        record["estimated_bytes"] = round(bytes_each * plan.remaining)
    if seconds_each is not None:
        record["estimated_seconds"] = round(seconds_each * plan.remaining / job.workers, 1)
    return record


def recipe_of(data: bytes, name: str) -> dict[str, Any] | None:
    """The recipe inside a picture's bytes, or None when it carries none of ours."""
    text = images.read_recipe(data, name)
    try:
        recipe = json.loads(text) if text else None
    except ValueError:
        return None
    return recipe if isinstance(recipe, dict) else None
