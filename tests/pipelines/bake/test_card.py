"""The lines that a baked set's card shows train from it, in one process and in two."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment

FORMATS = ["webdataset", "imagefolder", "npy", "parquet"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, photos: Path, mixing: Path) -> dict[str, Path]:
    """Two copies in every format, with four shards of equal length where they show."""
    from pixmix_cli.main import run

    made = {}
    for name in FORMATS:
        out = tmp_path_factory.mktemp("cards") / name
        words = ["bake", photos, "--mixing-set", mixing, "--size", 32, "--copies", 2]
        if name in ("webdataset", "parquet"):
            words += ["--shard-size", 6]
        words += ["--format", name, "-j", 1, "-q", "-o", out]
        assert run([str(word) for word in words]) == 0
        made[name] = out
    return made


def lines(folder: Path) -> list[str]:
    """The Python blocks of a card."""
    return re.findall(r"^```python\n(.*?)^```", (folder / "README.md").read_text(), re.S | re.M)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "are cropped, flipped and augmented already"),
        (("--no-flip",), "are cropped and augmented already"),
        (("--crop", "center"), "are flipped and augmented already"),
        (("--crop", "none", "--no-flip"), "neither flipped nor cropped at random"),
    ],
)
def test_the_card_says_what_is_left_to_training(
    photos: Path, mixing: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    from pixmix_cli.main import run

    recipe = ["bake", photos, "--mixing-set", mixing, "--preset", "cifar", *words]
    assert run([str(word) for word in (*recipe, "-j", 1, "-q", "-o", tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert said in card
    assert ("by heart" in card) == ("already" in said)


# What each of two processes does: the card's lines, in the set's folder, for two epochs. It prints
# how many samples it has read, and a hash of what came first.
PROCESS = """
import json, os, sys
import numpy as np
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, DistributedSampler

dist.init_process_group("gloo")

def transform(picture):
    if isinstance(picture, dict):
        return {"x": [transform(one) for one in picture["image"]], "label": picture["label"]}
    return torch.from_numpy(np.array(picture))

def count(dataset, **options):
    streams = isinstance(dataset, torch.utils.data.IterableDataset)
    sampler = None if streams else DistributedSampler(dataset, shuffle=False)
    seen, total = 0, 0
    for batch in DataLoader(dataset, 3, sampler=sampler, **options):
        pictures = batch["x"] if isinstance(batch, dict) else batch[0]
        seen += len(pictures)
        total += int(pictures.sum())
    return seen, total

for name, (folder, ours, theirs) in json.load(open(sys.argv[1])).items():
    os.chdir(folder)
    for epoch in (0, 1, 2):
        names = {"transform": transform, "epoch": epoch}
        exec(ours, names)
        found = [count(names["dataset"])]
        exec(theirs, names)
        if name == "npy":
            images, labels = names["read"](epoch)
            mine = np.arange(dist.get_rank(), len(labels), dist.get_world_size())
            found.append((len(mine), int(images[mine].sum())))
        elif name == "webdataset":
            found.append(count(names["read"](epoch, transform, workers=2), num_workers=2))
        else:
            found.append(count(names["read"](epoch, transform)))
        for way, one in zip(("BakedDataset", "lines"), found):
            both = [None, None]
            dist.all_gather_object(both, one)
            if dist.get_rank() == 0:
                print(json.dumps([name, way, epoch, [b[0] for b in both], sum(b[1] for b in both)]))
dist.destroy_process_group()
"""


@pytest.mark.process
@pytest.mark.torch
def test_two_processes_read_equal_parts_of_one_copy_an_epoch_by_every_card(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "process.py").write_text(PROCESS)
    plan = {name: [str(folder), *lines(folder)] for name, folder in sets.items()}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    extra = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, tmp_path / "process.py", tmp_path / "plan.json"],
        env=environment(CUDA_VISIBLE_DEVICES="", **extra), timeout=300,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    assert len(records) == 4 * 2 * 3
    sums: dict[str, list[int]] = {}
    for name, way, epoch, counts, total in records:
        assert counts == [12, 12], (name, way, epoch)
        sums.setdefault(f"{name} {way}", []).append(total)
    for name in FORMATS:
        first, second, third = sums[f"{name} lines"]
        assert first == third != second  # epoch 2 reads the first copy again
        assert sums[f"{name} BakedDataset"] == [first, second, third]


def test_too_few_shards_for_the_readers_are_warned_of(
    sets: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sets["webdataset"])
    names: dict = {}
    exec(lines(sets["webdataset"])[1], names)
    names["read"](0, None, workers=4)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.warns(UserWarning, match="4 shards for 8 readers"):
        names["read"](0, None, workers=4)


def test_the_lines_name_the_pictures_ending(tmp_path: Path, photos: Path, mixing: Path) -> None:
    from pixmix_cli.main import run

    words = ["bake", photos, "--mixing-set", mixing, "--size", 32, "--image-format", "png"]
    assert run([str(word) for word in (*words, "-j", 1, "-q", "-o", tmp_path / "o")]) == 0
    assert '.to_tuple("png", "cls")' in lines(tmp_path / "o")[1]
