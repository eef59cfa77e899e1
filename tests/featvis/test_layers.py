"""Every layer of every architecture has a name, a channel axis and a share of the cost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featvis.architectures import model_names
from featvis.errors import UnknownLayerError, UnknownModelError
from featvis.layers import (
    Layer,
    Layers,
    layers_of,
    list_layers,
    select_layers,
)
from featvis.models import Network, load_network

pytestmark = pytest.mark.torch

SAMPLE = [
    "convnext_tiny",
    "densenet121",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11_bn",
    "vit_b_32",
]
OTHERS = sorted(set(model_names()) - set(SAMPLE))


def _by_name(layers: Layers) -> dict[str, Layer]:
    return {layer.name: layer for layer in layers}


def _check_architecture(name: str) -> None:
    layers = layers_of(name)
    names = [layer.name for layer in layers]
    assert len(set(names)) == len(names)
    assert layers[-1].name == "output"
    assert (layers[-1].channels, layers[-1].axis, layers[-1].cost) == (1000, 1, 1.0)
    costs = [layer.cost for layer in layers]
    assert costs == sorted(costs)
    assert costs[0] >= 0
    for layer in layers:
        assert layer.channels == layer.shape[layer.axis - 1] >= 1
        assert 0 <= layer.own <= layer.cost
    auto = select_layers(layers, ["auto"])
    assert 4 <= len(auto) <= 8
    assert all(layer.channels >= 16 and len(layer.shape) > 1 for layer in auto)


@pytest.mark.parametrize("name", SAMPLE)
def test_architecture_is_addressable(name: str) -> None:
    _check_architecture(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_other_architecture_is_addressable(name: str) -> None:
    _check_architecture(name)


@pytest.mark.parametrize(
    ("name", "layer", "channels", "axis"),
    [
        ("resnet18", "layer3", 256, 1),
        ("swin_t", "features.3.0", 192, 3),  # pictures stay (height, width, channels)
        ("swin_v2_t", "features.5.1.mlp.0", 1536, 3),
        ("convnext_tiny", "features.3.0", 192, 1),
        ("convnext_tiny", "features.3.0.block.3", 768, 3),  # linear inside, channels last
        ("vit_b_32", "encoder.layers.encoder_layer_4", 768, 2),
        ("vit_b_32", "encoder.layers.encoder_layer_4.self_attention", 768, 2),  # gives a tuple
        ("vit_b_32", "conv_proj", 768, 1),
        ("maxvit_t", "blocks.0", 64, 1),
        ("maxvit_t", "blocks.1.layers.0.layers.window_attention.mlp_layer", 128, 3),
        ("alexnet", "avgpool", 256, 1),  # 6 x 6 for every picture size
        ("squeezenet1_1", "classifier.3", 1000, 1),
        ("googlenet", "inception3a", 256, 1),
    ],
)
def test_channel_axis_is_found(name: str, layer: str, channels: int, axis: int) -> None:
    found = _by_name(layers_of(name))[layer]
    assert (found.channels, found.axis) == (channels, axis)


def test_module_that_runs_twice_has_a_layer_a_call() -> None:
    layers = _by_name(layers_of("resnet18"))
    first, second = layers["layer1.0.relu@1"], layers["layer1.0.relu@2"]
    assert first.cost < second.cost
    assert (first.module, first.call) == ("layer1.0.relu", 1)
    assert (second.module, second.call) == ("layer1.0.relu", 2)
    with pytest.raises(UnknownLayerError, match="runs 2 times") as caught:
        select_layers(layers_of("resnet18"), ["layer1.0.relu"])
    assert caught.value.hint == "layer1.0.relu@1"


def test_module_that_never_runs_is_explained() -> None:
    name = "encoder.layers.encoder_layer_0.self_attention.out_proj"
    with pytest.raises(UnknownLayerError, match="never runs as a module of its own"):
        select_layers(layers_of("vit_b_32"), [name])


def test_output_without_a_batch_is_explained() -> None:
    with pytest.raises(UnknownLayerError, match="no channels of one picture each"):
        select_layers(layers_of("swin_v2_t"), ["features.1.0.attn.cpb_mlp.0"])


def test_shapes_and_costs_agree_with_a_real_pass() -> None:
    network = load_network("mobilenet_v3_small", "random")
    seen: dict[str, tuple[int, ...]] = {}
    handles = [
        module.register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: tuple(output.shape[1:])})
        )
        for name, module in network.model.named_modules()
    ]
    with torch.no_grad():
        network.model(torch.zeros(1, 3, 224, 224))
    for handle in handles:
        handle.remove()
    layers = list_layers(network)
    assert {layer.module: layer.shape for layer in layers} == seen


def test_cost_share_matches_multiply_adds() -> None:
    """AlexNet's convolutions hold 657 of its 714 million multiply-adds at 224 pixels."""
    layer = _by_name(layers_of("alexnet"))["features"]
    assert layer.cost == pytest.approx(657 / 714, abs=0.01)


def test_own_module_with_channels_first_is_listed() -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 5, 3)
            self.unused = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.stem(x).mean((2, 3))

    network = Network(Small(), "small", input_size=32, num_classes=5)
    layers = list_layers(network)
    assert [layer.name for layer in layers] == ["stem", "output"]
    assert (layers[0].shape, layers[0].axis, layers[0].kind) == ((5, 30, 30), 1, "Conv2d")
    assert "never runs" in layers.silent["unused"]


def test_layer_list_of_a_fine_tuned_network_has_its_head() -> None:
    assert layers_of("resnet18", 7)[-1].channels == 7


def test_unknown_model_is_refused() -> None:
    with pytest.raises(UnknownModelError, match="resnet19"):
        layers_of("resnet19")


def _names(layers: list[Layer]) -> list[str]:
    return [layer.name for layer in layers]


def test_globs_and_expressions_select_in_network_order() -> None:
    layers = layers_of("resnet18")
    assert _names(select_layers(layers, ["layer[34].1", "layer2.0"])) == [
        "layer2.0",
        "layer3.1",
        "layer4.1",
    ]
    assert _names(select_layers(layers, [r"re:layer\d$"])) == [
        "layer1",
        "layer2",
        "layer3",
        "layer4",
    ]
    assert select_layers(layers, ["layer1", "layer1*"]) == select_layers(layers, ["layer1*"])
    assert select_layers(layers, []) == select_layers(layers, ["auto"])


@pytest.mark.parametrize(
    ("pattern", "near"), [("layr3.0", "layer3.0"), ("Layer1*", "layer1"), ("re:layer9$", "layer")]
)
def test_unknown_layer_suggests_the_nearest(pattern: str, near: str) -> None:
    with pytest.raises(UnknownLayerError, match="resnet18") as caught:
        select_layers(layers_of("resnet18"), [pattern])
    assert near in (caught.value.hint or "")


def test_broken_expression_is_refused() -> None:
    with pytest.raises(UnknownLayerError, match="no regular expression"):
        select_layers(layers_of("resnet18"), ["re:layer("])
