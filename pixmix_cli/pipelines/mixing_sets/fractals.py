"""generate-fractals: picture i is a function of the seed, i and the settings alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.pipelines.mixing_sets.job import Made, MixingSetJob, PictureTask
from pixmix_cli.pipelines.mixing_sets.plan import (
    MixingSetPlan,
    at_least_finished,
    describe_set,
    pending_pictures,
    storage_options,
)
from pixmix_cli.pipelines.mixing_sets.tone import UNTONED
from pixmix_cli.seeding import Stream, rng_for

if TYPE_CHECKING:
    from fractals.config import FractalConfig

ALGORITHM = "4"  # raise it when the same seed would give other pictures
TASK_PIXELS = 4 * 512 * 512  # pixels a task: about a third of a second
TASK_PICTURES = 8  # and no more pictures than this: small ones cost their search


@dataclass(frozen=True, slots=True)
class FractalMaker:
    """Makes fractals in a worker."""

    config: FractalConfig
    seed: int

    @staticmethod
    def preload(*_: Any) -> None:
        """Import what fractals need."""
        from fractals import generate_fractal  # noqa: F401

    def __call__(self, task: PictureTask) -> list[Made]:
        """The task's fractals."""
        from fractals import generate_fractal

        made = []
        for index in task.indices:
            fractal = generate_fractal(self.config, rng_for(self.seed, Stream.FRACTALS, index))
            kinds = [layer["kind"] for layer in fractal.recipe["layers"]]
            facts = {"layers": kinds, "rejected": fractal.rejected}
            made.append(Made(index, fractal.pixels, fractal.recipe, facts))
        return made


def plan_fractals(config: FractalConfig, count: int, job: MixingSetJob) -> MixingSetPlan:
    """Check the output and settle what is to be made; writes nothing.

    raises  InputError and its kin
    """
    options, versions = storage_options(job)
    options |= {"size": config.size, "kind": config.kind}
    options["points-per-pixel"] = config.points_per_pixel
    versions = {"fractals": ALGORITHM, **versions}
    run = RunPlan("generate-fractals", options, versions, {}, defaults=UNTONED)
    count = at_least_finished(job, count)
    here = pending_pictures(job, run, count, TASK_PICTURES)
    return MixingSetPlan(
        job=job,
        run=run,
        total=count,
        own=here.own,
        pending=here.pending,
        make_maker=FractalMaker,
        maker_context=(config, job.seed),
        tasks=lambda pending: _tasks(pending, config.size),
    )


def _tasks(pending: NDArray[np.int64], size: int) -> Iterator[PictureTask]:
    each = max(1, min(TASK_PICTURES, TASK_PIXELS // (size * size)))
    for begin in range(0, len(pending), each):
        yield PictureTask(tuple(pending[begin : begin + each].tolist()))


DESCRIBED = 2  # tasks really done for an estimate: a few pictures, of large ones fewer


def describe_fractals(plan: MixingSetPlan) -> dict[str, Any]:
    """What a run would do; makes a few pictures in memory to estimate bytes and time.

    returns  as `describe_set`; the time supposes that each worker has a core to itself
    """
    maker = plan.make_maker(*plan.maker_context)
    job = plan.job
    for task in plan.tasks(plan.pending[:1]):  # also waits for compiled kernels
        maker(task)
    sizes: list[int] = []
    begin = time.process_time()
    for task in islice(plan.tasks(plan.pending), DESCRIBED):
        for made in maker(task):
            if made.pixels is not None:
                sizes.append(len(job.encode(made.pixels, made.recipe)))
    number = max(1, len(sizes))
    seconds = (time.process_time() - begin) / number
    return describe_set(plan, sum(sizes) / number, seconds)
