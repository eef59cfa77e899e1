"""Every architecture of torchvision loads its own weights, saved as they are published."""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from featvis import checkpoints
from featvis.architectures import AUXILIARY, model_names, skeleton
from featvis.models import load_network

pytestmark = pytest.mark.torch

# The smallest of each family, of those that are quickly built.
FAMILIES = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "efficientnet_v2_s", "googlenet",
    "inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small",
    "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnext50_32x4d", "shufflenet_v2_x0_5",
    "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn", "vit_b_32", "wide_resnet50_2",
)  # fmt: skip
SAVED = ("densenet121", "googlenet", "mnasnet0_5", "mobilenet_v3_small", "resnet18", "swin_t")


def published(name: str, state: dict[str, Tensor]) -> OrderedDict[str, Tensor]:
    """A state dict by the names that torchvision's files have."""
    renamed = OrderedDict((_old_name(name, key), value) for key, value in state.items())
    if name.startswith("densenet"):
        for key in [key for key in renamed if key.endswith("num_batches_tracked")]:
            del renamed[key]
    renamed._metadata = getattr(state, "_metadata", {})  # type: ignore[attr-defined]
    return renamed


def _old_name(name: str, key: str) -> str:
    if name.startswith("densenet"):  # as torchvision/models/densenet.py says of its files
        return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12])\.", r"\1.\2.", key)
    if name.startswith("vit_"):  # vision_transformer.py: MLPBlock before version 2
        return key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
    return key


def matched_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names and shapes alone, on the meta device: which weight would get which tensor."""
    own = skeleton(name, auxiliary=name in AUXILIARY).state_dict()
    filled: dict[str, Tensor] = {}

    def fill(*args: object) -> torch.nn.Module:
        state = args[4]
        assert isinstance(state, dict)
        filled.update(state)
        return torch.nn.Identity()

    monkeypatch.setattr(checkpoints, "_filled", fill)
    monkeypatch.setattr(checkpoints, "_check_numbers", lambda *args: None)
    states = [checkpoints.StateDict((), published(name, own))]
    loaded = checkpoints.load_into(name, states, Path("published.pth"))
    assert (loaded.lacks, loaded.notes) == ({}, [])
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    assert own.keys() - counters <= filled.keys() <= own.keys()
    assert all(filled[key] is not None and filled[key].shape == own[key].shape for key in filled)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_finds_all_its_published_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched_by_name(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(model_names()) - set(FAMILIES)))
def test_every_other_architecture_finds_all_its_published_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    matched_by_name(name, monkeypatch)


def round_trip(name: str, folder: Path) -> None:
    """Weights out of a file written as published are those that were saved, number for number."""
    options = {"init_weights": False} if name in AUXILIARY else {}
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(1)
        own = torchvision.models.get_model(name, weights=None, **options).state_dict()
    torch.save(published(name, own), folder / "published.pth")
    loaded = load_network(name, str(folder / "published.pth")).model.state_dict()
    assert loaded.keys() == own.keys()
    compared = [key for key in own if not key.endswith("num_batches_tracked")]
    assert all(torch.equal(loaded[key], own[key]) for key in compared)


@pytest.mark.parametrize("name", SAVED)
def test_weights_saved_as_published_are_loaded_number_for_number(name: str, tmp_path: Path) -> None:
    round_trip(name, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(model_names()) - set(SAVED)))
def test_the_other_architectures_load_what_they_saved(name: str, tmp_path: Path) -> None:
    round_trip(name, tmp_path)
    (tmp_path / "published.pth").unlink()  # up to 2.5 GB


@pytest.mark.parametrize("metadata", [True, False])
def test_mnasnet_loads_with_and_without_the_version_of_its_layout(
    tmp_path: Path, metadata: bool
) -> None:
    own = torchvision.models.mnasnet0_5(num_classes=3).state_dict()
    torch.save(own if metadata else {f"module.{k}": v for k, v in own.items()}, tmp_path / "m.pt")
    assert load_network("mnasnet0_5", str(tmp_path / "m.pt")).num_classes == 3
