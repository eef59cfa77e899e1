"""What a bake would do and cost, for --dry-run: a few samples are really baked, and timed."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.rows import BakedRow
from pixmix_cli.pipelines.bake.job import Copy, ShardTask
from pixmix_cli.pipelines.bake.plan import BakePlan, context_of, tasks
from pixmix_cli.pipelines.bake.worker import Baker
from pixmix_cli.storage import spool

SAMPLES_AT_224 = 64  # enough for 5 % of the mean bytes of photographs; fewer of larger pictures
FEWEST, MOST = 6, 256
SHARDS = 8  # that they are taken from
COPIES = 4  # of each: enough to tell what a copy costs from what a sample does


@dataclass(frozen=True, slots=True)
class Cost:
    """What one picture of the output costs, as measured now on a few.

    bytes    of its file, shared parts of the file included
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
        "estimated_bytes": round(cost.bytes * plan.remaining),
        "estimated_seconds": round(cost.seconds * plan.remaining / job.running.workers, 1),
    }


def cost_of(plan: BakePlan) -> Cost:
    """Bake a few samples of what is pending as a worker would, into a temporary folder.

    raises  PixMixError, as a bake of them
    """
    if not plan.pending:
        return Cost(0, 0)
    copies = plan.job.all_copies
    few = copies[: min(len(copies), COPIES)]
    samples = int(min(max(SAMPLES_AT_224 * (224 / plan.job.config.size) ** 2, FEWEST), MOST))
    chosen = _spread(plan, samples)
    staging = spool.new_file("dry-run")
    try:
        for folder in (staging, staging / "tmp"):
            folder.mkdir()
        job = replace(plan.job, destination=Destination(staging / "out"))
        baker = Baker(replace(context_of(plan, staging / "tmp"), job=job))
        _bake(baker, chosen, few)  # waits for kernels, and for mixing pictures to be decoded
        many, size, made = _bake(baker, chosen, few)
        count = sum(len(task.samples) for task in chosen)
        if len(few) < len(copies):
            # seconds of a sample = reading it once + each copy of it
            one, _, _ = _bake(baker, chosen, few[:1])
            a_copy = (many - one) / (len(few) - 1)
            many += max(0.0, a_copy) * (len(copies) - len(few))
        return Cost(size / max(1, made), many / count / len(copies))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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
