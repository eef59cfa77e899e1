"""The PixMix transform beside the published procedure, torchvision's AugMix, and no mixing at all.

    python -m benchmarks.transform --photographs DIR [--mixing DIR] [-n 400] [--rounds 3]

One thread, everything in memory: decoded photographs (at 32 px shrunk ones), decoded mixing
pictures. Each contender makes a normalised float tensor of every picture, in turn, picture by
picture. Thread CPU time is summed; the median over rounds of the ratios is printed as JSON. The
published procedure is `benchmarks.bake`'s straight one: PIL, torchvision transforms, float32
tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision import datasets, transforms

from benchmarks.bake import (
    BETA,
    SEVERITY,
    SIZE,
    SMALL,
    SMALL_BETA,
    SMALL_SEVERITY,
    augmentations,
    mixed,
)
from pixmix_cli import PixMix

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WARM_UP = 12  # pictures

Contender = Callable[[Image.Image], torch.Tensor]


def contenders(size: int, mixing: Path, cache: Path) -> dict[str, Contender]:
    """Name -> what makes a normalised tensor of a picture; the first is the peer."""
    small = size == SMALL
    tail = transforms.Compose([transforms.ToTensor(), transforms.Normalize(MEAN, STD)])
    crop: transforms.Compose
    if small:
        side, beta, severity = size * 9 // 8, SMALL_BETA, SMALL_SEVERITY
        padded = transforms.RandomCrop(size, padding=size // 8)
        crop = transforms.Compose([transforms.RandomHorizontalFlip(), padded])
    else:
        side, beta, severity = size * 8 // 7, BETA, SEVERITY
        resized = transforms.RandomResizedCrop(size)
        crop = transforms.Compose([resized, transforms.RandomHorizontalFlip()])
    operations = augmentations(size, severity)
    shrink, crop_mixing = transforms.Resize(side), transforms.RandomCrop(size)
    mixers = [shrink(picture) for picture, _ in datasets.ImageFolder(str(mixing))]

    def published(picture: Image.Image) -> torch.Tensor:
        other = crop_mixing(random.choice(mixers))
        pixels = mixed(crop(picture), other, operations, beta)
        tensor: torch.Tensor = transforms.functional.normalize(
            torch.from_numpy(pixels).permute(2, 0, 1).to(torch.float32) / 255, MEAN, STD
        )
        return tensor

    preset = "cifar" if small else "imagenet"
    ours = PixMix(mixing, preset=preset, mean=MEAN, std=STD, mixing_cache=cache)
    ours.decode_all()
    augmix = transforms.Compose([crop, transforms.AugMix(), tail])
    return {
        "published procedure": published,
        "PixMix": ours,
        "torchvision AugMix": augmix,
        "crop and flip alone": transforms.Compose([crop, tail]),
    }


def measure(pictures: list[Image.Image], ways: dict[str, Contender]) -> dict[str, float]:
    """Milliseconds a picture of each way: thread CPU time, the ways in turn for every picture."""
    spent = dict.fromkeys(ways, 0.0)
    for number, picture in enumerate(pictures[:WARM_UP] + pictures):
        for name, way in ways.items():
            begin = time.thread_time()
            way(picture)
            if number >= WARM_UP:
                spent[name] += time.thread_time() - begin
    return {name: 1000 * seconds / len(pictures) for name, seconds in spent.items()}


def main() -> None:
    """Measure at both sizes and print one JSON record."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--photographs", type=Path, required=True, help="an ImageFolder")
    parser.add_argument("--mixing", type=Path, required=True, help="an ImageFolder of a mixing set")
    parser.add_argument("-n", "--pictures", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    photographs = [picture for picture, _ in datasets.ImageFolder(str(arguments.photographs))]
    record: dict[str, object] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "n": arguments.pictures,
        "rounds": arguments.rounds,
    }
    with tempfile.TemporaryDirectory() as cache:
        for size in (SMALL, SIZE):
            shrink = transforms.Compose([transforms.Resize(size), transforms.CenterCrop(size)])
            chosen = [photographs[i % len(photographs)] for i in range(arguments.pictures)]
            pictures = [shrink(one) for one in chosen] if size == SMALL else chosen
            ways = contenders(size, arguments.mixing, Path(cache))
            rounds = [measure(pictures, ways) for _ in range(arguments.rounds)]
            peer = next(iter(ways))
            record[f"{size} px"] = {
                name: {
                    "ms": round(statistics.median(one[name] for one in rounds), 3),
                    "times as fast": round(statistics.median(o[peer] / o[name] for o in rounds), 2),
                }
                for name in ways
            }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
