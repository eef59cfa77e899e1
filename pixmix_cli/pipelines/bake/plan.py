"""What a bake will make: its inputs listed, its shards laid out, what is missing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.file_names import MANIFEST, PLAN
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.pipelines.bake import completion
from pixmix_cli.pipelines.bake.completion import shard_lengths
from pixmix_cli.pipelines.bake.estimate import mean_bytes
from pixmix_cli.pipelines.bake.formats.base import Format
from pixmix_cli.pipelines.bake.formats.registry import FORMATS, names_with
from pixmix_cli.pipelines.bake.job import BakeJob, Copy, Sample, ShardTask
from pixmix_cli.pipelines.bake.listing import Listing, Order, Warn, list_source, shared
from pixmix_cli.pipelines.bake.mixing_pictures import cache_key
from pixmix_cli.pipelines.bake.settings import run_plan
from pixmix_cli.pipelines.bake.worker import Context
from pixmix_cli.sources.mixing_set import MixingSet, open_mixing_set
from pixmix_cli.sources.pictures import STDIN, PictureRef
from pixmix_cli.sources.source import Source
from pixmix_cli.sources.stored import StoredPictures
from pixmix_cli.storage import images, spool
from pixmix_cli.storage.files import Tmp
from pixmix_cli.storage.remote import is_inside, is_url
from pixmix_cli.units import Bytes

if TYPE_CHECKING:
    from pixmix_cli.pipelines.bake.reference_draws import ReferenceDraws


STREAM_TASK = 64  # samples: a few MB of pictures, held until their turn comes


@dataclass(frozen=True, slots=True)
class BakePlan:
    """Everything that is settled before the first pixel."""

    job: BakeJob
    source: Source
    mixing: MixingSet
    order: Order
    shard_size: int
    run: RunPlan
    pending: tuple[tuple[int, tuple[Copy, ...]], ...]  # (shard, copies still to make)
    reference: ReferenceDraws | None = None  # draws in the published code's order, if asked for
    naming: Sequence[int] | None = None  # as `Format.naming`; None where it is still to be asked

    @property
    def format(self) -> Format:
        """The layout of the output."""
        return FORMATS[self.job.files.format]

    @property
    def shards(self) -> int:
        """Number of shards a copy."""
        return -(-len(self.order) // self.shard_size)

    def indices(self, shard: int) -> np.ndarray:
        """The samples of one shard, as indices into the source."""
        return self.order.part(shard * self.shard_size, (shard + 1) * self.shard_size)

    @property
    def advice(self) -> str | None:
        """What to warn of before the work begins: shards that are not equally long."""
        part = self.job.destination.part
        if part is not None and self.shards < part.count:
            return (
                f"{self.shards} shards are fewer than the {part.count} parts: some parts have "
                "nothing to do. Try: a smaller --shard-size"
            )
        last = len(self.order) % self.shard_size
        shards_show = self.format.sharded and not self.job.destination.is_stream
        if shards_show and last and self.pending:
            return (
                f"the last of {self.shards} shards has {last} samples, the others "
                f"{self.shard_size}: under DDP the ranks that get more wait for ever for the one "
                "that gets fewer. Try: --pad or --drop-last"
            )
        return None

    @property
    def total(self) -> int:
        """Pictures of the whole output."""
        return len(self.order) * len(self.job.all_copies)

    @property
    def own(self) -> int:
        """Pictures of the whole output that this run has to care for: all, or a part's."""
        part = self.job.destination.part
        if part is None:
            return self.total
        lengths = shard_lengths(len(self.order), self.shard_size)
        return sum(lengths[part.index :: part.count]) * len(self.job.all_copies)

    @property
    def remaining(self) -> int:
        """Pictures this run has to make."""
        return sum(len(self.indices(shard)) * len(copies) for shard, copies in self.pending)


def plan_bake(job: BakeJob, warn: Warn, *, write: bool = True) -> BakePlan:
    """List the inputs, lay out the shards and see what is done already.

    warn    called with one line for each thing passed over
    write   whether a part may leave its listing in the output for the others; nothing else is
            written
    raises  InputError, StorageError
    """
    layout = _checked_layout(job)
    with shared(job, layout, warn, write=write) as found:
        laid_out = _laid_out(job, layout, found.listing, warn)
        if not job.destination.is_stream:
            job.destination.check(laid_out.run)
        kept = found.keep(laid_out.source)
        if kept is not None:
            laid_out = _instead(laid_out, kept)
    part = job.destination.part
    if job.destination.is_stream:
        laid_out = replace(laid_out, shard_size=STREAM_TASK)
        own = [s for s in range(laid_out.shards) if part is None or part.has(s)]
        return replace(laid_out, pending=tuple((s, (c,)) for c in job.all_copies for s in own))
    if job.destination.goes_on:
        # what is finished is not made smaller
        copies, plain = completion.finished_copies(job.output)
        job = replace(laid_out.job, copies=max(job.copies, copies), plain=max(job.plain, plain))
        laid_out = replace(laid_out, job=job)
    pending = tuple(row for row in unbaked(laid_out) if part is None or part.has(row[0]))
    plan = replace(laid_out, pending=pending)
    if job.destination.goes_on:
        _warn_of_changes(plan, warn)
    return plan


def _instead(plan: BakePlan, kept: Listing) -> BakePlan:
    """The plan with a listing that is read from the output, in place of one in memory."""
    return replace(
        plan,
        source=replace(kept.source, classes=plan.source.classes),
        order=replace(plan.order, shuffled=kept.order),
        naming=kept.naming,
    )


def _warn_of_changes(plan: BakePlan, warn: Warn) -> None:
    """Warn of inputs that were written after what is there of the output.

    An input's hash is over names and lengths: over the pictures themselves it would take as long as
    reading them all. So a picture that another of the same length has replaced shows by its time
    alone. Where the output or an input lies elsewhere there is no such time.

    Of a source that another part has listed, this part looks only at what it has baked itself: to
    look at all would take as long as listing them.
    """
    output = plan.job.destination
    if output.elsewhere is not None:
        return
    told = [output.folder / name for name in (MANIFEST, PLAN)]
    when = min((file.stat().st_mtime for file in told if file.is_file()), default=float("inf"))
    if when == float("inf"):
        return
    source: Iterable[PictureRef] = plan.source.pictures
    if isinstance(source, StoredPictures):
        source = _baked_before(plan)
    for name, pictures in (("SOURCE", source), ("mixing-set", plan.mixing.pictures)):
        newer = sorted(_written_after(pictures, when))
        if newer:
            some = f"{newer[0]} and {len(newer) - 1} more" if len(newer) > 1 else newer[0]
            warn(
                f"{some} of {name} changed after output {output.place} was begun: what is there "
                "was made of what they held then. Try: --overwrite, unless they hold the same"
            )


def _baked_before(plan: BakePlan) -> Iterator[PictureRef]:
    """The samples of this part of which any copy is there."""
    todo = {shard for shard, copies in plan.pending if len(copies) == len(plan.job.all_copies)}
    part = plan.job.destination.part
    for shard in range(plan.shards):
        if shard not in todo and (part is None or part.has(shard)):
            yield from (plan.source.pictures[index] for index in plan.indices(shard).tolist())


def _written_after(pictures: Iterable[PictureRef], when: float) -> set[str]:
    """The files of pictures that were written after a time, in seconds since 1970."""
    found, last = set[str](), ""
    for ref in pictures:
        if ref.path != last and not is_url(ref.path) and not spool.is_temporary(ref.path):
            with contextlib.suppress(OSError):
                if os.stat(ref.path).st_mtime > when:
                    found.add(ref.path)
        last = ref.path  # pictures of one tar follow each other
    return found


def lay_out(job: BakeJob, warn: Warn) -> BakePlan:
    """The plan without regard to what the output holds: nothing is pending, nothing written."""
    layout = _checked_layout(job)
    return _laid_out(job, layout, list_source(job, layout, warn), warn)


def _checked_layout(job: BakeJob) -> Format:
    """The layout of a job's output. Raises InputError for options that do not go together."""
    layout = FORMATS[job.files.format]
    _check_options(job, layout)
    if not job.destination.is_stream:
        _check_output_apart(job)
    return layout


def _laid_out(job: BakeJob, layout: Format, listing: Listing, warn: Warn) -> BakePlan:
    source = replace(listing.source, classes=layout.class_names(listing.source))
    mixing = open_mixing_set(job.inputs.mixing_sets, warn, job.inputs.mixing_weights)
    if STDIN in job.inputs.mixing_sets and job.running.mixing_cache is not None:
        # no later run reads it
        running = replace(job.running, mixing_cache=spool.new_file("cache"))
        job = replace(job, running=running)
    count = len(source.pictures)
    order = Order(count, count, listing.order)
    wanted = job.files.shard_size
    if isinstance(wanted, int):
        shard_size = wanted
    else:
        shard_size = layout.default_shard_size(count, job.config)
    run = run_plan(job, source, mixing)
    reference = _reference_draws(job, source, mixing)
    laid_out = BakePlan(job, source, mixing, order, shard_size, run, (), reference, listing.naming)
    if isinstance(wanted, Bytes):
        bytes_each = mean_bytes(context_of(laid_out, Path()), source) or wanted.count
        shard_size = min(count, max(1, int(wanted.count / bytes_each)))
    if (
        isinstance(wanted, Bytes) or layout.size_is_option
    ):  # else it follows from the other settings
        options = {**laid_out.run.options, "samples-a-shard": shard_size}
        laid_out = replace(
            laid_out, shard_size=shard_size, run=replace(laid_out.run, options=options)
        )
    length = _equalised(count, shard_size, job.files.equal)
    return replace(laid_out, order=replace(order, length=length))


def _check_options(job: BakeJob, layout: Format) -> None:
    """Refuse options that do not go together. Raises InputError."""
    name = job.files.format
    if not images.codec_available(job.files.image_format):
        raise InputError(f"this Pillow cannot write {job.files.image_format}", "--image-format png")
    if job.files.equal and not layout.sharded:
        raise InputError(
            f"--{job.files.equal} is for formats with shards, and {name} has none that show",
            f"--format {names_with('sharded')}",
        )
    if job.destination.is_stream and not layout.streams:
        raise InputError(f"-o - streams a tar, which --format {name} is not", "-o FOLDER")
    if job.files.dali_index and not layout.dali_index:
        raise InputError("--dali-index is for tars", f"--format {names_with('dali_index')}")
    if (job.inputs.source, *job.inputs.mixing_sets).count(STDIN) > 1:
        raise InputError("stdin can be read only once", "- for SOURCE or one --mixing-set")
    layout.check_available()


def _reference_draws(job: BakeJob, source: Source, mixing: MixingSet) -> ReferenceDraws | None:
    """The maker of draws in the published order; nothing is drawn yet. Raises InputError."""
    if job.draws != "reference":
        return None
    from pixmix_cli.pipelines.bake import reference_draws  # imports torch

    reference_draws.check(job.config, mixing, job.seed)
    return reference_draws.ReferenceDraws(job.config, source, mixing, job.seed)


def _equalised(count: int, shard_size: int, how: str | None) -> int:
    """How many samples make equal shards: repeated from the start, or left out at the end.

    raises  InputError when nothing would be left
    """
    if how == "pad":
        return -(-count // shard_size) * shard_size
    if how == "drop-last":
        if count < shard_size:
            raise InputError(
                f"--drop-last would leave nothing: {count} samples are no whole shard of "
                f"{shard_size}",
                f"--shard-size {count} or less, or --pad",
            )
        return count // shard_size * shard_size
    return count


def _check_output_apart(job: BakeJob) -> None:
    """Refuse an output inside an input: the next run would take it for more input."""
    inputs = [
        ("SOURCE", job.inputs.source),
        *(("the mixing set", path) for path in job.inputs.mixing_sets),
    ]
    for name, path in inputs:
        if path != STDIN and is_inside(job.destination.place, path):
            raise InputError(
                f"output {job.output} lies inside {name} {path}", "an --output somewhere else"
            )


def unbaked(plan: BakePlan) -> Iterator[tuple[int, tuple[Copy, ...]]]:
    """Which copies of which shards are to be made: all, or where a run goes on the missing ones."""
    job = plan.job
    lengths = shard_lengths(len(plan.order), plan.shard_size)
    return completion.unbaked(
        job.output if job.destination.goes_on else None, plan.format, lengths, job.all_copies
    )


def tasks(plan: BakePlan) -> Iterator[ShardTask]:
    """What is pending, shard by shard."""
    naming = plan.format.naming(plan.source) if plan.naming is None else plan.naming
    targets = plan.format.targets(plan.source, naming)
    made: dict[int, list[str]] = {}
    if plan.reference is not None and plan.pending:
        wanted = {copy.number for _, copies in plan.pending for copy in copies}
        made = {number: plan.reference.of(number) for number in sorted(wanted)}
    for shard, copies in plan.pending:
        mine = sorted({copy.number for copy in copies} & set(made))
        samples = tuple(
            Sample(
                index=index,
                ref=plan.source.pictures[index],
                label=plan.source.labels[index],
                target=targets[index] if targets is not None else "",
                pad=place // len(plan.source.pictures),
                records=tuple((number, made[number][index]) for number in mine),
            )
            for place, index in enumerate(plan.indices(shard).tolist(), shard * plan.shard_size)
        )
        yield ShardTask(shard, copies, samples)


def describe_task(task: ShardTask) -> str:
    """A task's name in an error message."""
    return f"shard {task.shard} ({task.samples[0].ref.name} to {task.samples[-1].ref.name})"


def context_of(plan: BakePlan, tmp: Tmp) -> Context:
    """What the workers of this plan need; their partial files go to tmp."""
    return Context(
        config=plan.job.config,
        job=plan.job,
        format=plan.format,
        mixing=plan.mixing,
        classes=plan.source.classes,
        tmp=tmp,
        mixing_key=_mixing_key(plan),
    )


def _mixing_key(plan: BakePlan) -> str:
    """The mixing set's place in the cache of decoded pictures, with room made for it."""
    job = plan.job
    if job.running.mixing_cache is None:
        return ""
    return cache_key(
        plan.mixing, job.config.mixing_size, job.inputs.max_pixels, job.running.mixing_cache
    )
