"""render-featvis against lucent 0.1.8, on one CPU core, in one run.

    pip install torch-lucent==0.1.8 --no-deps && pip install 'kornia==0.4.1' --no-deps
    pip install decorator ipython
    python -m benchmarks.featvis [speed transfer precision grey pace] [--weights-a FILE ...]

speed     a finished 128 px picture each of a channel of resnet18's layer3, random weights (and of
          squeezenet1_1's features.9 where --weights-a names a checkpoint): lucent's defaults,
          512 steps, against ours, 64. CPU seconds of one thread.
transfer  ImageNet classes optimised on squeezenet1_1 (--weights-a), recognised by squeezenet1_0
          (--weights-b), which never saw them: lucent's defaults at 256 steps against ours at 64.
          The judge sees every picture at its own 128 px and enlarged to 160 and 224.
precision the same classes by ours alone, in bfloat16 against float32: how often they are known, the
          score that each reaches in the float32 network, and CPU seconds a picture.
grey      random channels of random layers of several networks: how many pictures show nothing.
pace      CPU seconds of a small picture at the start and at the end of a long run in one process.

Pictures of `transfer` are kept in --work, so a run that was cut short goes on. One JSON record a
part on stdout, then a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import nn

from featvis import FeatVisConfig, Network, list_layers, load_network
from featvis.layers import find_layer
from featvis.render import is_grey, render

PARTS = ("speed", "transfer", "precision", "grey", "pace")
PRECISIONS = ("float32", "bfloat16")
SIDE = 128  # pixels, lucent's default
THEIR_STEPS, OUR_STEPS = 512, 64  # the defaults
TRANSFER_STEPS = 256  # lucent's in the transfer: more made it no better
JUDGED = (SIDE, 160, 224)  # sides in pixels at which the judge sees the pictures
BATCH = 8
STRIDE = 389  # through the classes: any number of them is spread, and a beginning of more
BLOCK, FLAT = 8, 6.0  # a block of 8 x 8 pixels is active from this standard deviation on, levels
BLANK = 0.05  # a picture with fewer active blocks than this shows nothing


def lucent_picture(model: nn.Module, objective: str, steps: int) -> NDArray[np.uint8]:
    """One picture by lucent's defaults, (128, 128, 3) uint8; `objective` as "layer3:5"."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lucent.optvis import render as peer

        pictures = peer.render_vis(
            model, objective, thresholds=(steps,), progress=False, show_image=False
        )
    levels: NDArray[np.uint8] = (pictures[-1][0] * 255 + 0.5).clip(0, 255).astype(np.uint8)
    return levels


def our_pictures(
    network: Network, layer: str, channels: list[int], config: FeatVisConfig
) -> NDArray[np.uint8]:
    """(n, size, size, 3) uint8."""
    rngs = [np.random.default_rng([7, channel]) for channel in channels]
    return render(network, layer, channels, config, rngs).pixels


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process: other work on the machine moves them less than wall time."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    cases = [("resnet18", "random", "layer3", "layer3")]
    if arguments.weights_a is not None:
        cases.append(("squeezenet1_1", str(arguments.weights_a), "features.9", "features_9"))
    record: dict[str, Any] = {}
    config = FeatVisConfig(size=SIDE, steps=OUR_STEPS, batch_size=BATCH)
    for name, weights, layer, theirs in cases:
        network = load_network(name, weights)
        peer = load_network(name, weights).model.requires_grad_(True)  # as lucent's users have it
        lucent_picture(peer, f"{theirs}:0", 2)
        our_pictures(network, layer, [0], FeatVisConfig(size=SIDE, steps=2, batch_size=BATCH))
        their_seconds, our_seconds = [], []
        for turn in range(arguments.turns):
            goal = f"{theirs}:{turn + 1}"
            their_seconds.append(cpu_seconds(partial(lucent_picture, peer, goal, THEIR_STEPS)))
            channels = [BATCH * turn + i for i in range(BATCH)]
            seconds = cpu_seconds(partial(our_pictures, network, layer, channels, config))
            our_seconds.append(seconds / BATCH)
        record[f"{name} {layer}"] = {
            "lucent_seconds": [round(s, 2) for s in their_seconds],
            "our_seconds": [round(s, 3) for s in our_seconds],
            "ratio": round(statistics.median(their_seconds) / statistics.median(our_seconds), 1),
        }
    return record


def transfer(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.weights_a is None or arguments.weights_b is None:
        return {"left_out": "needs --weights-a and --weights-b"}
    classes = [number * STRIDE % 1000 for number in range(arguments.classes)]
    judge = load_network("squeezenet1_0", str(arguments.weights_b))
    hits: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for maker, make in (("ours", _our_classes), ("lucent", _lucent_classes)):
        pictures = np.stack(list(make(arguments, classes)))
        hits[maker] = {side: _recognised(judge, pictures, classes, side) for side in JUDGED}
    record: dict[str, Any] = {"n": len(classes)}
    for side in JUDGED:
        ours, theirs = hits["ours"][side], hits["lucent"][side]
        gap = ours.astype(float) - theirs
        record[f"judged at {side}"] = {
            "ours": round(float(ours.mean()), 3),
            "lucent": round(float(theirs.mean()), 3),
            "standard_error_of_the_difference": round(float(gap.std() / len(gap) ** 0.5), 3),
        }
    return record


def precision(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.weights_a is None or arguments.weights_b is None:
        return {"left_out": "needs --weights-a and --weights-b"}
    classes = [number * STRIDE % 1000 for number in range(arguments.classes)]
    judge = load_network("squeezenet1_0", str(arguments.weights_b))
    drawn = load_network("squeezenet1_1", str(arguments.weights_a))
    makers = {name: _our_classes(arguments, classes, name) for name in PRECISIONS}
    pictures: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in PRECISIONS}
    seconds: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for first in range(0, len(classes), BATCH):  # in turn
        for name, made in makers.items():
            begin = time.process_time()
            pictures[name].append(next(made))  # the first of a batch makes it whole
            seconds[name].append((time.process_time() - begin) / BATCH)
            pictures[name] += islice(made, min(BATCH, len(classes) - first) - 1)
    whole = {name: np.stack(made) for name, made in pictures.items()}
    record: dict[str, Any] = {
        "n": len(classes),
        "seconds": {name: round(statistics.median(each), 3) for name, each in seconds.items()},
        "ratio": round(
            statistics.median(
                low / full for full, low in zip(seconds["float32"], seconds["bfloat16"])
            ),
            3,
        ),
    }
    for side in JUDGED:
        hits = {name: _recognised(judge, whole[name], classes, side) for name in PRECISIONS}
        record[f"judged at {side}"] = _compared(hits)
    scores = {name: _scores(drawn, whole[name], classes) for name in PRECISIONS}
    record["logit in float32 at 224"] = _compared(scores)
    contrast = {name: whole[name].std((1, 2)).mean(1) for name in PRECISIONS}
    record["contrast in levels"] = _compared(contrast)
    return record


def _compared(values: dict[str, NDArray[Any]]) -> dict[str, float]:
    gap = values["bfloat16"].astype(float) - values["float32"]
    return {
        **{name: round(float(each.mean()), 3) for name, each in values.items()},
        "difference": round(float(gap.mean()), 3),
        "standard_error_of_the_difference": round(float(gap.std() / len(gap) ** 0.5), 3),
    }


def _our_classes(
    arguments: argparse.Namespace, classes: list[int], precision: str = "float32"
) -> Iterator[NDArray[np.uint8]]:
    network = load_network("squeezenet1_1", str(arguments.weights_a))
    # as render-featvis --objective logit does it
    config = FeatVisConfig(
        size=SIDE, steps=OUR_STEPS, batch_size=BATCH, network_size=network.input_size,
        precision=precision,
    )  # fmt: skip
    mark = "" if precision == "float32" else f"-{precision}"
    for first in range(0, len(classes), BATCH):
        chosen = classes[first : first + BATCH]
        yield from _kept(
            arguments.work / f"ours{mark}-{chosen[0]}-{chosen[-1]}.npy",
            partial(our_pictures, network, "output", chosen, config),
        )


def _lucent_classes(
    arguments: argparse.Namespace, classes: list[int]
) -> Iterator[NDArray[np.uint8]]:
    for number in classes:
        # Afresh each time: the hooks that earlier renders leave behind would only slow it down.
        peer = load_network("squeezenet1_1", str(arguments.weights_a)).model
        yield _kept(
            arguments.work / f"lucent-{number}.npy",
            partial(lucent_picture, peer, f"labels:{number}", TRANSFER_STEPS),
        )


def _kept(path: Path, make: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """What `make` made the last time, or now."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = make()
        draft = path.with_name(f"draft-{path.name}")
        np.save(draft, pixels)
        draft.replace(path)
    kept: NDArray[np.uint8] = np.load(path)
    return kept


def _recognised(
    judge: Network, pictures: NDArray[np.uint8], classes: list[int], side: int
) -> NDArray[np.bool_]:
    """Whether the judge's first guess is the class that each picture was made for."""
    right: NDArray[np.bool_] = _logits(judge, pictures, side).argmax(1) == np.array(classes)
    return right


def _scores(
    network: Network, pictures: NDArray[np.uint8], classes: list[int]
) -> NDArray[np.float32]:
    """What the network that was drawn says of the class that each picture was made for."""
    logits: NDArray[np.float32] = _logits(network, pictures, network.input_size)
    return logits[np.arange(len(classes)), classes]


def _logits(judge: Network, pictures: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """(n, classes) float32."""
    batch = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    if side != batch.shape[-1]:
        batch = nn.functional.interpolate(batch, (side, side), mode="bilinear", antialias=True)
    mean = torch.tensor(judge.mean).view(1, 3, 1, 1)
    std = torch.tensor(judge.std).view(1, 3, 1, 1)
    with torch.no_grad():
        logits: NDArray[np.float32] = judge.model((batch - mean) / std).numpy()
    return logits


def active(pixels: NDArray[np.uint8]) -> float:
    """Share of 8 x 8 blocks whose brightness varies by more than FLAT levels."""
    grey = pixels.astype(np.float32).mean(2)
    side = grey.shape[0] // BLOCK * BLOCK
    blocks = grey[:side, :side].reshape(side // BLOCK, BLOCK, side // BLOCK, BLOCK)
    return float((blocks.std((1, 3)) > FLAT).mean())


def grey(arguments: argparse.Namespace) -> dict[str, Any]:
    models = [
        ("squeezenet1_1", "fractals"),
        ("resnet18", "random"),
        ("mobilenet_v2", "random"),
        ("squeezenet1_1", str(arguments.weights_a or "random")),
        ("squeezenet1_0", str(arguments.weights_b or "random")),
    ]
    config = FeatVisConfig(size=64, steps=OUR_STEPS, batch_size=BATCH)
    record: dict[str, Any] = {"n": 0, "grey": 0, "blank": 0, "redone": 0, "where": []}
    for number, (name, weights) in enumerate(models):
        network = load_network(name, weights)
        layers = [layer for layer in list_layers(network) if layer.channels > 1]
        rng = np.random.default_rng(number)
        for _ in range(arguments.targets // (len(models) * BATCH)):
            layer = layers[int(rng.random() * len(layers))]
            channels = [int(rng.random() * layer.channels) for _ in range(BATCH)]
            rngs = [np.random.default_rng([number, record["n"], i]) for i in range(BATCH)]
            done = render(network, layer, channels, config, rngs)
            for picture, channel, restarts in zip(done.pixels, channels, done.restarts):
                record["n"] += 1
                record["grey"] += is_grey(picture)
                record["redone"] += int(restarts > 0)
                if active(picture) < BLANK or is_grey(picture):
                    record["blank"] += 1
                    record["where"].append(f"{name} {layer.name}:{channel}")
    return record


def pace(arguments: argparse.Namespace) -> dict[str, Any]:
    network = load_network("squeezenet1_1", "random")
    layer = find_layer(list_layers(network), "features.3")
    config = FeatVisConfig(size=32, steps=8, batch_size=BATCH, max_restarts=0)
    ours = []
    for number in range(arguments.pictures // BATCH):
        channels = [(BATCH * number + i) % layer.channels for i in range(BATCH)]
        rngs = [np.random.default_rng([number, i]) for i in range(BATCH)]
        ours.append(cpu_seconds(partial(render, network, layer, channels, config, rngs)) / BATCH)
    peer = load_network("squeezenet1_1", "random").model
    theirs = [
        cpu_seconds(partial(lucent_picture, peer, f"features_3:{number % 128}", 4))
        for number in range(arguments.peer_pictures)
    ]
    record = {}
    for name, seconds in (("ours", ours), ("lucent", theirs)):
        tenth = max(1, len(seconds) // 10)
        first, last = seconds[1 : tenth + 1], seconds[-tenth:]
        record[name] = {
            "pictures": len(seconds) * (BATCH if name == "ours" else 1),
            "slower_at_the_end": round(statistics.median(last) / statistics.median(first), 2),
        }
    return record


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all")
    parser.add_argument("--weights-a", type=Path, help="ImageNet checkpoint of squeezenet1_1")
    parser.add_argument("--weights-b", type=Path, help="ImageNet checkpoint of squeezenet1_0")
    parser.add_argument("--turns", type=int, default=3, help="speed: finished pictures of lucent")
    parser.add_argument("--classes", type=int, default=128, help="transfer")
    parser.add_argument("--targets", type=int, default=1000, help="grey")
    parser.add_argument("--pictures", type=int, default=2000, help="pace: of ours")
    parser.add_argument("--peer-pictures", type=int, default=200, help="pace: of lucent")
    parser.add_argument("--work", type=Path, help="folder that keeps the transfer's pictures")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    machine = {
        "machine": platform.processor() or platform.machine(), "python": platform.python_version(),
        "torch": torch.__version__, "torchvision": torchvision.__version__,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        arguments.work = arguments.work or Path(scratch)
        for part in arguments.parts or PARTS:
            record = globals()[part](arguments)
            print(json.dumps({"part": part, **machine, **record}), flush=True)
            for name, value in record.items():
                print(f"  {part:<9} {name:<24} {value}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
