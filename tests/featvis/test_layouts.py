"""Layouts of training scripts: the right weights are found, and what is not there is said."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from featvis.architectures import build
from featvis.errors import CheckpointError
from featvis.layers import check_weights, list_layers, select_layers, usable
from featvis.models import Network, load_network
from featvis.render import FeatVisConfig, render

pytestmark = pytest.mark.torch

State = dict[str, Tensor]
Layout = Callable[[State], object]


@pytest.fixture(scope="module")
def state() -> State:
    """A residual network's weights."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return dict(build("resnet18", 5, random=True).state_dict())


@pytest.fixture(scope="module")
def small() -> State:
    """A network without residuals."""
    return dict(load_network("squeezenet1_1", "random", seed=5).model.state_dict())


def loaded(folder: Path, content: object, name: str = "resnet18") -> Network:
    torch.save(content, folder / "file.pth")
    return load_network(name, str(folder / "file.pth"))


def refusal(folder: Path, content: object, name: str = "resnet18") -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        loaded(folder, content, name)
    assert len(f"{caught.value} {caught.value.hint}") < 1000
    return caught.value


def headless(state: State) -> State:
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


def other(state: State) -> State:
    return {key: value + 1 for key, value in state.items()}


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def inside(state: State, pattern: str, wrapper: str) -> State:
    return {re.sub(pattern, rf"\g<0>{wrapper}.", key): value for key, value in state.items()}


def numbered(state: State) -> State:
    """As `nn.Sequential(*list(model.children())[:-1])` names them."""
    places = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
    return {
        f"{places[key.partition('.')[0]]}.{key.partition('.')[2]}": value
        for key, value in headless(state).items()
    }


WHOLE: dict[str, Layout] = {
    "counters of a profiler": lambda s: {
        **s,
        "total_ops": torch.zeros(1),
        "conv1.total_ops": torch.zeros(1),
        "layer1.0.conv1.total_params": torch.zeros(1),
    },
    "a normaliser beside": lambda s: {**s, "mean": torch.ones(3), "std": torch.ones(3)},
    "a projector beside": lambda s: {**s, "projector.0.weight": torch.ones(3)},
    "a normaliser first": lambda s: {**under("1.", s), "0.mean": torch.ones(1, 3, 1, 1)},
    "DataParallel within": lambda s: inside(s, r"^layer\d\.", "module"),
    "torch.compile within": lambda s: inside(s, r"^layer\d\.0\.", "_orig_mod"),
    "checkpointing within": lambda s: inside(s, r"^layer\d\.0\.", "_checkpoint_wrapped_module"),
    "FSDP everywhere": lambda s: under(
        "_fsdp_wrapped_module.", inside(s, r"^layer\d\.\d\.", "_fsdp_wrapped_module")
    ),
    "teacher and student": lambda s: {"student": other(s), "teacher": s, "epoch": 3},
    "student first, in one": lambda s: {**under("student.", other(s)), **under("teacher.", s)},
    "encoder": lambda s: {"encoder": s},
    "encoder in net": lambda s: {"net": {"encoder": s}},
    "MoCo v3": lambda s: {
        "state_dict": {
            **under("module.momentum_encoder.", other(s)),
            **under("module.base_encoder.", s),
            "module.predictor.0.weight": torch.ones(3),
        }
    },
    "BYOL": lambda s: {"target_network": other(s), "online_network": s},
    "an average beside": lambda s: {"model_ema": other(s), "model": s},
    "Lightning with an average": lambda s: {
        "state_dict": {**under("ema_model.", other(s)), **under("model.", s)}
    },
}


@pytest.mark.parametrize("layout", WHOLE)
def test_the_networks_weights_are_found(tmp_path: Path, state: State, layout: str) -> None:
    network = loaded(tmp_path, WHOLE[layout](state))
    found = network.model.state_dict()
    assert network.lacks == {}
    assert network.num_classes == 5
    assert all(torch.equal(found[key], state[key]) for key in state)


BACKBONES: dict[str, Layout] = {
    "no head": headless,
    "an identity for a head": lambda s: {"backbone": headless(s)},
    "MoCo v2": lambda s: {
        "arch": "resnet18",
        "state_dict": {
            **under("module.encoder_k.", other(headless(s))),
            **under("module.encoder_q.", headless(s)),
            "module.encoder_q.fc.0.weight": torch.ones(5, 512),
            "module.encoder_q.fc.2.weight": torch.ones(5, 5),
            "module.queue": torch.ones(5, 9),
            "module.queue_ptr": torch.zeros(1).long(),
        },
    },
    "a head in a Sequential": lambda s: {**headless(s), "fc.1.weight": torch.ones(5, 512)},
    "DINO": lambda s: {
        "student": under("module.backbone.", other(headless(s))),
        "teacher": {**under("backbone.", headless(s)), "head.mlp.0.weight": torch.ones(3)},
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1.0}]},
    },
    "numbered children": lambda s: {"state_dict": under("backbone.", numbered(s))},
    "numbered children alone": numbered,
    "cut before the last block": lambda s: {
        k: v for k, v in headless(s).items() if not k.startswith("layer4.")
    },
}


@pytest.mark.parametrize("layout", BACKBONES)
def test_a_backbone_draws_all_layers_that_it_has(tmp_path: Path, state: State, layout: str) -> None:
    network = loaded(tmp_path, BACKBONES[layout](state))
    found = network.model.state_dict()
    own = [key for key in headless(state) if key not in network.lacks]
    assert all(torch.equal(found[key], state[key]) for key in own)
    assert {"fc.weight", "fc.bias"} <= network.lacks.keys()
    layers = list_layers(network)
    check_weights(network, select_layers(layers, ["layer3", "layer1.0.conv1"]))
    names = [layer.name for layer in usable(network, layers)]
    assert "layer3" in names
    assert "fc" not in names
    assert "output" not in names
    assert any("lacks the end of resnet18" in note for note in network.notes)


def test_a_head_that_is_missing_cannot_be_drawn(tmp_path: Path, state: State) -> None:
    network = loaded(tmp_path, headless(state))
    with pytest.raises(CheckpointError, match=r"output of resnet18 .* fc.weight is missing"):
        render(network, "output", [0], FeatVisConfig(size=32, batch_size=1), [None])  # type: ignore[list-item]
    assert network.model.state_dict()["fc.weight"].isnan().all()


def test_the_place_that_was_chosen_among_several_is_told(tmp_path: Path, state: State) -> None:
    network = loaded(tmp_path, WHOLE["teacher and student"](state))
    assert any("teacher is used, not student" in note for note in network.notes)


def test_a_network_that_is_there_twice_is_no_choice(tmp_path: Path, state: State) -> None:
    twice = {**under("module.model.", state), **under("module.attacker.model.", state)}
    assert not any("several" in note for note in loaded(tmp_path, twice).notes)


def test_a_normalisation_of_its_own_is_told(tmp_path: Path, state: State) -> None:
    imagenet = {"mean": torch.tensor([0.485, 0.456, 0.406]), "std": torch.tensor([0.229] * 3)}
    assert not any("normalises" in n for n in loaded(tmp_path, {**state, **imagenet}).notes)
    notes = loaded(tmp_path, {**state, "normalize.mean": torch.full((1, 3, 1, 1), 0.5)}).notes
    assert any("normalises pictures by numbers of its own (normalize.mean)" in n for n in notes)


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ("resnet18", "resnet34"),
        ("resnet34", "resnet18"),
        ("resnet50", "wide_resnet50_2"),
        ("squeezenet1_1", "squeezenet1_0"),
        ("vgg11", "vgg13"),
    ],
)
def test_a_relatives_weights_are_refused_by_its_name(
    tmp_path: Path, mine: str, theirs: str
) -> None:
    with torch.random.fork_rng():
        weights = build(theirs, 3).state_dict()
    if theirs.startswith("vgg"):  # the features alone: half a gigabyte less
        weights = {k: v for k, v in weights.items() if k.startswith("features")}
    error = refusal(tmp_path, weights, mine)
    assert f"--model {theirs}, whose weights these are" in (error.hint or "")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        (lambda s: {**s, "conv1.weight": torch.ones(64, 1, 7, 7)}, "RGB"),
        (lambda s: {**s, "conv1.weight": torch.ones(64, 3, 3, 3)}, "CIFAR"),
        (lambda s: {**s, "layer1.0.se.fc1.weight": torch.ones(3)}, "--model"),
        (lambda s: {**s, "layer1.0.conv1.lora_A.weight": torch.ones(3)}, "LoRA"),
        (lambda s: {"blocks.0.attn.qkv.weight": torch.ones(3)}, "timm:vit"),
    ],
)
def test_what_is_nearly_the_network_is_refused_with_the_reason(
    tmp_path: Path, state: State, change: Layout, hint: str
) -> None:
    assert hint in (refusal(tmp_path, change(state)).hint or "")


@pytest.mark.parametrize(
    ("broken", "fine"),
    [("classifier.1.weight", "features.12"), ("features.6.squeeze.weight", "features.4")],
)
def test_numbers_that_are_not_finite_matter_only_where_they_are_used(
    tmp_path: Path, small: State, broken: str, fine: str
) -> None:
    changed = {**small, broken: torch.full_like(small[broken], float("nan"))}
    network = loaded(tmp_path, changed, "squeezenet1_1")
    layers = list_layers(network)
    check_weights(network, select_layers(layers, [fine]))
    with pytest.raises(CheckpointError, match=f"{broken} is not finite") as caught:
        check_weights(network, select_layers(layers, ["output"]))
    last = (caught.value.hint or "").split()[1]
    check_weights(network, select_layers(layers, [last]))


NUMBERS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "fp8": (lambda v: v.to(torch.float8_e4m3fn), r"8-bit floats \(torch.float8_e4m3fn\)"),
    "fp8 with more range": (lambda v: v.to(torch.float8_e5m2), "8-bit floats"),
    "int8": (lambda v: (v * 9).to(torch.int8), r"integers \(torch.int8\)"),
    "uint8": (lambda v: (v * 9).to(torch.uint8), "integers"),
    "int64": (lambda v: v.long(), "integers"),
    "bool": (lambda v: v > 0, "integers"),
    "larger than its data": (
        lambda v: v.flatten()[:1].clone().expand(v.shape),
        "larger than their data",
    ),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_that_are_no_weights_are_refused_by_name(
    tmp_path: Path, small: State, kind: str
) -> None:
    convert, what = NUMBERS[kind]
    key = "features.3.squeeze.weight"
    changed = {**small, key: convert(small[key])}
    with pytest.raises(CheckpointError, match=what):
        raise refusal(tmp_path, changed, "squeezenet1_1")


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
def test_quantized_weights_are_refused_by_name(tmp_path: Path, small: State) -> None:
    key = "features.3.squeeze.weight"
    changed = {**small, key: torch.quantize_per_tensor(small[key], 0.1, 0, torch.qint8)}
    with pytest.raises(CheckpointError, match=r"quantized weights \(torch.qint8\)"):
        raise refusal(tmp_path, changed, "squeezenet1_1")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_become_float32(tmp_path: Path, small: State, dtype: torch.dtype) -> None:
    network = loaded(tmp_path, {k: v.to(dtype) for k, v in small.items()}, "squeezenet1_1")
    assert {p.dtype for p in network.model.parameters()} == {torch.float32}


def test_names_of_any_length_and_kind_stay_on_a_short_line(tmp_path: Path) -> None:
    error = refusal(tmp_path, {f"\x1b[31m\n{'long' * 9999}{i}": torch.ones(1) for i in range(9)})
    assert str(error).isprintable()
