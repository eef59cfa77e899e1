"""Datasets beside torchvision's ImageFolder on the same pictures, in one process; and bytes.

python -m benchmarks.datasets SOURCE MIXING FOLDER [--size 224] [--preset imagenet]

SOURCE   an ImageFolder, of which one copy is baked in every format into FOLDER
"replay" is PixMixDataset, which decodes the originals and mixes; JPEG sizes are of one copy, with
the error of their pixels beside the arrays'.
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

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision.datasets import ImageFolder

from pixmix_cli import BakedDataset, PixMixDataset
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
    exact = BakedDataset(sets["npy"])
    for quality in ("80", "90", "95"):
        out = asked.folder / f"q{quality}"
        if not (out / "manifest.json").exists():
            with contextlib.redirect_stdout(io.StringIO()):
                run([*usual, "--format", "parquet", "--quality", quality, "-o", str(out)])
        stored = BakedDataset(out)
        errors = [
            np.square(np.subtract(stored[i][0], exact[i][0], dtype=np.float64)).mean()
            for i in range(len(exact))
        ]
        sizes = [len(stored._reader.picture("copy-000", i)[1]) for i in range(len(stored))]
        record = {
            "quality": quality,
            "kB": round(sum(sizes) / len(sizes) / 1000, 1),
            "PSNR": round(10 * np.log10(255**2 / np.mean(errors)), 1),
        }
        print(json.dumps(record))
    peer = ImageFolder(str(sets["imagefolder"] / "copy-000"))
    order = torch.randperm(len(peer), generator=torch.Generator().manual_seed(0)).tolist()
    datasets: dict[str, Dataset] = {name: BakedDataset(out) for name, out in sets.items()}
    recipe = {"preset": asked.preset, "size": int(asked.size)}
    datasets["replay"] = PixMixDataset(asked.source, asked.mixing, **recipe)
    for name, dataset in datasets.items():
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
