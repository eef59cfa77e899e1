"""The arms of the comparison: what a network sees in each epoch.

plain, cutout, mixup, cutmix   from the shelf, on the device
noise                          PixMix with coloured 1/f noise: the control
fractals                       PixMix with fractals of ours, made on the spot
pixmix:FOLDER[,FOLDER]         PixMix with these mixing sets
FOLDER                         a set that `pixmix bake` made; epoch e shows copy e mod N

Every PixMix arm is baked by `pixmix bake --preset cifar`, one copy an epoch, with the training
seed, and only normalised in training. The others get PixMix's flip and padded crop.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.transforms import v2

from benchmarks.safety.data import SIDE, U8, Labelled, Part, load
from benchmarks.safety.noise import coloured_noise
from benchmarks.safety.train import BATCH, Epochs
from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.storage import images, tar
from pixmix_cli.storage.files import write_whole

SHELF = ("plain", "cutout", "mixup", "cutmix")
MADE = ("noise", "fractals")
HOLE = 16  # side of Cutout's square (DeVries & Taylor 2017, CIFAR-10)
PADDING = 4
MADE_SIZE, MADE_COUNT = 72, 200  # pixels and pictures of a mixing set made on the spot


@dataclass(frozen=True)
class Arm:
    """A name and what it means."""

    name: str
    recipe: str

    @property
    def is_baked_here(self) -> bool:
        """Whether this benchmark bakes its pictures."""
        return self.recipe in MADE or self.recipe.startswith("pixmix:")

    @property
    def mixing_sets(self) -> list[Path]:
        """The folders that a pixmix: recipe names."""
        return [Path(part) for part in self.recipe.removeprefix("pixmix:").split(",")]


def parse(text: str) -> Arm:
    """NAME=RECIPE, or a recipe that is its own name.

    raises  InputError for a recipe that is neither known nor a baked set, or a missing folder
    """
    name, _, recipe = text.rpartition("=")
    arm = Arm(name or recipe, recipe)
    if "/" in arm.name or not arm.name:
        raise InputError(f"--arm {text}: it needs a plain name", f"--arm NAME={recipe}")
    if recipe in (*SHELF, *MADE):
        return arm
    if recipe.startswith("pixmix:"):
        for folder in arm.mixing_sets:
            if not folder.exists():
                raise InputError(f"--arm {text}: mixing set {folder} does not exist")
        return arm
    if not (Path(recipe) / "manifest.json").is_file():
        known = ", ".join((*SHELF, *MADE, "pixmix:FOLDER"))
        raise InputError(
            f"--arm {text}: {recipe} is no recipe ({known}) and no folder that bake finished"
        )
    return arm


def make_mixing_set(recipe: str, folder: Path) -> Path:
    """The mixing set of a recipe that makes its own, made unless it is there."""
    place = folder / recipe
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if recipe == "noise":
        for number in range(MADE_COUNT):
            picture = coloured_noise(np.random.default_rng([7, number]), MADE_SIZE)
            write_whole(place / f"{number:06d}.png", images.encode(picture, "png"))
    else:
        count = ["-n", str(MADE_COUNT), "--size", str(MADE_SIZE), "--image-format", "png"]
        _pixmix(["generate-fractals", *count, "-o", str(place / "fractals")])
    (place / "done").touch()
    return place


def bake(mixing_sets: list[Path], source: Part, out: Path, copies: int, seed: int) -> Path:
    """Bake the copies that one run trains on.

    raises  PixMixError with what bake said
    """
    sets = [word for path in mixing_sets for word in ("--mixing-set", str(path))]
    recipe = ["--preset", "cifar", "--copies", str(copies), "--seed", str(seed)]
    place = ["--format", "npy", "-o", str(out), "--overwrite"]
    _pixmix(["bake", *source.words, *sets, *recipe, *place])
    return out


def _pixmix(words: list[str]) -> None:
    command = [sys.executable, "-m", "pixmix_cli.main", *words, "-qq"]
    root = str(Path(__file__).resolve().parents[2])
    environment = {**os.environ, "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )
    if done.returncode:
        raise PixMixError(f"pixmix {words[0]} failed: {done.stderr.strip()}")


def baked_epochs(folder: Path, train: Labelled, device: torch.device) -> Epochs:
    """Epoch e shows copy e mod N of a baked set.

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
        return on_device(pictures, device), torch.from_numpy(labels).to(device)

    epoch(0, torch.Generator())
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
