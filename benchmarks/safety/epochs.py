"""What a network sees in each epoch: epochs of baked sets and of the methods from the shelf.

An `Epochs` is called with the epoch's number and a generator, and gives pictures and targets.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import v2

from benchmarks.safety.data import SIDE, U8, Labelled, Part, load
from benchmarks.safety.train import BATCH, Epochs
from pixmix_cli.errors import InputError
from pixmix_cli.storage import images, tar

HOLE = 16  # side of Cutout's square (DeVries & Taylor 2017, CIFAR-10)
PADDING = 4


def baked_epochs(
    folder: Path, train: Labelled, device: torch.device, whole: bool = False
) -> Epochs:
    """Epoch e shows copy e mod N of a baked set.

    whole   flip and crop them, anew in each epoch: they were baked without
    raises  InputError when it was not baked from these training pictures
    """
    classes = tuple(json.loads((folder / "classes.json").read_text()))
    if classes != train.classes:
        raise InputError(f"{folder} has other classes than the training pictures")
    copies = sorted(folder.glob("copy-*"))

    def epoch(number: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        pictures, labels = _read_copy(copies[number % len(copies)])
        if len(pictures) != len(train.pictures) or pictures.shape[1:] != (SIDE, SIDE, 3):
            raise InputError(
                f"{copies[0]} holds {len(pictures)} pictures of {pictures.shape[1:]}, not "
                f"{len(train.pictures)} of {SIDE} x {SIDE}: it was baked from something else"
            )
        shown = on_device(pictures, device)
        if whole:
            shown = flip_and_crop(shown, random)
        return shown, torch.from_numpy(labels).to(device)

    epoch(0, torch.Generator(device))
    return epoch


def _read_copy(folder: Path) -> tuple[U8, np.ndarray]:
    if (folder / "images.npy").exists():
        return np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        split = load(Part(folder))
        return split.pictures, split.labels
    pictures, labels = [], []
    for shard in shards:
        data = shard.read_bytes()
        for member in tar.members(shard):
            content = data[member.offset : member.offset + member.length]
            if member.name.endswith(".cls"):
                labels.append(int(content))
            elif not member.name.endswith(".json"):
                pictures.append(images.decode_rgb(content, member.name))
    return np.stack(pictures), np.array(labels, np.int64)


def shelf_epochs(recipe: str, train: Labelled, device: torch.device) -> Epochs:
    """Flip and padded crop, then what the recipe adds."""
    pictures = on_device(train.pictures, device)
    labels = torch.from_numpy(train.labels).to(device)
    mix = {
        "mixup": v2.MixUp(alpha=1.0, num_classes=len(train.classes)),
        "cutmix": v2.CutMix(alpha=1.0, num_classes=len(train.classes)),
    }.get(recipe)

    def epoch(number: int, random: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        x = flip_and_crop(pictures, random)
        if recipe == "cutout":
            x = cutout(x, random)
        if mix is None:
            return x, labels
        # the transforms mix neighbours of a batch, so the epoch is put in a random order first
        order = torch.randperm(len(x), generator=random, device=device)
        batch = min(BATCH, len(x))
        parts = [
            mix(x[index].float(), labels[index])
            for index in order[: len(order) // batch * batch].split(batch)
        ]
        mixed, targets = (torch.cat(part) for part in zip(*parts))
        return mixed.round().to(torch.uint8), targets

    return epoch


def on_device(pictures: U8, device: torch.device) -> torch.Tensor:
    """(n, s, s, 3) uint8 as (n, 3, s, s) on the device."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2)


def flip_and_crop(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """Mirrored by a coin, then a crop of the same size out of 4 pixels of black padding."""
    n, _, side, _ = pictures.shape
    device = pictures.device
    coin = torch.rand(n, 1, generator=random, device=device) < 0.5
    top, left = (
        torch.randint(2 * PADDING + 1, (n, 1), generator=random, device=device) for _ in range(2)
    )
    at = torch.arange(side, device=device)
    rows = at + top
    columns = torch.where(coin, at.flip(0), at) + left
    padded = torch.nn.functional.pad(pictures, (PADDING,) * 4)
    every = torch.arange(n, device=device)[:, None, None]
    return padded[every, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cutout(pictures: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A square of 16 pixels made mid-grey, anywhere, also beyond the edge."""
    n, _, side, _ = pictures.shape
    device = pictures.device
    row, column = (
        torch.randint(side, (n, 1), generator=random, device=device) - HOLE // 2 for _ in range(2)
    )
    at = torch.arange(side, device=device)
    rows = (at >= row) & (at < row + HOLE)
    columns = (at >= column) & (at < column + HOLE)
    hole = rows[:, None, :, None] & columns[:, None, None, :]
    return pictures.masked_fill(hole, 128)
