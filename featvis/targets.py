"""What to draw: which channels, or mixes of channels, of which layers, in which order.

A plan is a list of targets. Every plan for fewer pictures is a beginning of the plan for more, so
that a set can grow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featvis.errors import ChannelRangeError, FeatVisError
from featvis.layers import Layer
from featvis.objectives import (
    Channel,
    DeepDream,
    Direction,
    Diverse,
    Neuron,
    Objective,
    check_range,
)

# Share of its score that a picture loses when it is the very image of the others of its channel.
DIVERSITY = 1.0
# A channel in a mix weighs at least half as much as any other, so that each can be seen.
LEAST_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to draw.

    layer     its name
    channels  one channel, from 0; several to mix; none for the layer as a whole
    weights   of a mix: a vector of length 1; else empty
    """

    layer: str
    channels: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What a manifest records of it."""
        facts: dict[str, Any] = {"layer": self.layer}
        if self.weights:
            facts |= {"channels": list(self.channels), "weights": list(self.weights)}
        elif self.channels:
            facts["channel"] = self.channels[0]
        return facts


def objective_of(kind: str, targets: Sequence[Target], layer: Layer, group: int = 1) -> Objective:
    """The goals of a batch of targets of one layer.

    kind   channel | neuron | logit | direction | layer
    group  so many neighbours show one target and are to differ; 1: each alone
    """
    goals: Objective
    if kind == "layer":
        goals = DeepDream(len(targets))
    elif kind == "direction":
        vectors = np.zeros((len(targets), layer.channels), np.float32)
        for row, target in enumerate(targets):
            vectors[row, list(target.channels)] = target.weights
        goals = Direction(vectors)
    else:
        channels = tuple(target.channels[0] for target in targets)
        goals = Neuron(channels) if kind == "neuron" else Channel(channels)
    if group > 1:
        goals = Diverse(goals, tuple(row // group for row in range(len(targets))), DIVERSITY)
    return goals


def plan_targets(
    layers: Sequence[Layer],
    channels: str | None,
    count: int | None,
    rng: np.random.Generator,
) -> list[Target]:
    """Which channels of which layers to draw, in order.

    channels  "3", "0-15", "1,5,9-12"; None: all of each layer
    count     None: every chosen channel of every layer once, in the network's order. Else so
              many, round-robin over the layers, channels in drawn order, none repeated before
              all are used; the plan for a smaller count is a beginning of the plan for a larger
    rng       read the same way whatever `count` is
    raises    ChannelRangeError, FeatVisError if there is no layer or count < 1
    """
    if not layers:
        raise FeatVisError("There is no layer to draw from.", hint="--layers auto")
    allowed = [_parse_channels(channels, layer) for layer in layers]
    if count is None:
        return [
            Target(layer.name, (channel,))
            for layer, chosen in zip(layers, allowed, strict=True)
            for channel in chosen
        ]
    if count < 1:
        raise FeatVisError(f"count is {count}; it must be at least 1.", hint="--count 1 or more")
    orders = [[chosen[i] for i in rng.permutation(len(chosen))] for chosen in allowed]
    cycle = [
        Target(layer.name, (order[turn],))
        for turn in range(max(len(order) for order in orders))
        for layer, order in zip(layers, orders, strict=True)
        if turn < len(order)
    ]
    return [cycle[i % len(cycle)] for i in range(count)]


def plan_mixes(
    layers: Sequence[Layer],
    channels: str | None,
    count: int,
    size: int,
    rng_of: Callable[[int], np.random.Generator],
) -> list[Target]:
    """`count` mixes of `size` different channels each, round-robin over the layers.

    channels  which to mix, as in plan_targets; None: all of each layer
    rng_of    the generator of mix i, which mix i alone depends on; only `random` is drawn
    raises    ChannelRangeError, also for a layer with fewer channels than a mix needs
    """
    if not layers:
        raise FeatVisError("There is no layer to draw from.", hint="--layers auto")
    allowed = [_parse_channels(channels, layer) for layer in layers]
    for layer, chosen in zip(layers, allowed, strict=True):
        if len(chosen) < size:
            raise ChannelRangeError(
                f"A mix of {size} channels needs more than the {len(chosen)} of {layer.name}.",
                hint="other --layers, more --channels, or a smaller --mix",
            )
    targets = []
    for index in range(count):
        rng, turn = rng_of(index), index % len(layers)
        rest, picked = list(allowed[turn]), []
        for _ in range(size):
            picked.append(rest.pop(int(rng.random() * len(rest))))
        weights = [LEAST_WEIGHT + (1 - LEAST_WEIGHT) * rng.random() for _ in picked]
        length = math.sqrt(sum(weight * weight for weight in weights))
        rounded = tuple(round(weight / length, 4) for weight in weights)
        targets.append(Target(layers[turn].name, tuple(picked), rounded))
    return targets


def plan_wholes(layers: Sequence[Layer], count: int | None) -> list[Target]:
    """Whole layers, each once, or `count` of them round and round."""
    if not layers:
        raise FeatVisError("There is no layer to draw from.", hint="--layers auto")
    total = len(layers) if count is None else count
    return [Target(layers[index % len(layers)].name) for index in range(total)]


def _parse_channels(text: str | None, layer: Layer) -> list[int]:
    """Sorted channel numbers, each once."""
    if text is None:
        return list(range(layer.channels))
    numbers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, re.ASCII)
        if match is None:
            raise ChannelRangeError(
                f"{part.strip()!r} in channels {text!r} is neither a number nor a range.",
                hint="--channels 3 or 0-15 or 1,5,9-12",
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ChannelRangeError(
                f"The range {part.strip()!r} in channels {text!r} runs backwards.",
                hint=f"--channels {last}-{first}",
            )
        check_range([last], layer.name, layer.channels)
        numbers.update(range(first, last + 1))
    return sorted(numbers)
