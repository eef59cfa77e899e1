"""generate-fractals: picture i is a function of the seed, i and the settings alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli import kernel_cache
from pixmix_cli.pipelines import mixing_set
from pixmix_cli.pipelines.mixing_set import Made, MixingSetJob, Plan, Task
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.storage import images
from pixmix_cli.storage.files import canonical_json
from pixmix_cli.storage.output import RunPlan

if TYPE_CHECKING:
    from fractals.config import FractalConfig

ALGORITHM = "3"  # raise it when the same seed would give other pictures
TASK_PIXELS = 4 * 512 * 512  # pixels a task: about a third of a second
TASK_PICTURES = 8  # and no more pictures than this: small ones cost their search


@dataclass(frozen=True, slots=True)
class FractalMaker:
    """Makes fractals in a worker."""

    config: FractalConfig
    seed: int

    def __call__(self, task: Task) -> list[Made]:
        """The task's fractals."""
        kernel_cache.import_numba()
        from fractals import generate_fractal

        made = []
        for index in task.indices:
            fractal = generate_fractal(self.config, rng_for(self.seed, Stream.FRACTALS, index))
            kinds = [layer["kind"] for layer in fractal.recipe["layers"]]
            facts = {"layers": kinds, "rejected": fractal.rejected}
            made.append(Made(index, fractal.pixels, fractal.recipe, facts))
        return made


def plan(config: FractalConfig, count: int, job: MixingSetJob) -> Plan:
    """Check the output and settle what is to be made; writes nothing.

    raises  InputError and its kin
    """
    options, versions = mixing_set.storage_options(job)
    options |= {"size": config.size, "kind": config.kind}
    options["points-per-pixel"] = config.points_per_pixel
    run = RunPlan("generate-fractals", options, {"fractals": ALGORITHM, **versions}, {})
    here = mixing_set.pending_pictures(job, run, count, TASK_PICTURES)
    return Plan(
        job=job,
        run=run,
        total=count,
        own=here.own,
        pending=here.pending,
        make_maker=FractalMaker,
        maker_context=(config, job.seed),
        tasks=lambda pending: _tasks(pending, config.size),
        compile=compile_kernels,
    )


def compile_kernels() -> None:
    """Fill Numba's cache before workers start, so that it is done once."""
    kernel_cache.import_numba()
    from fractals import warm_up

    warm_up()


def _tasks(pending: NDArray[np.int64], size: int) -> Iterator[Task]:
    each = max(1, min(TASK_PICTURES, TASK_PIXELS // (size * size)))
    for begin in range(0, len(pending), each):
        yield Task(tuple(pending[begin : begin + each].tolist()))


def describe(plan: Plan) -> dict[str, Any]:
    """What a run would do; makes up to three pictures in memory to estimate the bytes."""
    maker = plan.make_maker(*plan.maker_context)
    samples = [made for task in plan.tasks(plan.pending[:3]) for made in maker(task)]
    sizes = [
        len(
            images.encode(
                made.pixels, plan.job.image_format, plan.job.quality, canonical_json(made.recipe)
            )
        )
        for made in samples
        if made.pixels is not None
    ]
    return mixing_set.describe(plan, sum(sizes) / len(sizes) if sizes else 0.0)
