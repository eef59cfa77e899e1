"""What a run that makes a mixing set will do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.run_plan import RunPlan, look
from pixmix_cli.pipelines.mixing_sets.completion import finished_pictures, unmade
from pixmix_cli.pipelines.mixing_sets.job import Maker, MixingSetJob, PictureTask
from pixmix_cli.pipelines.mixing_sets.registry import SET_FORMATS
from pixmix_cli.pipelines.mixing_sets.tone import recorded
from pixmix_cli.storage import images


@dataclass(frozen=True, slots=True)
class MixingSetPlan:
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
    tasks: Callable[[NDArray[np.int64]], Iterable[PictureTask]]
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
    options |= recorded(job.contrast, job.saturation)  # nothing, as outputs have it begun without
    options |= SET_FORMATS[job.format].options(job)
    return options, images.codec(job.image_format)


@dataclass(frozen=True, slots=True)
class Pending:
    """What a run has to care for, and what of it is still to make."""

    own: int
    pending: NDArray[np.int64]


def at_least_finished(job: MixingSetJob, total: int) -> int:
    """The pictures that are wanted, or those that a run which is gone on with has finished."""
    destination = job.destination
    if destination.is_stream or not destination.goes_on:
        return total
    return max(total, finished_pictures(destination.folder))


def recorded_versions(job: MixingSetJob) -> dict[str, str]:
    """The versions that the output records of a run which is gone on with; none of a new one.

    raises  InputError for an output that pixmix did not write
    """
    destination = job.destination
    if destination.is_stream or not destination.goes_on:
        return {}
    plan = look(destination.folder).plan
    return {} if plan is None else plan["versions"]


def pending_pictures(
    job: MixingSetJob, run: RunPlan, total: int, together: int = 1, least: int = 1
) -> Pending:
    """Check the output and list the pictures that are not in it yet.

    together  pictures that are best made by one run, where several share the work
    least     pictures that have to be
    raises    OutputExistsError, ResumeMismatchError, InputError
    """
    layout, destination = SET_FORMATS[job.format], job.destination
    own, part = np.ones(total, bool), destination.part
    if part is not None:
        unit = layout.unit(job, part, total, together, least)
        own = np.arange(total) // unit % part.count == part.index
    wanted = own
    if not destination.is_stream:
        destination.check(run)
        if destination.goes_on:
            wanted = own & unmade(destination.folder, total, layout, job.shard_size, settled=False)
    return Pending(int(own.sum()), np.flatnonzero(wanted))


def describe_set(
    plan: MixingSetPlan, bytes_each: float | None, seconds_each: float | None = None
) -> dict[str, Any]:
    """What a run of this plan would do, for --dry-run.

    bytes_each    expected bytes a picture, or None where nothing was measured
    seconds_each  expected seconds of one worker a picture, or None
    """
    job = plan.job
    record: dict[str, Any] = {
        "path": str(job.destination.place),
        "pictures": plan.own,
        "done_already": plan.own - plan.remaining,
    }
    record |= SET_FORMATS[job.format].described(job, plan.own)
    if bytes_each is not None:
        record["estimated_bytes"] = round(bytes_each * plan.remaining)
    if seconds_each is not None:
        record["estimated_seconds"] = round(seconds_each * plan.remaining / job.workers, 1)
    return record
