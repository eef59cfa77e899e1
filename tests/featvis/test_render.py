"""A few steps raise every objective, and a picture depends on its own target alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from featvis.config import PARAMETRIZATIONS, FeatVisConfig
from featvis.errors import ChannelRangeError, FeatVisError, UnknownLayerError
from featvis.layers import list_layers, select_layers
from featvis.models import Network, load_network
from featvis.objectives import Channel, DeepDream, Direction, Diverse, Neuron, Objective
from featvis.parametrizations import make_parametrization
from featvis.render import (
    GREY_COLOR,
    GREY_CONTRAST,
    Rendered,
    are_grey,
    is_grey,
    network_side,
    padding_of,
    render,
    working_side,
)
from tests.conftest import picture

pytestmark = pytest.mark.torch

QUICK = FeatVisConfig(size=48, steps=6, batch_size=4, max_restarts=0)
# One view for all steps, so that the objective of two steps can be compared.
STILL = FeatVisConfig(
    size=48, steps=20, batch_size=4, zoom_min=1, zoom_max=1, rotation=0, jitter=0, max_restarts=0
)
CHANNELS = [3, 0, 7, 12]


@pytest.fixture(scope="module")
def squeezenet() -> Network:
    return load_network("squeezenet1_1", "random", seed=1)


@pytest.fixture(scope="module")
def resnet() -> Network:
    return load_network("resnet18", "random", seed=1)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _rngs(channels: Sequence[int]) -> list[np.random.Generator]:
    return [np.random.default_rng([11, c]) for c in channels]


def _render(
    network: Network,
    layer: str,
    channels: Sequence[int] = CHANNELS,
    config: FeatVisConfig = QUICK,
    objective: Objective | None = None,
) -> Rendered:
    return render(network, layer, objective or channels, config, _rngs(channels))


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_a_few_steps_raise_a_class(resnet: Network, name: str) -> None:
    config = replace(STILL, parametrization=name)
    done = _render(resnet, "output", config=config)
    assert (done.end > done.start).all()


OBJECTIVES: list[Objective] = [
    Channel((3, 0, 7, 12)),
    Neuron((3, 0, 7, 12)),
    Direction(np.eye(128, dtype=np.float32)[:4] + np.eye(128, dtype=np.float32)[4:8]),
    DeepDream(4),
    Diverse(Channel((3, 3, 7, 7)), (0, 0, 1, 1), 0.1),
]


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_a_few_steps_raise_every_objective(
    resnet: Network, objective: Objective, name: str
) -> None:
    config = replace(STILL, parametrization=name, steps=10)
    done = _render(resnet, "layer2.0", config=config, objective=objective)
    assert (done.end > done.start).all()


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_a_few_steps_raise_a_layer_from_a_given_picture(resnet: Network, name: str) -> None:
    config = replace(STILL, parametrization=name, steps=6, batch_size=2)
    given = picture(3, 48, 48).transpose(2, 0, 1)[None].astype(np.float32) / 255
    starts = np.concatenate([given, 1 - given])
    done = render(resnet, "layer2.0", DeepDream(2), config, _rngs([0, 1]), starts=starts)
    assert (done.end > done.start).all()
    assert not np.array_equal(done.pixels[0], done.pixels[1])


def test_groups_of_pictures_that_differ_do_not_touch_each_other(resnet: Network) -> None:
    """Also not through the padding, nor through a group's place in the batch."""
    pair = Diverse(Channel((3, 3)), (0, 0), 1.0)
    both = Diverse(Channel((7, 7, 3, 3)), (0, 0, 1, 1), 1.0)
    alone = render(resnet, "layer2.0", pair, QUICK, _rngs([20, 21])).pixels
    beside = render(resnet, "layer2.0", both, QUICK, _rngs([30, 31, 20, 21])).pixels
    plain = render(resnet, "layer2.0", [3, 3], QUICK, _rngs([20, 21])).pixels
    assert np.array_equal(alone, beside[2:])
    assert not np.array_equal(alone, plain)
    assert not np.array_equal(alone[0], alone[1])


def test_diversity_is_refused_where_there_are_no_places(resnet: Network) -> None:
    goal = Diverse(Channel((3, 3)), (0, 0), 1.0)
    with pytest.raises(FeatVisError, match="a map"):
        render(resnet, "output", goal, QUICK, _rngs([0, 1]))


def test_direction_of_another_layer_is_refused(resnet: Network) -> None:
    goal = Direction(np.ones((1, 3), np.float32))
    with pytest.raises(ChannelRangeError, match=r"3 channels does not fit layer1\.0"):
        render(resnet, "layer1.0", goal, QUICK, _rngs([0]))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("swin_t", "features.1.0"),
        ("convnext_tiny", "features.1.0.block.3"),
        ("vit_b_32", "encoder.layers.encoder_layer_0.self_attention"),
        ("resnet18", "layer1.0.relu@2"),
        ("mobilenet_v2", "features.2"),
        ("googlenet", "inception3a"),
    ],
)
def test_a_few_steps_raise_every_kind_of_layer(name: str, layer: str) -> None:
    network = load_network(name, "random", seed=2)
    config = replace(STILL, steps=6, batch_size=2)
    done = _render(network, layer, [1, 2], config)
    assert done.pixels.shape == (2, 48, 48, 3)
    assert (done.end > done.start).all()


def test_diverse_pictures_of_one_channel_are_less_alike() -> None:
    """Against activations of two like pictures, their likeness costs score."""
    like = torch.ones(2, 3, 4, 4)
    unlike = torch.stack([torch.ones(3, 4, 4), torch.zeros(3, 4, 4)])
    unlike[1, 0] = 1
    goal = Diverse(Channel((0, 0)), (5, 5), 1.0)
    assert goal.score(like).tolist() == pytest.approx([0, 0], abs=1e-5)
    assert (goal.score(unlike) > 0.5).all()
    alone = Diverse(Channel((0, 0)), (5, 6), 1.0)
    assert alone.score(like).tolist() == [1, 1]


def test_objectives_score_what_they_say() -> None:
    activations = torch.zeros(2, 3, 5, 5)
    activations[0, 1] = 2
    activations[1, 2, 2, 2] = 25
    assert Channel((1, 2)).score(activations).tolist() == [2, 1]
    assert Neuron((1, 2)).score(activations).tolist() == [2, 25]
    assert Neuron((1, 2)).take([1]).score(activations[1:]).tolist() == [25]
    vectors = np.array([[0, 3, 4], [0, 0, 2]], np.float32)
    assert Direction(vectors).score(activations).tolist() == pytest.approx([1.2, 1])
    assert DeepDream(2).score(activations).tolist() == pytest.approx([4 / 3, 625 / 75])
    flat = torch.tensor([[1.0, 2.0, 3.0]])
    assert Channel((2,)).score(flat).tolist() == [3]
    assert Neuron((2,)).score(flat).tolist() == [3]


@pytest.mark.parametrize(
    ("fixture", "layer"),
    [("resnet", "layer2.0"), ("squeezenet", "features.6"), ("resnet", "output")],
)
def test_picture_is_the_same_bytes_whatever_shares_its_batch(
    fixture: str, layer: str, request: pytest.FixtureRequest
) -> None:
    network = request.getfixturevalue(fixture)
    full = _render(network, layer, [3, 0, 7, 12]).pixels
    alone = _render(network, layer, [7]).pixels
    elsewhere = _render(network, layer, [7, 1, 2]).pixels
    assert np.array_equal(full[2], alone[0])
    assert np.array_equal(full[2], elsewhere[0])
    assert not np.array_equal(full[2], full[0])


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_same_generator_same_bytes_and_another_start_another_picture(
    resnet: Network, name: str
) -> None:
    config = FeatVisConfig(size=48, steps=4, batch_size=2, parametrization=name)
    torch.manual_seed(0)
    one = _render(resnet, "layer1.0", [5], config).pixels
    torch.manual_seed(1)
    two = _render(resnet, "layer1.0", [5], config).pixels
    other = render(resnet, "layer1.0", [5], config, [np.random.default_rng(99)]).pixels
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_torchs_global_generator_is_neither_read_nor_moved(resnet: Network) -> None:
    before = torch.get_rng_state()
    _render(resnet, "layer1.0", [5])
    assert torch.equal(torch.get_rng_state(), before)


def test_rendering_leaves_no_hook_and_no_gradient(resnet: Network) -> None:
    _render(resnet, "layer1.0")
    modules = list(resnet.model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in modules)
    assert all(p.grad is None and not p.requires_grad for p in resnet.model.parameters())


class Dead(nn.Module):
    """Channel 0 wants more red over blue than the start noise ever has; channel 1 wants the
    opposite and lives at once; channel 2 is constant, so nothing excites it."""

    def __init__(self) -> None:
        super().__init__()
        self.colors = nn.Conv2d(3, 2, 1)
        self.relu = nn.ReLU(inplace=True)
        self.mix = nn.Conv2d(2, 3, 1)
        with torch.no_grad():
            self.colors.weight.copy_(torch.tensor([[1.0, 0, -1], [-1, 0, 1]]).view(2, 3, 1, 1))
            assert self.colors.bias is not None
            assert self.mix.bias is not None
            self.colors.bias.copy_(torch.tensor([-1.5, 0.5]))
            self.mix.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [0, 0]]).view(3, 2, 1, 1))
            self.mix.bias.copy_(torch.tensor([0.0, 0, 1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.mix(self.relu(self.colors(x)))


@pytest.fixture
def dead() -> Network:
    model = Dead().eval().requires_grad_(False)
    return Network(model, "dead", input_size=32, num_classes=3)


def test_dead_channel_is_revived(dead: Network) -> None:
    config = FeatVisConfig(size=32, steps=40, batch_size=1, revive_steps=0, max_restarts=0)
    left_dead = _render(dead, "mix", [0], config)
    assert left_dead.end[0] == 0
    assert left_dead.grey[0]
    config = FeatVisConfig(size=32, steps=40, batch_size=1, max_restarts=0)
    revived = _render(dead, "mix", [0], config)
    assert revived.start[0] == 0
    assert revived.end[0] > 0.1
    assert not revived.grey[0]


def test_channel_behind_a_relu_is_led_by_what_goes_in(dead: Network) -> None:
    config = FeatVisConfig(size=32, steps=40, batch_size=1, revive_steps=0, max_restarts=0)
    done = _render(dead, "relu", [0], config)
    assert not done.grey[0]


def test_grey_picture_is_redone_and_then_said_so(dead: Network) -> None:
    config = FeatVisConfig(size=32, steps=10, batch_size=3, max_restarts=2)
    done = _render(dead, "mix", [1, 2], config)
    assert done.restarts.tolist() == [0, 2]
    assert done.grey.tolist() == [False, True]
    alone = _render(dead, "mix", [2], config)
    assert np.array_equal(alone.pixels[0], done.pixels[1])
    once = _render(dead, "mix", [2], FeatVisConfig(size=32, steps=10, batch_size=3, max_restarts=0))
    assert not np.array_equal(once.pixels[0], alone.pixels[0])  # the start was another


def test_grey_means_neither_contrast_nor_colour() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 4, (32, 32, 1)).repeat(3, 2).clip(0, 255).astype(np.uint8)
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[::2] = 255
    blue = np.zeros((32, 32, 3), np.uint8)
    blue[..., 2] = 200
    assert is_grey(noise)
    assert not is_grey(stripes)
    assert not is_grey(blue)


def test_pictures_of_a_batch_are_grey_or_not_each_for_itself() -> None:
    rng = np.random.default_rng(1)
    contrast = rng.uniform(0, 2 * GREY_CONTRAST, 64)
    brightness = rng.normal(128, contrast[:, None, None, None], (64, 32, 32, 1))
    tint = rng.uniform(0, 2 * GREY_COLOR, (64, 1, 1, 1)) * (-0.5, 0, 0.5)
    pictures = (brightness + tint).round().clip(0, 255).astype(np.uint8)
    values = pictures.astype(float)
    flat = values.mean(3).std((1, 2)) < GREY_CONTRAST
    pale = (values.max(3) - values.min(3)).mean((1, 2)) < GREY_COLOR
    got = are_grey(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert got.tolist() == (flat & pale).tolist()
    assert 0 < got.sum() < 64
    assert got.tolist() == [is_grey(picture) for picture in pictures]


def test_only_the_cpus_batches_are_filled_up() -> None:
    config = FeatVisConfig(batch_size=8)
    assert padding_of(config, 3, "cpu") == 5
    assert padding_of(config, 3, "cuda:1") == 0


@pytest.mark.parametrize("kind", ["fourier", "maco", "pixel"])
def test_start_noise_is_the_same_for_any_number_of_threads(kind: str) -> None:
    config = FeatVisConfig(parametrization=kind)
    before = torch.get_num_threads()
    drawn = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            rngs = [np.random.default_rng(i) for i in range(5)]
            drawn.append(make_parametrization(config, 16, rngs, "cpu").parameter.detach().numpy())
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(drawn[0], drawn[1])
    assert len({picture.tobytes() for picture in drawn[0]}) == 5


@pytest.mark.parametrize(("size", "network_size"), [(2, None), (17, None), (40, 32), (24, 48)])
def test_picture_size_is_apart_from_the_networks(
    squeezenet: Network, size: int, network_size: int | None
) -> None:
    config = FeatVisConfig(
        size=size, network_size=network_size, steps=2, batch_size=1, max_restarts=0
    )
    pixels = _render(squeezenet, "features.3", [0], config).pixels
    assert pixels.shape == (1, size, size, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags["C_CONTIGUOUS"]


def test_larger_picture_continues_the_smaller(squeezenet: Network) -> None:
    small = FeatVisConfig(size=40, network_size=40, steps=3, batch_size=1, max_restarts=0)
    large = FeatVisConfig(size=120, network_size=40, steps=3, batch_size=1, max_restarts=0)
    one = _render(squeezenet, "features.3", [0], small).pixels[0].astype(int)
    two = _render(squeezenet, "features.3", [0], large).pixels[0].astype(int)
    assert working_side(120, 40) == 40
    assert np.abs(two[::3, ::3] - one).mean() < 2


def test_network_size_too_small_says_the_smallest_that_works(squeezenet: Network) -> None:
    layer = select_layers(list_layers(squeezenet), ["features.12"])[0]
    with pytest.raises(FeatVisError, match=r"smallest that works is (\d+)") as caught:
        network_side(squeezenet, layer, FeatVisConfig(network_size=8))
    smallest = int(str(caught.value).rsplit(maxsplit=1)[1].rstrip("."))
    assert str(smallest) in (caught.value.hint or "")
    config = FeatVisConfig(size=8, network_size=smallest, steps=1, batch_size=1)
    assert network_side(squeezenet, layer, config) == smallest
    _render(squeezenet, "features.12", [0], config)
    features: Any = squeezenet.model.features
    with pytest.raises(RuntimeError):
        features[:13](torch.zeros(1, 3, smallest - 1, smallest - 1))


def test_small_picture_is_seen_at_the_smallest_size_that_works(squeezenet: Network) -> None:
    layer = select_layers(list_layers(squeezenet), ["features.12"])[0]
    assert network_side(squeezenet, layer, FeatVisConfig(size=4)) > 4
    assert network_side(squeezenet, layer, FeatVisConfig(size=100)) == 100
    assert network_side(squeezenet, layer, FeatVisConfig(size=500)) == 128
    assert network_side(squeezenet, layer, FeatVisConfig(size=100, network_size=224)) == 224


def test_fixed_size_network_takes_its_own_size_only() -> None:
    network = Network(nn.Conv2d(3, 2, 1), "own", input_size=40, fixed_size=True, num_classes=2)
    layer = list_layers(network)[0]
    assert network_side(network, layer, FeatVisConfig(size=500)) == 40
    with pytest.raises(FeatVisError, match="40 pixels only, not 64"):
        network_side(network, layer, FeatVisConfig(network_size=64))


def test_channel_out_of_range_says_the_range(resnet: Network) -> None:
    with pytest.raises(ChannelRangeError, match=r"layer1\.0 has 64 channels, 0 to 63"):
        _render(resnet, "layer1.0", [64])


def test_unknown_layer_is_refused(resnet: Network) -> None:
    with pytest.raises(UnknownLayerError, match=r"layer9"):
        _render(resnet, "layer9", [0])


@pytest.mark.parametrize("channels", [[], [0, 1, 2, 3, 4]])
def test_batch_that_does_not_fit_is_refused(resnet: Network, channels: list[int]) -> None:
    with pytest.raises(FeatVisError, match="batch of 4"):
        _render(resnet, "layer1.0", channels)


def _likeness(one: Rendered, other: Rendered) -> float:
    """Correlation of two batches' pixels. Adam's first steps follow the sign of gradients, so
    rounding decides where they are near zero: what agrees is the picture, not its pixels."""
    flat = np.stack([one.pixels.ravel(), other.pixels.ravel()]).astype(float)
    return float(np.corrcoef(flat)[0, 1])


def test_bfloat16_draws_nearly_the_same_picture(squeezenet: Network) -> None:
    full = _render(squeezenet, "features.3", config=STILL)
    low = _render(squeezenet, "features.3", config=replace(STILL, precision="bfloat16"))
    assert 0.5 < _likeness(full, low) < 1
    assert np.allclose(full.end, low.end, rtol=0.1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_cuda_draws_nearly_the_picture_of_the_cpu(precision: str) -> None:
    config = replace(STILL, precision=precision)
    here = load_network("squeezenet1_1", "random")
    there = load_network("squeezenet1_1", "random", device="cuda")
    one = _render(here, "features.3", config=STILL)
    two = _render(there, "features.3", config=config)
    assert _likeness(one, two) > 0.5
    assert np.allclose(one.end, two.end, rtol=0.1)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "googlenet", "convnext_tiny"])
def test_cuda_raises_every_kind_of_layer(name: str) -> None:
    network = load_network(name, "random", device="cuda")
    layer = select_layers(list_layers(network), ["auto"])[2]
    done = render(network, layer, CHANNELS, STILL, _rngs(CHANNELS))
    assert (done.end > done.start).all()
