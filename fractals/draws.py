"""Draws for recipes: rounded, so that a recipe is readable and JSON keeps it exactly.

Only `rng.random()` and `rng.integers()` are used: NumPy may change the streams of its other
methods between versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

__all__ = ["chance", "integer", "pick", "seed_number", "shuffled", "uniform", "weighted"]

T = TypeVar("T")

DECIMALS = 5  # a pixel of a 2048 px picture is 5e-4 of its frame


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high), rounded to DECIMALS."""
    return round(low + (high - low) * float(rng.random()), DECIMALS)


def chance(rng: np.random.Generator, p: float) -> bool:
    """True with probability p."""
    return float(rng.random()) < p


def integer(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number low..high, both included."""
    return int(rng.integers(low, high + 1))


def seed_number(rng: np.random.Generator) -> int:
    """A seed below 2**53, which every JSON reader keeps exactly."""
    return int(rng.integers(0, 1 << 53))


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of the choices, equally likely."""
    return choices[int(rng.integers(0, len(choices)))]


def weighted(rng: np.random.Generator, choices: Sequence[tuple[T, float]]) -> T:
    """One of (choice, weight) pairs, in proportion to the weights."""
    level = float(rng.random()) * sum(weight for _, weight in choices)
    for choice, weight in choices:
        level -= weight
        if level < 0.0:
            return choice
    return choices[-1][0]


def shuffled(rng: np.random.Generator, items: Sequence[T]) -> list[T]:
    """The items in random order (Fisher & Yates)."""
    out = list(items)
    for i in range(len(out) - 1, 0, -1):
        j = int(rng.integers(0, i + 1))
        out[i], out[j] = out[j], out[i]
    return out
