"""What a bake would do and cost, for --dry-run: a few samples are really baked, and timed."""

from __future__ import annotations

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.rows import BakedRow
from pixmix_cli.pipelines.bake.job import Copy, ShardTask
from pixmix_cli.pipelines.bake.plan import BakePlan, context_of, tasks
from pixmix_cli.pipelines.bake.worker import Baker
from pixmix_cli.storage import spool

F64 = NDArray[np.float64]

SAMPLES_AT_224 = 64  # enough for 5 % of the mean bytes of photographs; fewer of larger pictures
FEWEST, MOST = 6, 256
SHARDS = 8  # that they are taken from
COPIES = 4  # of each kind: enough to tell what a copy costs from what a sample does


@dataclass(frozen=True, slots=True)
class Cost:
    """What the pictures still to make cost, as measured now on a few.

    bytes    of its files, shared parts of files included
    seconds  of one core; reading from disk or network is not waited for
    """

    bytes: float
    seconds: float


def describe_bake(plan: BakePlan) -> dict[str, Any]:
    """What a run of this plan would do, for --dry-run.

    returns  counts of items, and `estimated_bytes` and `estimated_seconds` for the pictures still
             to make; the time supposes that each worker has a core to itself
    """
    job = plan.job
    cost = cost_of(plan)
    return {
        "path": str(job.destination.place),
        "samples": len(plan.order),
        "classes": len(plan.source.classes),
        "mixing_pictures": len(plan.mixing.pictures),
        "copies": job.copies,
        "plain": job.plain,
        "pictures": plan.own,
        "done_already": plan.own - plan.remaining,
        "shards": plan.shards * len(job.all_copies),
        "shard_size": plan.shard_size,
        "estimated_bytes": round(cost.bytes),
        "estimated_seconds": round(cost.seconds / job.running.workers, 1),
    }


def cost_of(plan: BakePlan) -> Cost:
    """Bake a few samples of what is pending as a worker would, into a temporary folder.

    raises  PixMixError, as a bake of them
    """
    if not plan.pending:
        return Cost(0, 0)
    samples = int(min(max(SAMPLES_AT_224 * (224 / plan.job.config.size) ** 2, FEWEST), MOST))
    chosen = _spread(plan, samples)
    staging = spool.new_file("dry-run")
    try:
        for folder in (staging, staging / "tmp"):
            folder.mkdir()
        job = replace(plan.job, destination=Destination(staging / "out"))
        baker = Baker(replace(context_of(plan, staging / "tmp"), job=job))
        seconds, sizes = _measured(baker, chosen, _few_of_each_kind(plan))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    lengths: Counter[tuple[int, int, int]] = Counter()
    for shard, copies in plan.pending:
        lengths[_parts(copies)] += len(plan.indices(shard))
    pending = np.array(list(lengths)).T @ np.array(list(lengths.values()))
    return Cost(float(pending @ sizes), float(pending @ seconds))


def _measured(
    baker: Baker, chosen: list[ShardTask], kinds: list[tuple[Copy, ...]]
) -> tuple[F64, F64]:
    """Seconds and bytes of each part of a sample, as `_parts` has them.

    kinds  a few copies of one kind each
    """
    together = tuple(itertools.chain(*kinds))
    _bake(baker, chosen, together)  # waits for kernels, and for mixing pictures to be decoded
    count = sum(len(task.samples) for task in chosen)
    sizes, mixes, means = np.zeros(3), [], []
    for copies in dict.fromkeys((*(few[:1] for few in kinds), *kinds, together)):
        seconds, size, made = _bake(baker, chosen, copies)
        mixes.append(_parts(copies))
        means.append(seconds / count)
        if copies in kinds:
            sizes[2 if copies[0].plain else 1] = size / max(1, made)
    # a sample's seconds = reading it once + each copy by its kind
    parts, *_ = np.linalg.lstsq(np.array(mixes, float), np.array(means), rcond=None)
    return np.maximum(parts, 0.0), sizes  # what is small may come out as less than nothing


def _few_of_each_kind(plan: BakePlan) -> list[tuple[Copy, ...]]:
    """The first augmented copies that are pending, and the first plain ones; no empty kind."""
    pending = {copy for _, copies in plan.pending for copy in copies}
    ordered = sorted(pending, key=lambda copy: copy.code)
    by_kind = itertools.groupby(ordered, lambda copy: copy.plain)
    return [tuple(itertools.islice(copies, COPIES)) for _, copies in by_kind]


def _parts(copies: Sequence[Copy]) -> tuple[int, int, int]:
    """What a sample takes of which these copies are made: (readings, augmented, plain copies)."""
    plain = sum(copy.plain for copy in copies)
    return 1, len(copies) - plain, plain


def _spread(plan: BakePlan, samples: int) -> list[ShardTask]:
    """Tasks of about so many samples, evenly spaced over the pending shards."""
    places = np.linspace(0, len(plan.pending) - 1, SHARDS).round().astype(int)
    pending = tuple(plan.pending[place] for place in dict.fromkeys(places.tolist()))
    share = -(-samples // len(pending))
    return [
        replace(task, samples=task.samples[:: max(1, len(task.samples) // share)][:share])
        for task in tasks(replace(plan, pending=pending))
    ]


def _bake(baker: Baker, chosen: list[ShardTask], copies: Sequence[Copy]) -> tuple[float, int, int]:
    """(seconds of processor time, bytes, pictures) of these tasks."""
    begin = time.process_time()
    made = [baker(replace(task, copies=tuple(copies)))[0] for task in chosen]
    seconds = time.process_time() - begin
    rows = [row for row in itertools.chain(*made) if isinstance(row, BakedRow)]
    return seconds, sum(row.bytes for row in rows), sum(row.pictures for row in rows)
