"""Networks with the weights that were asked for: published, random, or our own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from featvis.errors import CheckpointError, UnknownModelError, WeightsUnavailableError
from featvis.models import load_network

pytestmark = pytest.mark.torch

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A small network's random weights."""
    return load_network("squeezenet1_1", "random", seed=5).model.state_dict()


def test_unknown_model_suggests_the_nearest() -> None:
    with pytest.raises(UnknownModelError, match="'resnet5'") as caught:
        load_network("resnet5", "random")
    assert "resnet50" in (caught.value.hint or "")


def test_unknown_weights_list_the_known() -> None:
    with pytest.raises(UnknownModelError, match="IMAGENET1K_V1, IMAGENET1K_V2") as caught:
        load_network("resnet50", "IMAGENET1K_V3")
    assert "--weights IMAGENET1K_V" in (caught.value.hint or "")


def test_offline_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(WeightsUnavailableError, match="no route to host") as caught:
        load_network("squeezenet1_1")
    hint = caught.value.hint or ""
    assert "squeezenet1_1-b8a52dc0.pth" in hint
    assert str(tmp_path / "checkpoints") in hint
    assert "--weights FILE" in hint


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """torch.hub's folder of downloads, without a network to fill it."""

    def unreachable(*args: object, **kwargs: object) -> None:
        raise AssertionError("went to the network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def test_cached_weights_need_no_network(
    cache: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    torch.save(state, cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr("featvis.models.sha256", lambda path: "b8a52dc0" + 56 * "0")
    network = load_network("squeezenet1_1", "default")
    assert network.weights_id == "IMAGENET1K_V1"


@pytest.mark.parametrize("content", [b"", b"half of a file", b"PK another network's file"])
def test_a_cached_file_that_was_not_published_so_is_to_be_deleted(
    cache: Path, content: bytes
) -> None:
    path = cache / "squeezenet1_1-b8a52dc0.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="not what torchvision publishes") as caught:
        load_network("squeezenet1_1", "DEFAULT")
    assert f"delete {path}" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "weights",
    [
        "SqueezeNet1_1_Weights.IMAGENET1K_V1",
        "SqueezeNet1_1_Weights.DEFAULT",
        "torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1",
        "squeezenet1_1_weights.imagenet1k_v1",
    ],
)
def test_weights_are_named_as_torchvision_writes_them(
    cache: Path, monkeypatch: pytest.MonkeyPatch, state: State, weights: str
) -> None:
    torch.save(state, cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr("featvis.models.sha256", lambda path: "b8a52dc0" + 56 * "0")
    assert load_network("squeezenet1_1", weights).weights_id == "IMAGENET1K_V1"


def test_weights_of_another_network_are_not_taken_for_this_ones() -> None:
    with pytest.raises(UnknownModelError, match="those of resnet18 are ResNet18_Weights"):
        load_network("resnet18", "ResNet50_Weights.IMAGENET1K_V1")


def test_download_is_hash_checked_and_lands_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: State
) -> None:
    asked: list[tuple[str, str, str | None]] = []

    def fetch(url: str, target: str, prefix: str | None, progress: bool) -> None:
        asked.append((url, target, prefix))
        torch.save(state, target)

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    load_network("squeezenet1_1", "IMAGENET1K_V1")
    target = str(tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth")
    assert [(t, p) for _, t, p in asked] == [(target, "b8a52dc0")]


def test_random_weights_follow_their_seed_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = load_network("squeezenet1_1", "random", seed=3)
    same = load_network("squeezenet1_1", "random", seed=3)
    other = load_network("squeezenet1_1", "random", seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    key = "features.0.weight"
    assert torch.equal(one.model.state_dict()[key], same.model.state_dict()[key])
    assert not torch.equal(one.model.state_dict()[key], other.model.state_dict()[key])
    assert (one.weights_id, other.weights_id) == ("random:3", "random:4")


def test_bfloat16_copy_leaves_the_network_in_float32() -> None:
    network = load_network("squeezenet1_1", "random")
    low = network.ready(bfloat16=True)
    assert low is network.ready(bfloat16=True)
    assert {p.dtype for p in low.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in network.model.parameters()} == {torch.float32}


def test_input_is_normalised_as_the_weights_ask() -> None:
    from torchvision.models import EfficientNet_V2_L_Weights, ResNet18_Weights

    from featvis.models import IMAGENET_MEAN, IMAGENET_STD, normalisation

    assert normalisation(ResNet18_Weights.DEFAULT) == (IMAGENET_MEAN, IMAGENET_STD)
    assert normalisation(EfficientNet_V2_L_Weights.DEFAULT) == ((0.5,) * 3, (0.5,) * 3)


def test_our_own_network_loads_offline_and_is_small() -> None:
    from featvis.models import OWN_FILE, OWN_MODEL, OWN_WEIGHTS

    network = load_network(OWN_MODEL, OWN_WEIGHTS)
    assert OWN_FILE.stat().st_size <= 3_000_000
    assert network.weights_id.startswith("sha256:")
    assert network.input_size == 96
    with pytest.raises(CheckpointError, match="are of squeezenet1_1, not of resnet18"):
        load_network("resnet18", OWN_WEIGHTS)
