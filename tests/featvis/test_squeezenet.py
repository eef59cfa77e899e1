"""Our own copy of SqueezeNet 1.1, and our own Adam: as torchvision and torch have them."""

from __future__ import annotations

import pytest
import torch
import torchvision

from featvis import squeezenet
from featvis.adam import Adam
from featvis.architectures import skeleton
from featvis.layers import _probe, layers_of

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("classes", [None, 7])
def test_squeezenet_draws_the_weights_that_torchvision_draws(classes: int | None) -> None:
    torch.manual_seed(5)
    ours = squeezenet.build(classes).state_dict()
    torch.manual_seed(5)
    theirs = torchvision.models.squeezenet1_1(num_classes=classes or 1000).state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert ours._metadata == theirs._metadata  # type: ignore[attr-defined]


def test_squeezenet_gives_the_scores_that_torchvisions_gives() -> None:
    theirs = torchvision.models.squeezenet1_1().eval()
    ours = squeezenet.build(random=False).eval()
    ours.load_state_dict(theirs.state_dict())
    pictures = torch.rand(2, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(ours(pictures), theirs(pictures))


def test_squeezenets_layers_are_those_of_torchvisions_on_the_meta_device() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.squeezenet1_1().eval()
    assert list(layers_of("squeezenet1_1")) == list(_probe(theirs, theirs, "theirs", 224))


def test_a_skeleton_leaves_torchs_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    skeleton("squeezenet1_1")
    assert torch.equal(torch.get_rng_state(), before)


def test_adam_takes_the_steps_that_torchs_takes_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(3, 5, 7, generator=generator)
    ours, theirs = start.clone().requires_grad_(True), start.clone().requires_grad_(True)
    adam, peer = Adam(ours, 0.05, 1e-12), torch.optim.Adam([theirs], lr=0.05, eps=1e-12)
    for step in range(70):
        theirs.grad = torch.randn(3, 5, 7, generator=generator) * 10.0 ** -(step % 9)
        adam.step(theirs.grad)
        peer.step()
    assert torch.equal(ours, theirs)
