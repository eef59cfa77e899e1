"""Folding batch normalisation away changes nothing but the folded convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featvis.folding import fold, foldable_pairs
from featvis.forward import tapped
from featvis.layers import list_layers, select_layers
from featvis.models import Network, load_network

pytestmark = pytest.mark.torch


def _unsettle(network: Network) -> Network:
    """Random statistics and weights in every batch normalisation, as if trained."""
    source = torch.Generator().manual_seed(3)
    for module in network.model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.running_var, module.weight, module.bias):
                assert tensor is not None
                with torch.no_grad():
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=source))
    return network


@pytest.mark.parametrize(
    ("name", "pairs"),
    [("resnet18", 20), ("mobilenet_v3_small", 34), ("densenet121", 59), ("googlenet", 57)],
)
def test_folded_network_gives_the_same_output(name: str, pairs: int) -> None:
    network = _unsettle(load_network(name, "random"))
    assert len(foldable_pairs(network.skeleton(), 224)) == pairs
    views = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = network.model(views)
    folded = network.ready()
    assert folded is not network.model
    assert torch.allclose(folded(views), expected, rtol=1e-3, atol=1e-4 * expected.abs().max())


@pytest.mark.parametrize("layer", ["conv1", "bn1", "layer1.0.conv2", "layer2.0.downsample.1"])
def test_every_layer_keeps_its_output(layer: str) -> None:
    network = _unsettle(load_network("resnet18", "random"))
    target = select_layers(list_layers(network), [layer])[0]
    views = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with tapped(network.model, target) as tap:
        expected, _ = tap(views)
    with tapped(network.ready(layer), target) as tap:
        output, _ = tap(views)
    assert torch.allclose(output, expected, rtol=1e-3, atol=1e-4)
    assert (network.ready(layer) is network.model) == layer.endswith(("conv1", "conv2"))


def test_network_without_batch_normalisation_is_used_as_it_is() -> None:
    network = load_network("squeezenet1_1", "random")
    assert foldable_pairs(network.skeleton(), 224) == {}
    assert network.ready() is network.model


class Shared(nn.Module):
    """A convolution that something else reads too, and one that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice = nn.Conv2d(3, 3, 1)
        self.run_twice = nn.Conv2d(3, 3, 1)
        self.fine = nn.Conv2d(3, 3, 1)
        self.one = nn.BatchNorm2d(3)
        self.two = nn.BatchNorm2d(3)
        self.three = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.read_twice(x)
        z = self.two(self.run_twice(self.one(y) + y))
        return self.three(self.fine(self.run_twice(z)))


def test_convolutions_with_other_readers_are_left_alone() -> None:
    model = Shared().eval().requires_grad_(False)
    with torch.device("meta"):
        skeleton = Shared().eval()
    pairs = foldable_pairs(skeleton, 8)
    assert pairs == {"fine": "three"}
    views = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(fold(model, pairs)(views), model(views), atol=1e-6)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in skeleton.modules())
