"""What feature visualizations would cost, for --dry-run and doctor: a few are made, and timed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from featvis.config import FeatVisConfig
from featvis.precision import choose
from pixmix_cli.pipelines.mixing_sets.featvis import Batch, FeatVisMaker, NetworkChoice
from pixmix_cli.pipelines.mixing_sets.job import PictureTask
from pixmix_cli.pipelines.mixing_sets.plan import MixingSetPlan, describe_set

FINISHED = 2  # pictures made to the end, for their bytes: those of a half-made one tell little
STEPS = 4  # of the batches that are only timed
LAYERS = 6  # of which a batch is timed: deeper ones take longer
LOOKED_AT = 64  # tasks, to find so many


def describe_featvis(plan: MixingSetPlan) -> dict[str, Any]:
    """What a run would do; makes two pictures and a few steps of some batches to estimate.

    returns  as `describe_set`, and `precision`; the time supposes that each worker has a core, or
             a GPU, to itself
    """
    choice, config, seed, kind, group = plan.maker_context
    precision = {"precision": str(choose(config.precision, choice.device))}
    if not plan.remaining:
        return describe_set(plan, 0.0, 0.0) | precision
    tasks = list(_layer_by_layer(plan))
    sizes = []
    for one in _finished(tasks[0], choice, config, seed, kind, group):
        if one.pixels is not None:
            sizes.append(len(plan.job.encode(one.pixels, one.recipe)))
    maker = FeatVisMaker(choice, _shortened(config), seed, kind, group)
    seconds = pictures = 0.0
    for task in tasks:
        if choice.device != "cpu":
            maker(task)  # a GPU's first batch of a shape waits for its kernels
        seconds += _timed(maker, task, choice.device)
        pictures += len(task.indices)
    seconds *= config.steps / min(STEPS, config.steps)
    size = sum(sizes) / len(sizes) if sizes else None
    return describe_set(plan, size, seconds / pictures) | precision


def pictures_a_second(device: str) -> float:
    """How many pictures of 128 px the network that comes with pixmix makes, of one core or GPU.

    device  "cpu", "cuda" or "mps"
    """
    from featvis import list_layers, load_network
    from featvis.shipped import OWN_MODEL, OWN_WEIGHTS
    from featvis.targets import Target

    config = FeatVisConfig(size=128, batch_size=8 if device == "cpu" else 256)
    network = load_network(OWN_MODEL, OWN_WEIGHTS, device="cpu")
    layer = [layer for layer in list_layers(network) if len(layer.shape) > 1][-1]
    count = config.batch_size
    targets = tuple(Target(layer.name, (index % layer.channels,)) for index in range(count))
    task = PictureTask(tuple(range(count)), Batch(layer.name, tuple(range(count)), targets))
    choice = NetworkChoice(OWN_MODEL, OWN_WEIGHTS, device, seed=0)
    maker = FeatVisMaker(choice, _shortened(config), 0, "channel", 1)
    maker(task)
    return count / (_timed(maker, task, device) * config.steps / STEPS)


def _layer_by_layer(plan: MixingSetPlan) -> Iterator[PictureTask]:
    """A task of each of the first few layers."""
    seen: set[str] = set()
    for task in islice(plan.tasks(plan.pending), LOOKED_AT):
        if task.payload.layer not in seen and len(seen) < LAYERS:
            seen.add(task.payload.layer)
            yield task


def _finished(
    task: PictureTask,
    choice: NetworkChoice,
    config: FeatVisConfig,
    seed: int,
    kind: str,
    group: int,
) -> list[Any]:
    """The first pictures of a task, in a batch of their own."""
    whole, count = task.payload, group * max(1, FINISHED // group)
    part = Batch(whole.layer, whole.members[:count], whole.targets[:count], whole.starts[:count])
    small = replace(config, batch_size=count)
    return FeatVisMaker(choice, small, seed, kind, group)(PictureTask(part.members, part))


def _shortened(config: FeatVisConfig) -> FeatVisConfig:
    """The same with a few steps only, of which as large a share revives."""
    steps = min(STEPS, config.steps)
    revive = round(min(1.0, config.revive_steps / config.steps) * steps)
    return replace(config, steps=steps, revive_steps=revive, max_restarts=0)


def _timed(maker: FeatVisMaker, task: PictureTask, device: str) -> float:
    """Seconds of one batch: of the processor, where that makes it."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    begin = clock()
    maker(task)
    return clock() - begin
