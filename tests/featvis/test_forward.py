"""The network stops at the layer, keeps no hook, and dead ReLUs pass what wakes them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from featvis.errors import UnknownLayerError
from featvis.forward import Rectifiers, tapped
from featvis.layers import Layer, layers_of, list_layers
from featvis.models import Network, load_network

pytestmark = pytest.mark.torch


def _layer(name: str) -> Layer:
    return Layer(name, 1, (1, 1, 1), 1, 0.5, "Module")


class Sample(nn.Module):
    """In-place ReLUs, a module called twice, a join of ReLUs and a part never reached."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.second = nn.Conv2d(4, 4, 1)
        self.join = Join()
        self.behind = nn.Conv2d(8, 2, 1)
        self.reached = 0

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.first(x))
        x = self.relu(self.second(x))
        x = self.join(x)
        self.reached += 1
        return self.behind(x)


class Join(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.relu(x - 0.2), torch.relu(0.2 - x)], 1)


@pytest.fixture
def model() -> Sample:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Sample().eval().requires_grad_(False)


@pytest.fixture
def views() -> Tensor:
    return torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))


def _hook_count(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_pass_stops_at_the_layer(model: Sample, views: Tensor) -> None:
    with tapped(model, _layer("join")) as tap:
        output, _ = tap(views)
    assert output.shape == (2, 8, 6, 6)
    assert model.reached == 0


def test_output_is_not_overwritten_by_the_relu_behind_it(model: Sample, views: Tensor) -> None:
    with tapped(model, _layer("first")) as tap:
        output, before = tap(views)
    assert torch.equal(output, model.first(views))
    assert before is output


def test_layer_that_ends_in_relu_also_gives_what_went_in(model: Sample, views: Tensor) -> None:
    with tapped(model, _layer("relu")) as tap:
        output, before = tap(views)
    assert torch.equal(before, model.first(views))
    assert torch.equal(output, before.clamp(min=0))
    assert float(before.min()) < 0


def test_second_call_is_reached_by_its_number(model: Sample, views: Tensor) -> None:
    with tapped(model, _layer("relu@2")) as tap:
        for _ in range(2):
            output, before = tap(views)
    expected = model.second(model.first(views).relu())
    assert torch.allclose(before, expected)
    assert torch.allclose(output, expected.relu())


def test_join_of_relus_gives_what_went_into_all(model: Sample, views: Tensor) -> None:
    with tapped(model, _layer("join")) as tap:
        output, before = tap(views)
    x = model.second(model.first(views).relu()).relu()
    assert torch.allclose(before, torch.cat([x - 0.2, 0.2 - x], 1))
    assert torch.allclose(output, before.relu())


def test_fire_module_of_squeezenet_ends_in_joined_relus() -> None:
    network = load_network("squeezenet1_1", "random")
    with tapped(network.model, _layer("features.4")) as tap:
        output, before = tap(torch.randn(1, 3, 32, 32))
    assert torch.equal(output, before.relu())
    assert float(before.min()) < 0


def test_no_hook_is_left(model: Sample, views: Tensor) -> None:
    with tapped(model, _layer("join")) as tap:
        assert _hook_count(model) == 1
        tap(views)
    with pytest.raises(RuntimeError), tapped(model, _layer("join")) as tap:
        tap(views[:, :1])
    list_layers(Network(model, "own", input_size=8, num_classes=2))
    layers_of("squeezenet1_0")
    assert _hook_count(model) == 0


def test_layer_that_does_not_run_is_an_error(model: Sample, views: Tensor) -> None:
    with pytest.raises(UnknownLayerError, match="relu@3 did not run"):  # noqa: SIM117
        with tapped(model, _layer("relu@3")) as tap:
            tap(views)


RELUS: list[tuple[Callable[[Tensor], Tensor], float]] = [
    (F.relu, 0.0),
    (torch.relu, 0.0),
    (lambda x: x.relu(), 0.0),
    (lambda x: x.clone().relu_(), 0.0),
    (lambda x: torch.relu_(x.clone()), 0.0),
    (lambda x: F.relu(x.clone(), inplace=True), 0.0),
    (nn.ReLU(), 0.0),
    (F.relu6, 0.0),
    (nn.ReLU6(inplace=True), 0.0),
    (lambda x: F.hardtanh_(x.clone(), 0.0, 6.0), 0.0),
    (nn.Hardtanh(-1.0, 1.0), -1.0),
]


@pytest.mark.parametrize(("relu", "low"), RELUS)
def test_dead_relu_passes_waking_gradients_only_while_reviving(
    relu: Callable[[Tensor], Tensor], low: float
) -> None:
    x = torch.full((1, 4), low - 1).requires_grad_(True)
    for revive, expected in ((False, 0.0), (True, -1.0)):
        with Rectifiers(revive):
            y = relu(x)
        assert torch.equal(y.detach(), torch.full((1, 4), low))
        (gradient,) = torch.autograd.grad(-y.sum(), [x])  # minimising wants it larger
        assert torch.equal(gradient, torch.full((1, 4), expected))
        with Rectifiers(revive):
            y = relu(x)
        (gradient,) = torch.autograd.grad(y.sum(), [x])  # minimising wants it smaller
        assert torch.equal(gradient, torch.zeros(1, 4))


def test_saturated_relu6_passes_gradients_that_bring_it_down() -> None:
    x = torch.full((1, 2), 7.0).requires_grad_(True)
    with Rectifiers(True):
        y = F.relu6(x)
    assert torch.equal(torch.autograd.grad(y.sum(), [x])[0], torch.ones(1, 2))


def test_picture_with_a_living_gradient_is_left_as_it_is() -> None:
    x = torch.tensor([[1.0, -1.0], [-1.0, -2.0]], requires_grad=True)
    with Rectifiers(True):
        y = F.relu(x)
    (gradient,) = torch.autograd.grad(-y.sum(), [x])
    assert gradient.tolist() == [[-1.0, 0.0], [-1.0, -1.0]]


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "googlenet", "densenet121"])
def test_watching_changes_no_activation(name: str) -> None:
    network = load_network(name, "random")
    views = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    plain = copy.deepcopy(network.model)(views)
    for revive in (False, True):
        with tapped(network.model, _layer("output")) as tap:
            output, _ = tap(views, revive=revive)
        assert torch.equal(output, plain)
