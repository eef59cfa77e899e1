"""Feature visualizations on a GPU: pictures a second by model, layer and batch size.

    python -m benchmarks.featvis_gpu --models googlenet:inception4c resnet50:layer3 --count 1024
    python -m benchmarks.featvis_gpu --models googlenet:inception4c --lucent 3 --minutes 5
    python -m benchmarks.featvis_gpu --smoke        # any machine, seconds

Random weights (the arithmetic is the same), 128 px, 64 steps, end to end in memory; the first
batch warms up and is not counted. With --lucent N also N pictures by lucent 0.1.8 on the same
device, at its defaults of 512 steps; --lucent wants its package, as `make bench-featvis` installs
it (on a machine without a network: `pip install --target peers` elsewhere, and PYTHONPATH=peers).
Where it is missing the records say so. After --minutes no further case is begun.
Prints one JSON line a case: pictures a second, the tera-operations a second of the network's
forward and backward passes that this makes, and the GPU memory at its peak.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.featvis import THEIR_STEPS, lucent_picture
from featvis import FeatVisConfig, Layer, Network, list_layers, load_network
from featvis.render import render


def render_batch(network: Network, layer: Layer, config: FeatVisConfig, first: int) -> None:
    """One batch, beginning with channel `first`."""
    numbers = range(first, first + config.batch_size)
    rngs = [np.random.default_rng(number) for number in numbers]
    render(network, layer, [number % layer.channels for number in numbers], config, rngs)


def operations_a_step(network: Network, layer: Layer, config: FeatVisConfig) -> float:
    """Multiplications and additions of the network's two passes, for one picture and step."""
    counts = []
    for steps in (1, 1, 2):  # the first also looks at the network
        with FlopCounterMode(display=False) as counter:
            render_batch(network, layer, replace(config, steps=steps, batch_size=2), 0)
        counts.append(counter.get_total_flops())
    return (counts[2] - counts[1]) / 2


def lucent_seconds(model: str, layer: str, pictures: int, steps: int) -> list[float]:
    """Seconds of each picture by lucent, whose own choice of device is the first GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    network = load_network(model, "random", device=device).model.requires_grad_(True)
    objective = layer.replace(".", "_")
    lucent_picture(network, f"{objective}:0", 2)
    seconds = []
    for channel in range(1, pictures + 1):
        begin = time.perf_counter()
        lucent_picture(network, f"{objective}:{channel}", steps)
        seconds.append(time.perf_counter() - begin)
    return seconds


SMOKE = {
    "models": ["squeezenet1_1:features.4"], "count": 2, "batch_sizes": [2], "size": 32, "steps": 2,
    "lucent": 1, "lucent_steps": 2,
}  # fmt: skip


def main(words: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["googlenet:inception4c", "resnet50:layer3"])
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--lucent", type=int, default=0, help="so many pictures by lucent")
    parser.add_argument("--lucent-steps", type=int, default=THEIR_STEPS)
    parser.add_argument("--minutes", type=float, default=60, help="begin no case after them")
    parser.add_argument("--smoke", action="store_true", help="one tiny case")
    arguments = parser.parse_args(words)
    if arguments.smoke:
        parser.set_defaults(**SMOKE)
        arguments = parser.parse_args(words)
    end = time.monotonic() + 60 * arguments.minutes
    has_lucent = importlib.util.find_spec("lucent") is not None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    for case in arguments.models:
        model, _, layer_name = case.partition(":")
        network = load_network(model, "random", device=device)
        layer = next(layer for layer in list_layers(network) if layer.name == layer_name)
        theirs = []
        if arguments.lucent and has_lucent:
            theirs = lucent_seconds(model, layer_name, arguments.lucent, arguments.lucent_steps)
        for batch in arguments.batch_sizes:
            if time.monotonic() > end:
                print(f"no time left for {case} in batches of {batch}", file=sys.stderr)
                continue
            config = FeatVisConfig(size=arguments.size, steps=arguments.steps, batch_size=batch)
            operations = operations_a_step(network, layer, config)
            render_batch(network, layer, config, 0)
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            begin = time.perf_counter()
            batches = max(1, arguments.count // batch)
            for number in range(batches):
                render_batch(network, layer, config, (number + 1) * batch)
            rate = batches * batch / (time.perf_counter() - begin)
            record: dict[str, Any] = {
                "device": name, "torch": torch.__version__, "model": model, "layer": layer_name,
                "batch": batch, "n": batches * batch, "size": arguments.size,
                "steps": arguments.steps, "pictures_per_second": round(rate, 2),
                "tera_operations_per_second": round(rate * arguments.steps * operations / 1e12, 3),
            }  # fmt: skip
            if device == "cuda":
                record["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            if theirs:
                record["lucent_seconds"] = [round(s, 2) for s in theirs]
                record["lucent_steps"] = arguments.lucent_steps
                record["ratio"] = round(statistics.median(theirs) * rate, 1)
            elif arguments.lucent:
                record["lucent"] = "not installed"
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
