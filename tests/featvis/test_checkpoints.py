"""Checkpoints of every shape load, and files that are not what they should be are explained."""

from __future__ import annotations

import collections
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from featvis.architectures import build
from featvis.errors import CheckpointError
from featvis.models import load_network

pytestmark = pytest.mark.torch

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A small network's random weights."""
    return load_network("squeezenet1_1", "random", seed=5).model.state_dict()


def _same_weights(path: Path, state: State, name: str = "squeezenet1_1") -> bool:
    loaded = load_network(name, str(path)).model.state_dict()
    return loaded.keys() == state.keys() and all(torch.equal(loaded[k], state[k]) for k in state)


def test_plain_state_dict_loads_frozen_in_eval_mode(tmp_path: Path, state: State) -> None:
    torch.save(state, tmp_path / "plain.pth")
    network = load_network("squeezenet1_1", str(tmp_path / "plain.pth"))
    assert not network.model.training
    assert not any(p.requires_grad for p in network.model.parameters())
    assert all(torch.equal(v, state[k]) for k, v in network.model.state_dict().items())
    assert network.weights_id.startswith("sha256:")
    assert len(network.weights_id) == 7 + 64
    assert (network.input_size, network.num_classes, network.fixed_size) == (224, 1000, False)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": s, "optimizer": {"param_groups": [{"lr": 0.1}]}},
        lambda s: {"model_state_dict": collections.OrderedDict(s)},
        lambda s: {"checkpoint": 1, "net": {"state_dict": s}},
        lambda s: {"model_ema": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {f"_orig_mod.{k}": v for k, v in s.items()},
        lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
        lambda s: {
            "state_dict": {f"model.{k}": v for k, v in s.items()} | {"loss.weight": torch.ones(3)}
        },
    ],
)
def test_wrapped_and_prefixed_checkpoints_load(tmp_path: Path, state: State, wrap: Any) -> None:
    torch.save(wrap(state), tmp_path / "wrapped.pt")
    assert _same_weights(tmp_path / "wrapped.pt", state)


def test_safetensors_load(tmp_path: Path, state: State) -> None:
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "w.safetensors")
    assert _same_weights(tmp_path / "w.safetensors", state)


def test_half_precision_checkpoint_becomes_float32(tmp_path: Path, state: State) -> None:
    torch.save({k: v.half() for k, v in state.items()}, tmp_path / "half.pt")
    network = load_network("squeezenet1_1", str(tmp_path / "half.pt"))
    assert {p.dtype for p in network.model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18", "mobilenet_v3_small", "vit_b_32"])
def test_head_size_is_read_from_the_checkpoint(tmp_path: Path, name: str) -> None:
    torch.save(build(name, num_classes=7).state_dict(), tmp_path / "seven.pt")
    network = load_network(name, str(tmp_path / "seven.pt"))
    assert network.num_classes == 7
    size = network.input_size
    with torch.no_grad():
        assert network.model(torch.zeros(1, 3, size, size)).shape == (1, 7)


def test_transformer_size_is_read_from_the_checkpoint(tmp_path: Path) -> None:
    torch.save(build("vit_b_32", 10, image_size=96).state_dict(), tmp_path / "small.pt")
    network = load_network("vit_b_32", str(tmp_path / "small.pt"))
    assert (network.input_size, network.fixed_size) == (96, True)


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_loads_with_and_without_its_training_heads(
    tmp_path: Path, auxiliary: bool
) -> None:
    torch.save(build("googlenet", 5, auxiliary=auxiliary).state_dict(), tmp_path / "g.pt")
    assert load_network("googlenet", str(tmp_path / "g.pt")).num_classes == 5


def test_checkpoint_without_batch_counters_loads(tmp_path: Path) -> None:
    old = build("mobilenet_v3_small", 3).state_dict()
    old = {k: v for k, v in old.items() if not k.endswith("num_batches_tracked")}
    torch.save(old, tmp_path / "old.pt")
    assert load_network("mobilenet_v3_small", str(tmp_path / "old.pt")).num_classes == 3


class _Hostile:
    """Unpickling this would create a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_hostile_pickle_is_refused_and_not_executed(tmp_path: Path, writer: str) -> None:
    path, mark = tmp_path / "evil.pth", tmp_path / "executed"
    if writer == "torch":
        torch.save({"state_dict": _Hostile(mark)}, path)
    else:
        path.write_bytes(pickle.dumps(_Hostile(mark), protocol=2))
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="could run code") as caught:
        load_network("squeezenet1_1", str(path))
    assert not mark.exists()
    assert path.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert "system" in str(caught.value)
    torch.load(path, weights_only=False) if writer == "torch" else pickle.loads(before)
    assert mark.exists()  # it would have run


def test_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    torch.save(build("squeezenet1_1"), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="could run code") as caught:
        load_network("squeezenet1_1", str(tmp_path / "model.pt"))
    assert "state_dict" in (caught.value.hint or "")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("share", [0.001, 0.5, 0.999])
def test_truncated_checkpoint_is_named(
    tmp_path: Path, state: State, suffix: str, share: float
) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CheckpointError, match=r"cut\.\w+ is (damaged|cut short)") as caught:
        load_network("squeezenet1_1", str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"hello, this is text\n", b"\x89PNG\r\n\x1a\n" + b"\0" * 200])
def test_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "no.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_network("squeezenet1_1", str(tmp_path / "no.pt"))


def test_checkpoint_of_tensors_in_a_list_says_what_it_found(tmp_path: Path) -> None:
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no state dict: found a list"):
        load_network("squeezenet1_1", str(tmp_path / "list.pt"))


def test_other_architecture_says_which_keys_differ(tmp_path: Path) -> None:
    torch.save(build("resnet18", 4).state_dict(), tmp_path / "r.pt")
    with pytest.raises(CheckpointError, match=r"52 keys missing \(features\.0\.weight") as caught:
        load_network("squeezenet1_1", str(tmp_path / "r.pt"))
    assert "102 unexpected (conv1.weight" in str(caught.value)


def test_other_width_says_which_shapes_differ(tmp_path: Path) -> None:
    torch.save(build("squeezenet1_0").state_dict(), tmp_path / "s.pt")
    with pytest.raises(CheckpointError, match=r"\(96, 3, 7, 7\) instead of \(64, 3, 3, 3\)"):
        load_network("squeezenet1_1", str(tmp_path / "s.pt"))


def test_diverged_checkpoint_is_refused(tmp_path: Path, state: State) -> None:
    broken = {k: v.clone() for k, v in state.items()}
    broken["features.0.weight"][0] = float("nan")
    torch.save(broken, tmp_path / "nan.pt")
    with pytest.raises(CheckpointError, match=r"not finite: 1 tensors \(features\.0\.weight"):
        load_network("squeezenet1_1", str(tmp_path / "nan.pt"))


@pytest.mark.parametrize("weights", ["nowhere.pt", "no/such/folder", "."])
def test_missing_file_is_named(weights: str) -> None:
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_network("squeezenet1_1", weights)


def test_loading_a_checkpoint_leaves_the_global_generator_alone(
    tmp_path: Path, state: State
) -> None:
    torch.save(state, tmp_path / "plain.pth")
    before = torch.get_rng_state()
    load_network("squeezenet1_1", str(tmp_path / "plain.pth"))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["sparse", "complex", "meta"])
def test_tensors_that_are_no_plain_numbers_are_refused(tmp_path: Path, kind: str) -> None:
    state = build("squeezenet1_1").state_dict()
    first = next(iter(state))
    made = {
        "sparse": lambda: state[first].flatten(1).to_sparse(),
        "complex": lambda: state[first].to(torch.complex64),
        "meta": lambda: state[first].to("meta"),
    }
    torch.save({**state, first: made[kind]()}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as caught:
        load_network("squeezenet1_1", str(tmp_path / "odd.pth"))
    assert "\n" not in str(caught.value)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(CheckpointError, match="no regular file"):
        load_network("squeezenet1_1", str(tmp_path / "pipe.pth"))
