"""BakedDataset beside torchvision's ImageFolder on the same pictures, in one process.

python -m benchmarks.datasets SOURCE MIXING FOLDER [--size 224] [--preset imagenet]

SOURCE   an ImageFolder, of which one copy is baked in every format into FOLDER
Ratios above 1: sooner than ImageFolder. Both give PIL pictures, in one random order; each is gone
through once before, and then both in turn, ROUNDS times; the quickest round counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import time
from pathlib import Path

import torch
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from pixmix_cli import BakedDataset
from pixmix_cli.main import run

ROUNDS = 7


def seconds(dataset: Dataset, order: list[int]) -> float:
    """Processor time of one pass."""
    begin = time.process_time()
    for index in order:
        dataset[index]
    return time.process_time() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("source")
    parser.add_argument("mixing")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", default="224")
    parser.add_argument("--preset", default="imagenet")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    usual = ["bake", asked.source, "--mixing-set", asked.mixing, "--size", asked.size]
    usual += ["--preset", asked.preset, "--resume", "-q"]
    sets = {}
    for name in ("imagefolder", "webdataset", "parquet", "npy"):
        out = asked.folder / name
        if not (out / "manifest.json").exists():
            with contextlib.redirect_stdout(io.StringIO()):
                run([*usual, "--format", name, "-o", str(out)])
        sets[name] = out
    peer = ImageFolder(str(sets["imagefolder"] / "copy-000"))
    order = torch.randperm(len(peer), generator=torch.Generator().manual_seed(0)).tolist()
    for name, out in sets.items():
        dataset = BakedDataset(out)
        best = {"ImageFolder": 1e9, name: 1e9}
        for one in (peer, dataset):
            seconds(one, order)
        for _ in range(ROUNDS):
            for who, one in (("ImageFolder", peer), (name, dataset)):
                best[who] = min(best[who], seconds(one, order))
        record = {
            "format": name,
            "ratio": round(best["ImageFolder"] / best[name], 2),
            "us a sample": round(best[name] / len(order) * 1e6),
            "ImageFolder us": round(best["ImageFolder"] / len(order) * 1e6),
            "samples": len(order),
            "load": os.getloadavg()[0],
        }
        print(json.dumps(record))


if __name__ == "__main__":
    main()
