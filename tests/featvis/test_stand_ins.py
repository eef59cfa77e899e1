"""Harmless objects beside the weights are passed over; whatever could run code is refused."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import functools
import os
import pathlib
import pickle
import random
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from featvis import checkpoints
from featvis.errors import CheckpointError
from featvis.models import load_network
from featvis.stand_ins import STAND_INS, ListStandIn, MappingStandIn, StandIn, only_stand_ins

pytestmark = pytest.mark.torch

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A small network's random weights."""
    return load_network("squeezenet1_1", "random", seed=5).model.state_dict()


BESIDE: dict[str, Any] = {
    "namespace": argparse.Namespace(lr=0.1, out=pathlib.Path("runs"), best=np.float32(3)),
    "simple namespace": types.SimpleNamespace(a=1),
    "float64": np.float64(76.1),
    "float32": np.float32(76.1),
    "int64": np.int64(3),
    "bool": np.bool_(True),
    "array": np.ones((2, 3)),
    "dtype": np.dtype("float32"),
    "path": pathlib.Path("/data"),
    "windows path": pathlib.PureWindowsPath("C:/data"),
    "numpy's random state": np.random.get_state(),
    "generator": np.random.default_rng(1),
    "old generator": np.random.RandomState(1),
    "seed sequence": np.random.SeedSequence(4),
    "python's random state": random.getstate(),
    "python's generator": random.Random(1),
    "torch's random state": torch.get_rng_state(),
    "defaultdict": collections.defaultdict(list, {"a": [1]}),
    "deque": collections.deque([1, 2], maxlen=3),
    "counter": collections.Counter("abc"),
    "date": datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc),
    "timedelta": datetime.timedelta(1),
    "decimal": decimal.Decimal("1.5"),
    "frozenset": frozenset([1]),
    "range": range(3),
    "version": torch.torch_version.TorchVersion("2.1"),
    "type": int,
}


@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_harmless_object_beside_the_weights_is_passed_over(
    tmp_path: Path, state: State, kind: str, zipped: bool
) -> None:
    wrapped = {"state_dict": state, "args": BESIDE[kind]}
    torch.save(wrapped, tmp_path / "last.pth.tar", _use_new_zipfile_serialization=zipped)
    loaded = load_network("squeezenet1_1", str(tmp_path / "last.pth.tar")).model.state_dict()
    assert all(torch.equal(loaded[k], state[k]) for k in state)


def test_weights_in_a_defaultdict_are_found(tmp_path: Path, state: State) -> None:
    found: dict[str, Any] = collections.defaultdict(list)
    found.update(state)
    torch.save(found, tmp_path / "d.pth")
    assert load_network("squeezenet1_1", str(tmp_path / "d.pth")).lacks == {}


def test_weights_as_numpy_arrays_are_named(tmp_path: Path, state: State) -> None:
    torch.save({k: v.numpy() for k, v in state.items()}, tmp_path / "n.pth")
    with pytest.raises(CheckpointError, match="a dictionary of 52 NumPy arrays"):
        load_network("squeezenet1_1", str(tmp_path / "n.pth"))


def test_stand_ins_keep_nothing_and_call_nothing() -> None:
    called: list[object] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            called.append(name)
            raise AttributeError(name)

        def __call__(self, *args: object) -> None:
            called.append(args)

    for made in (StandIn, ListStandIn):
        thing = made(Spy(), spy=Spy())
        thing.__setstate__({"__class__": Spy(), "x": Spy()})
        assert not getattr(thing, "__dict__", None)
    assert MappingStandIn(Spy()) == collections.OrderedDict()
    assert called == []


def test_every_stand_in_is_a_class_of_ours() -> None:
    assert {made.__module__ for made in STAND_INS.values()} == {"featvis.stand_ins"}
    assert not {name.partition(".")[0] for name in STAND_INS} & {"os", "sys", "posix", "subprocess"}


def test_nothing_that_others_allowed_is_called(tmp_path: Path, state: State) -> None:
    """torch.serialization.add_safe_globals is global: a library may have allowed a function."""
    mark = tmp_path / "executed"
    before = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals([(os.mkdir, "argparse.Namespace"), Made])
    try:
        torch.save({"state_dict": state, "args": Made(str(mark))}, tmp_path / "evil.pth")
        with pytest.raises(CheckpointError, match="could run code"):
            load_network("squeezenet1_1", str(tmp_path / "evil.pth"))
        with only_stand_ins():
            allowed: list[Any] = torch.serialization.get_safe_globals()
            assert {made.__module__ for made, _ in allowed} == {"featvis.stand_ins"}
        assert Made in torch.serialization.get_safe_globals()
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(before)
    assert not mark.exists()


class Made:
    """Making one makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __setstate__(self, state: dict[str, str]) -> None:
        os.mkdir(state["path"])


class Reduced:
    """Unpickling it calls a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(mark: Path) -> dict[str, Any]:
    """Objects whose unpickling would make the file `mark`."""
    touch = f"open({str(mark)!r}, 'w').close()"
    return {
        "os.system": Reduced(os.system, f"touch '{mark}'"),
        "posix mkdir": Reduced(os.mkdir, str(mark)),
        "eval": Reduced(eval, touch),
        "exec": Reduced(exec, touch),
        "getattr": Reduced(getattr, "x", "upper"),
        "import": Reduced(__import__, "antigravity"),
        "open": Reduced(open, str(mark), "w"),
        "subprocess": Reduced(subprocess.check_call, ["touch", str(mark)]),
        "path method": Reduced(pathlib.Path.touch, mark),
        "partial": Reduced(functools.partial, os.mkdir, str(mark)),
        "torch.load": Reduced(torch.load, str(mark)),
        "numpy load": Reduced(np.load, str(mark)),
        "map": Reduced(map, os.mkdir, [str(mark)]),
        "in a namespace": argparse.Namespace(call=Reduced(os.mkdir, str(mark))),
        "in a defaultdict's factory": collections.defaultdict(os.getcwd),
        "in a dtype": [np.dtype("f4"), Reduced(os.mkdir, str(mark))],
    }


@pytest.mark.parametrize("kind", hostile(Path("x")))
@pytest.mark.parametrize("writer", ["zip", "old", "pickle"])
def test_whatever_could_run_code_is_refused_and_not_run(
    tmp_path: Path, state: State, kind: str, writer: str
) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "executed"
    thing = {"state_dict": {"features.0.weight": state["features.0.weight"]}}
    thing["args"] = hostile(mark)[kind]
    if writer == "pickle":
        path.write_bytes(pickle.dumps({"args": thing["args"]}, protocol=2))
    else:
        torch.save(thing, path, _use_new_zipfile_serialization=writer == "zip")
    modules = set(sys.modules)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.read_checkpoint(path)
    assert not mark.exists()
    assert "antigravity" not in set(sys.modules) - modules
    line = f"{caught.value} {caught.value.hint}"
    assert "weights_only" not in line
    assert "trust" not in line
    assert len(line) < 600


def test_attributes_of_a_tensor_cannot_hide_its_methods(tmp_path: Path, state: State) -> None:
    fake = torch.nn.Parameter(state["features.0.weight"].clone())
    fake.detach = 3  # type: ignore[assignment,method-assign]
    fake.isfinite = 3  # type: ignore[assignment,method-assign]
    torch.save({**state, "features.0.weight": fake}, tmp_path / "odd.pth")
    assert load_network("squeezenet1_1", str(tmp_path / "odd.pth")).lacks == {}


def test_a_dictionary_that_holds_itself_ends(tmp_path: Path, state: State) -> None:
    loop: dict[str, Any] = {"state_dict": dict(state)}
    loop["model"] = loop
    for number in range(50):
        loop[f"again {number}"] = loop
    torch.save(loop, tmp_path / "loop.pth")
    assert load_network("squeezenet1_1", str(tmp_path / "loop.pth")).lacks == {}
