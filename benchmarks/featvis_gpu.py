"""Feature visualizations on a GPU: pictures a second by model, layer and batch size.

    python -m benchmarks.featvis_gpu --models googlenet:inception4c resnet50:layer3 --count 1024

Random weights (the arithmetic is the same), 128 px, 64 steps, end to end in memory; the first
batch warms up and is not counted. Prints one JSON line a case.
"""

from __future__ import annotations

import argparse
import json
import time

import numpy as np
import torch

from featvis import FeatVisConfig, Layer, Network, list_layers, load_network
from featvis.render import render


def render_batch(network: Network, layer: Layer, config: FeatVisConfig, first: int) -> None:
    numbers = range(first, first + config.batch_size)
    rngs = [np.random.default_rng(number) for number in numbers]
    render(network, layer, [number % layer.channels for number in numbers], config, rngs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["googlenet:inception4c", "resnet50:layer3"])
    parser.add_argument("--count", type=int, default=1024)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=64)
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    for case in arguments.models:
        model, _, layer_name = case.partition(":")
        network = load_network(model, "random", device=device)
        layer = next(layer for layer in list_layers(network) if layer.name == layer_name)
        for batch in arguments.batch_sizes:
            config = FeatVisConfig(size=arguments.size, steps=arguments.steps, batch_size=batch)

            render_batch(network, layer, config, 0)
            begin = time.perf_counter()
            batches = max(1, arguments.count // batch)
            for number in range(batches):
                render_batch(network, layer, config, (number + 1) * batch)
            seconds = time.perf_counter() - begin
            record = {
                "device": name, "torch": torch.__version__, "model": model, "layer": layer_name,
                "batch": batch, "n": batches * batch, "size": arguments.size,
                "steps": arguments.steps,
                "pictures_per_second": round(batches * batch / seconds, 1),
            }  # fmt: skip
            print(json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
