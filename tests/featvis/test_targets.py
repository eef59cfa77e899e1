"""What a plan draws, and that a smaller one begins a larger."""

from __future__ import annotations

import numpy as np
import pytest

from featvis.errors import ChannelRangeError, FeatVisError
from featvis.layers import Layer
from featvis.objectives import Channel, DeepDream, Direction, Diverse, Neuron
from featvis.targets import Target, objective_of, plan_mixes, plan_targets, plan_wholes

pytestmark = pytest.mark.torch


def _plan(count: int | None, channels: str | None = None, seed: int = 0) -> list[Target]:
    layers = [
        Layer("a", 5, (5, 4, 4), 1, 0.2, "Conv2d"),
        Layer("b", 20, (20, 4, 4), 1, 0.6, "Conv2d"),
        Layer("c", 8, (8, 2, 2), 1, 0.9, "Conv2d"),
    ]
    return plan_targets(layers, channels, count, np.random.default_rng(seed))


def test_smaller_plan_begins_the_larger() -> None:
    large = _plan(100)
    for count in (1, 2, 33, 34, 50, 99):
        assert _plan(count) == large[:count]


def test_plan_goes_round_the_layers_and_repeats_nothing_before_all_are_used() -> None:
    plan = _plan(66)
    assert [target.layer for target in plan[:6]] == ["a", "b", "c"] * 2
    assert len(set(plan[:33])) == 33
    assert plan[33:] == plan[:33]


def test_plan_follows_its_generator() -> None:
    assert _plan(20, seed=1) == _plan(20, seed=1)
    assert _plan(20, seed=1) != _plan(20, seed=2)


def test_plan_without_count_has_every_channel_once_in_order() -> None:
    plan = _plan(None, "0-2,4")
    assert plan == [Target(layer, (c,)) for layer in "abc" for c in (0, 1, 2, 4)]
    assert len(_plan(None)) == 33


def test_plan_draws_chosen_channels_only() -> None:
    assert {target.channels[0] for target in _plan(50, " 1, 3 - 4 ")} == {1, 3, 4}


@pytest.mark.parametrize("channels", ["5", "0-5", "1,2,99"])
def test_channel_out_of_range_says_the_range(channels: str) -> None:
    with pytest.raises(ChannelRangeError, match="a has 5 channels, 0 to 4") as caught:
        _plan(3, channels)
    assert caught.value.hint == "--channels 0-4"


@pytest.mark.parametrize("channels", ["", "x", "1-", "-1", "3-1", "1;2", "1.5"])
def test_text_that_is_no_channel_list_is_refused(channels: str) -> None:
    with pytest.raises(ChannelRangeError, match="channels"):
        _plan(3, channels)


def test_plan_of_nothing_is_refused() -> None:
    with pytest.raises(FeatVisError, match="no layer"):
        plan_targets([], None, 3, np.random.default_rng(0))
    with pytest.raises(FeatVisError, match="count is 0"):
        _plan(0)


LAYERS = [Layer("a", 5, (5, 4, 4), 1, 0.2, "Conv2d"), Layer("b", 20, (20, 4, 4), 1, 0.6, "Conv2d")]


def _mixes(count: int, size: int = 2, channels: str | None = None) -> list[Target]:
    return plan_mixes(LAYERS, channels, count, size, lambda i: np.random.default_rng([5, i]))


@pytest.mark.parametrize("size", [2, 3, 5])
def test_a_mix_is_a_unit_vector_of_different_channels(size: int) -> None:
    mixes = _mixes(40, size)
    assert [mix.layer for mix in mixes[:4]] == ["a", "b", "a", "b"]
    for mix in mixes:
        assert len(set(mix.channels)) == len(mix.weights) == size
        assert sum(w * w for w in mix.weights) == pytest.approx(1, abs=1e-3)
        assert max(mix.weights) <= 2 * min(mix.weights) + 1e-3
    assert {c for mix in mixes[::2] for c in mix.channels} == set(range(5))


def test_mixes_go_on_for_ever_and_a_smaller_plan_begins_the_larger() -> None:
    mixes = _mixes(300)
    assert mixes[:7] == _mixes(7)
    assert len(set(mixes)) == 300


def test_a_mix_draws_chosen_channels_only() -> None:
    assert {c for mix in _mixes(20, 2, "1,3") for c in mix.channels} == {1, 3}


def test_a_mix_of_more_channels_than_there_are_is_refused() -> None:
    with pytest.raises(ChannelRangeError, match="needs more than the 5 of a"):
        _mixes(1, 6)
    with pytest.raises(FeatVisError, match="no layer"):
        plan_mixes([], None, 3, 2, np.random.default_rng)


def test_whole_layers_go_round() -> None:
    assert plan_wholes(LAYERS, None) == [Target("a"), Target("b")]
    assert plan_wholes(LAYERS, 3) == [Target("a"), Target("b"), Target("a")]
    with pytest.raises(FeatVisError, match="no layer"):
        plan_wholes([], 3)


def test_facts_tell_a_channel_a_mix_or_a_layer() -> None:
    assert Target("a", (3,)).facts() == {"layer": "a", "channel": 3}
    assert Target("a").facts() == {"layer": "a"}
    mix = Target("a", (3, 1), (0.6, 0.8)).facts()
    assert mix == {"layer": "a", "channels": [3, 1], "weights": [0.6, 0.8]}


def test_each_kind_has_its_objective() -> None:
    one, two = Target("a", (3,)), Target("a", (1,))
    for kind in ("channel", "logit"):
        assert objective_of(kind, [one, two], LAYERS[0]) == Channel((3, 1))
    assert objective_of("neuron", [one, two], LAYERS[0]) == Neuron((3, 1))
    assert objective_of("layer", [Target("a")] * 3, LAYERS[0]) == DeepDream(3)
    mix = objective_of("direction", [Target("a", (3, 1), (0.6, 0.8))], LAYERS[0])
    assert isinstance(mix, Direction)
    assert mix.vectors.tolist() == [pytest.approx([0, 0.8, 0, 0.6, 0])]
    diverse = objective_of("channel", [one, one, two, two], LAYERS[0], 2)
    assert isinstance(diverse, Diverse)
    assert diverse.groups == (0, 0, 1, 1)
