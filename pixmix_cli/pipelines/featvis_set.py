"""render-featvis: many (layer, channel) targets of one network, batch by batch.

Picture i shows target i of the plan and starts from noise drawn for i alone. On the CPU in float32
its bytes depend on neither its batch nor its worker (one thread a worker, batches padded to the
recorded batch size).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.pipelines import mixing_set
from pixmix_cli.pipelines.mixing_set import Made, MixingSetJob, Plan, Task
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.storage.output import RunPlan

if TYPE_CHECKING:
    from featvis.config import FeatVisConfig
    from featvis.layers import Layer, Target

ALGORITHM = "1"  # raise it when the same seed would give other pictures


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """Which network, with which weights, where."""

    model: str
    weights: str
    device: str  # resolved: "cpu", "cuda", "mps"
    seed: int  # for --weights random


class FeatVisMaker:
    """Optimises pictures in a worker."""

    def __init__(self, choice: NetworkChoice, config: FeatVisConfig, seed: int) -> None:
        """Load the network once."""
        import torch

        from featvis import list_layers, load_network

        if choice.device == "cpu":
            torch.set_num_threads(1)  # the number of threads changes float sums
        self._network = load_network(
            choice.model, choice.weights, device=choice.device, seed=choice.seed
        )
        self._layers = {layer.name: layer for layer in list_layers(self._network)}
        self._config = config
        self._seed = seed

    def __call__(self, task: Task) -> list[Made]:
        """One batch: task.payload is (layer name, channels)."""
        from featvis.render import render

        layer, channels = task.payload
        rngs = [rng_for(self._seed, Stream.FEATVIS, index) for index in task.indices]
        rendered = render(self._network, self._layers[layer], channels, self._config, rngs)
        made = []
        for position, (index, channel) in enumerate(zip(task.indices, channels)):
            facts = {"channel": int(channel), "layer": layer}
            if rendered.grey[position]:
                reason = f"{layer} channel {channel} stays grey from every start"
                made.append(Made(index, None, facts=facts, error=reason))
                continue
            recipe = {
                "version": 1,
                "model": self._network.name,
                "weights": self._network.weights_id,
                "seed": self._seed,
                "index": index,
                **facts,
                "config": asdict(self._config),
            }
            made.append(Made(index, rendered.pixels[position], recipe, facts))
        return made


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which targets the user asked for."""

    layers: tuple[str, ...]
    channels: str | None
    count: int | None


def plan(
    choice: NetworkChoice,
    wishes: Wishes,
    config: FeatVisConfig,
    job: MixingSetJob,
    show_download: bool = False,
) -> Plan:
    """Load the network, choose the targets, check the output; writes nothing.

    show_download  torch.hub's progress bar on stderr, where weights have to be fetched
    raises  FeatVisError and its kin from featvis; InputError and its kin
    """
    import torch
    import torchvision

    from featvis import list_layers, load_network, plan_targets, select_layers

    network = load_network(
        choice.model, choice.weights, device="cpu", seed=choice.seed, progress=show_download
    )
    layers = select_layers(list_layers(network), wishes.layers)
    rng = rng_for(job.seed, Stream.FEATVIS_PLAN)
    targets = plan_targets(layers, wishes.channels, wishes.count, rng)
    options, versions = mixing_set.storage_options(job)
    options |= {
        "model": choice.model,
        "weights": network.weights_id,
        "layers": list(wishes.layers),
        "channels": wishes.channels or "all",
        "device": choice.device,
        "all-channels": wishes.count is None,
    }
    options |= {name.replace("_", "-"): value for name, value in asdict(config).items()}
    versions |= {
        "featvis": ALGORITHM,
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
    run = RunPlan("render-featvis", options, versions, {})
    return Plan(
        job=job,
        run=run,
        total=len(targets),
        pending=mixing_set.pending_pictures(job, run, len(targets)),
        make_maker=FeatVisMaker,
        maker_context=(choice, config, job.seed),
        tasks=lambda pending: batches(pending, targets, len(layers), config.batch_size),
        overlapped=choice.device != "cpu",
        made_with={"torch": torch.__version__, "torchvision": torchvision.__version__},
    )


def batches(
    pending: NDArray[np.int64], targets: list[Target], layers: int, batch_size: int
) -> Iterator[Task]:
    """Tasks of up to batch_size targets of one layer each.

    pending  indices into targets, rising
    layers   how many layers the targets go round; a window of layers * batch_size neighbours fills
             a batch of each, so that pictures are finished nearly in order
    """
    window = max(1, layers) * batch_size
    begin = 0
    while begin < len(pending):
        number = pending[begin] // window
        end = int(np.searchsorted(pending, (number + 1) * window))
        by_layer: dict[str, list[int]] = {}
        for index in pending[begin:end].tolist():
            by_layer.setdefault(targets[index].layer, []).append(index)
        for layer, indices in by_layer.items():
            for first in range(0, len(indices), batch_size):
                chosen = tuple(indices[first : first + batch_size])
                yield Task(chosen, (layer, tuple(targets[i].channel for i in chosen)))
        begin = end


def layer_rows(choice: NetworkChoice, weights_are_local: bool) -> Iterator[dict[str, Any]]:
    """A row for each layer of a network, without downloading anything.

    weights_are_local  read the head's size from the checkpoint
    """
    from featvis import layers_of, list_layers, load_network

    found: list[Layer]
    if weights_are_local:
        found = list_layers(load_network(choice.model, choice.weights, device="cpu"))
    else:
        found = layers_of(choice.model)
    for layer in found:
        yield {
            "path": layer.name,
            "layer": layer.name,
            "kind": layer.kind,
            "channels": layer.channels,
            "shape": list(layer.shape),
            "cost": round(layer.cost, 4),
        }


def describe(plan: Plan) -> dict[str, Any]:
    """What a run would do. Bytes are not estimated: a single picture takes seconds."""
    return mixing_set.describe(plan, None)
