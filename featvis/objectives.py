"""What makes a picture good: one score a picture, read off the layer's activations.

`score` takes (n, channels, ...) float32, the trailing axes being places, and gives (n,) float32;
larger is better. `take` keeps the entries of some pictures, for padding and for redoing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from featvis.errors import ChannelRangeError, FeatVisError


class Objective(Protocol):
    """One goal a picture of a batch."""

    def __len__(self) -> int: ...

    def take(self, rows: Sequence[int]) -> Objective:
        """The goals of the pictures `rows`, in that order, repeats allowed."""
        ...

    def check(self, layer: str, channels: int) -> None:
        """Raise ChannelRangeError unless a layer with so many channels will do."""
        ...

    def score(self, activations: Tensor) -> Tensor:
        """(n, channels, ...) float32 -> (n,) float32."""
        ...


@dataclass(frozen=True)
class Channel:
    """The mean of one channel over all places; of a head's output, one class's logit."""

    channels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.channels)

    def take(self, rows: Sequence[int]) -> Channel:
        """See Objective."""
        return Channel(tuple(self.channels[row] for row in rows))

    def check(self, layer: str, channels: int) -> None:
        """See Objective."""
        check_range(self.channels, layer, channels)

    def score(self, activations: Tensor) -> Tensor:
        """See Objective."""
        return _places(_pick(activations, self.channels)).mean(1)


@dataclass(frozen=True)
class Neuron:
    """One channel at the middle place: one thing in the middle rather than a texture."""

    channels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.channels)

    def take(self, rows: Sequence[int]) -> Neuron:
        """See Objective."""
        return Neuron(tuple(self.channels[row] for row in rows))

    def check(self, layer: str, channels: int) -> None:
        """See Objective."""
        check_range(self.channels, layer, channels)

    def score(self, activations: Tensor) -> Tensor:
        """See Objective."""
        picked = _pick(activations, self.channels)
        for axis in range(picked.ndim - 1, 0, -1):
            picked = picked.select(axis, picked.shape[axis] // 2)
        return picked


@dataclass(frozen=True)
class Direction:
    """A mix of channels: the mean over places of activations times a vector of unit length.

    vectors  (n, channels) float32, not zero
    """

    vectors: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: Sequence[int]) -> Direction:
        """See Objective."""
        return Direction(self.vectors[list(rows)])

    def check(self, layer: str, channels: int) -> None:
        """See Objective."""
        if self.vectors.shape[1] != channels:
            raise ChannelRangeError(
                f"A direction in {self.vectors.shape[1]} channels does not fit {layer}, which has "
                f"{channels}."
            )

    def score(self, activations: Tensor) -> Tensor:
        """See Objective."""
        unit = self.vectors / np.linalg.norm(self.vectors, axis=1, keepdims=True)
        weights = torch.from_numpy(unit.astype(np.float32)).to(activations.device)
        means = activations.flatten(2).mean(2) if activations.ndim > 2 else activations
        return (means * weights).sum(1)


@dataclass(frozen=True)
class DeepDream:
    """The mean square of the whole layer: more of whatever it sees already."""

    count: int

    def __len__(self) -> int:
        return self.count

    def take(self, rows: Sequence[int]) -> DeepDream:
        """See Objective."""
        return DeepDream(len(rows))

    def check(self, layer: str, channels: int) -> None:
        """See Objective. Any layer will do."""

    def score(self, activations: Tensor) -> Tensor:
        """See Objective."""
        return activations.flatten(1).square().mean(1)


@dataclass(frozen=True)
class Diverse:
    """A goal whose pictures must also differ from those of the same group.

    From each picture's score the mean cosine between its and the others' Gram matrices is
    taken off, `weight` times, relative to the score (Olah et al. 2017, "Diversity"). Pictures of
    a group depend on each other, so they are the same bytes only when optimised together; groups
    do not touch each other.

    groups  a number for each picture; a negative one stands alone
    """

    base: Objective
    groups: tuple[int, ...]
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.groups)

    def take(self, rows: Sequence[int]) -> Diverse:
        """See Objective. A row taken again is padding and joins no group."""
        groups = [self.groups[r] if r not in rows[:i] else -1 for i, r in enumerate(rows)]
        return Diverse(self.base.take(rows), tuple(groups), self.weight)

    def check(self, layer: str, channels: int) -> None:
        """See Objective."""
        self.base.check(layer, channels)

    def score(self, activations: Tensor) -> Tensor:
        """See Objective. The layer has to be a map: (n, channels, places ...)."""
        if activations.ndim < 3:
            raise FeatVisError(
                "Pictures of one channel can only be told apart by a layer that is a map.",
                hint="a layer of more than one place, or no --diversity",
            )
        scores = self.base.score(activations)
        flat = activations.flatten(2)
        gram = torch.bmm(flat, flat.transpose(1, 2)).flatten(1)
        gram = torch.nn.functional.normalize(gram, dim=1)
        # Pair by pair: a product of all with all would round by who else is in the batch.
        likeness = torch.zeros_like(scores)
        others = [self._others(row) for row in range(len(self.groups))]
        for turn in range(max(map(len, others), default=0)):
            partners = [o[turn] if turn < len(o) else row for row, o in enumerate(others)]
            shares = [1 / len(o) if turn < len(o) else 0.0 for o in others]
            cosines = (gram * gram[torch.tensor(partners, device=gram.device)]).sum(1)
            likeness = likeness + cosines * torch.tensor(shares, device=gram.device)
        return scores - self.weight * scores.detach().abs() * likeness

    def _others(self, row: int) -> list[int]:
        group = self.groups[row]
        return [r for r, g in enumerate(self.groups) if g == group and r != row and g >= 0]


def check_range(channels: Sequence[int], layer: str, count: int) -> None:
    """Raise ChannelRangeError for a channel that a layer of `count` channels does not have."""
    for channel in channels:
        if not 0 <= channel < count:
            raise ChannelRangeError(
                f"Channel {channel} is out of range: {layer} has {count} channels, "
                f"0 to {count - 1}.",
                hint=f"--channels 0-{count - 1}",
            )


def _pick(activations: Tensor, channels: Sequence[int]) -> Tensor:
    """(n, channels, ...) -> (n, ...): of picture i the channel channels[i]."""
    rows = torch.arange(len(channels), device=activations.device)
    return activations[rows, torch.tensor(channels, device=activations.device)]


def _places(picked: Tensor) -> Tensor:
    """(n, ...) -> (n, places)."""
    return picked.flatten(1) if picked.ndim > 1 else picked[:, None]
