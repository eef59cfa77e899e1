"""Damaged checkpoints end in an error of ours or load; none crashes, and none runs anything."""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from featvis import checkpoints
from featvis.errors import FeatVisError

pytestmark = pytest.mark.torch

ROUNDS = int(os.environ.get("FUZZ_CHECKPOINTS", "60"))  # of each kind of file


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A small network's weights, of which the names are a good part of the file."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    return dict(net.state_dict())


def whole(kind: str, state: dict[str, Tensor], path: Path) -> bytes:
    if kind == "safetensors":
        save_file(state, path)
    else:
        beside = argparse.Namespace(lr=np.float64(1), out=Path("x"))
        wrapped = {"state_dict": state, "args": beside, "random": np.random.get_state()}
        torch.save(wrapped, path, _use_new_zipfile_serialization="zip" in kind)
    return path.read_bytes()


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """One to eight changes: bytes, bits, cuts, repeats, opcodes of a pickle."""
    made = bytearray(data)
    for _ in range(int(rng.integers(1, 9))):
        # half of the changes where the structure is: near the beginning or the end
        reach = len(made) if rng.random() < 0.5 else min(len(made), 1500)
        place = int(rng.integers(max(reach, 1)))
        if rng.random() < 0.25:
            place = max(0, len(made) - 1 - place)
        what = int(rng.integers(7))
        if not made:
            break
        if what == 0:
            made[place] = int(rng.integers(256))
        elif what == 1:
            made[place] ^= 1 << int(rng.integers(8))
        elif what == 2:
            del made[place : place + int(rng.integers(1, 40))]
        elif what == 3:
            made[place:place] = made[place : place + int(rng.integers(1, 40))]
        elif what == 4:
            made[place] = b"cR\x81b.(}]to\x85Qu\x8as"[int(rng.integers(15))]
        elif what == 5:
            made[place : place + 8] = int(rng.integers(2**63)).to_bytes(8, "little")
        else:
            made[place:] = b"" if rng.random() < 0.2 else made[place:]
    return bytes(made)


def mutate_inside(data: bytes, rng: np.random.Generator) -> bytes:
    """The pickle in a zip file changed, and packed again with the checksum that it then has."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        for member in old.infolist():
            content = old.read(member)
            if member.filename.endswith("data.pkl"):
                content = mutate(content, rng)
            new.writestr(member.filename, content)
    return made.getvalue()


@pytest.mark.parametrize("kind", ["zip", "pickle in a zip", "old", "safetensors"])
def test_a_damaged_checkpoint_loads_or_is_refused(
    kind: str, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "fuzz.pth"
    data = whole(kind, state, path)
    ran: list[object] = []

    def record(*args: object, **kwargs: object) -> None:
        ran.append(args)

    for module, name in ((os, "system"), (os, "mkdir"), (subprocess, "Popen")):
        monkeypatch.setattr(module, name, record)
    rng = np.random.default_rng(7)
    read = 0
    for number in range(ROUNDS):
        path.write_bytes((mutate_inside if "in a" in kind else mutate)(data, rng))
        try:
            states = checkpoints.read_checkpoint(path)
            read += 1
            assert all(isinstance(v, Tensor) for each in states for v in each.tensors.values())
            checkpoints.load_into("squeezenet1_1", states, path)
        except FeatVisError as error:
            line = f"{error} {error.hint}"
            assert "\n" not in line, (number, line)
            assert "weights_only" not in line, (number, line)
            assert len(line) < 1500, (number, line)
    assert ran == []
    assert read < ROUNDS  # some of it was damage
