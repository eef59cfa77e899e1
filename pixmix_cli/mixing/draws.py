"""Decisions: everything random about one PixMix picture, as a small record.

Pixels are a function of the record, the original and the mixing picture (see `pixmix`), so a
picture can be made again from its record, and the draws can be tested against the paper's
distributions without drawing a pixel.

Only `Generator.random()` is called: its stream follows from the bit generator's raw output, while
NumPy reserves the right to change the other methods' streams between versions (NEP 19).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np

from pixmix_cli.mixing.config import OPERATIONS, PixMixConfig

BASE_OPS = (
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)
# These four overlap with the corruptions of ImageNet-C and CIFAR-C, hence --no-all-ops.
EXTRA_OPS = ("color", "contrast", "brightness", "sharpness")
ALL_OPS = BASE_OPS + EXTRA_OPS
UNLEVELLED_OPS = ("autocontrast", "equalize")

WEIGHTED = ("add", "multiply", "screen", "overlay")  # operations that use a and b
CHOICES = {"overlay": 2, "darken-lighten": 2, "swap-channel": 3}  # how many a choice is made of

# RandomResizedCrop: share of the area, aspect ratio and number of tries (torchvision's defaults).
CROP_SCALE = (0.08, 1.0)
CROP_RATIO = (3 / 4, 4 / 3)
CROP_TRIES = 10


class _Named(TypedDict):
    name: str


class AugmentationJson(_Named, total=False):
    """An augmentation as records have it."""

    value: int | float  # as Augmentation's


# A round as records have it: see Round.to_json
_Round = TypedDict("_Round", {"with": str | AugmentationJson, "operation": str})


class RoundJson(_Round, total=False):
    """A round as records have it: what is mixed in ("mixing": the mixing picture), and numbers."""

    a: float
    b: float
    choice: int
    screen_a: float
    screen_b: float


class _Drawn(TypedDict):
    crop: list[int]
    flip: bool
    start: AugmentationJson | None
    rounds: list[RoundJson]


class DrawsJson(_Drawn, total=False):
    """The draws of a sample as records have them; what no round used may be left out."""

    mixing: int
    mixing_offset: list[float]
    mixing_picture: str  # its name


class Uniform(Protocol):
    """What is drawn from: a numpy.random.Generator, or `uniforms.Uniforms`."""

    def random(self) -> float:
        """The next number in [0, 1)."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """One augmentation with its strength resolved.

    value  None for autocontrast and equalize; bits kept (posterize); degrees, counter-clockwise
           (rotate); threshold 0-256 (solarize); coefficient (shear); pixels (translate);
           enhancement factor, 1 = identity (color, contrast, brightness, sharpness)
    """

    name: str
    value: float | int | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One mixing round: what is mixed in (None = the mixing picture), how, with which weights.

    a, b           weights of the picture so far and of what is mixed in; float32 values; 0 for
                   operations that have none (see WEIGHTED)
    choice         overlay: 0 multiplies where the picture so far is below 1/2 and screens
                   elsewhere, 1 multiplies where it is above; darken-lighten: 0 the darker value,
                   1 the lighter; swap-channel: the channel; else 0
    screen_a, screen_b  overlay: the weights of its screen; else 0
    """

    augmentation: Augmentation | None
    operation: str  # one of OPERATIONS
    a: float
    b: float
    choice: int = 0
    screen_a: float = 0.0
    screen_b: float = 0.0

    def to_json(self) -> RoundJson:
        """What the operation uses, as a JSON-able dictionary."""
        record: RoundJson = {
            "with": _augmentation_to_json(self.augmentation) or "mixing",
            "operation": self.operation,
        }
        if self.operation in WEIGHTED:
            record["a"], record["b"] = self.a, self.b
        if self.operation in CHOICES:
            record["choice"] = self.choice
        if self.operation == "overlay":
            record["screen_a"], record["screen_b"] = self.screen_a, self.screen_b
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Round:
        """The round that `to_json` wrote. Raises KeyError, TypeError or ValueError."""
        operation = record["operation"]
        if operation not in OPERATIONS:
            raise ValueError(f"unknown operation {operation}")
        weighted, overlay = operation in WEIGHTED, operation == "overlay"
        choice = int(record["choice"]) if operation in CHOICES else 0
        if not 0 <= choice < CHOICES.get(operation, 1):
            raise ValueError(f"{operation} with choice {choice}")
        mixed_in = record["with"]
        if isinstance(mixed_in, str) and mixed_in != "mixing":
            raise ValueError(f"mixes in {mixed_in}")
        return cls(
            None if isinstance(mixed_in, str) else _augmentation_from_json(mixed_in),
            operation,
            float(record["a"]) if weighted else 0.0,
            float(record["b"]) if weighted else 0.0,
            choice,
            float(record["screen_a"]) if overlay else 0.0,
            float(record["screen_b"]) if overlay else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Draws:
    """All random decisions of one sample.

    crop           (top, left, height, width) in pixels of the original; in the cifar geometry of
                   the flipped original, and it may reach into the zero padding
    flip           whether the picture is mirrored left to right
    mixing         index of the mixing picture in the mixing set
    mixing_offset  (vertical, horizontal) in [0, 1): where its crop lies in the free room
    start          augmentation of the starting picture, or None for the original itself
    rounds         the mixing rounds, in order
    """

    crop: tuple[int, int, int, int]
    flip: bool
    mixing: int
    mixing_offset: tuple[float, float]
    start: Augmentation | None
    rounds: tuple[Round, ...]

    @property
    def uses_mixing(self) -> bool:
        """Whether any round needs the mixing picture."""
        return any(r.augmentation is None for r in self.rounds)

    def to_json(self) -> DrawsJson:
        """A JSON-able dictionary that `from_json` reads back without loss."""
        return {
            "crop": list(self.crop),
            "flip": self.flip,
            "mixing": self.mixing,
            "mixing_offset": list(self.mixing_offset),
            "start": _augmentation_to_json(self.start),
            "rounds": [r.to_json() for r in self.rounds],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Draws:
        """The draws that `to_json` wrote.

        raises  KeyError, TypeError or ValueError when the record is not one of ours
        """
        top, left, height, width = (int(v) for v in record["crop"])
        vertical, horizontal = (float(v) for v in record["mixing_offset"])
        return cls(
            crop=(top, left, height, width),
            flip=bool(record["flip"]),
            mixing=int(record["mixing"]),
            mixing_offset=(vertical, horizontal),
            start=_augmentation_from_json(record["start"]),
            rounds=tuple(Round.from_json(r) for r in record["rounds"]),
        )


def draw(
    config: PixMixConfig,
    rng: Uniform,
    original_size: tuple[int, int],
    mixing_count: int,
) -> Draws:
    """Draw every decision for one sample.

    original_size  (height, width) of the original in pixels, both >= 1
    mixing_count   numbers that the mixing picture is drawn from, >= 1: the pictures of the set, or
                   more where a weighted choice is made of the number
    source         PixMix (2022), figure 4; the published code for everything it leaves open

    A flip or crop that is switched off is drawn all the same, so that everything else is as with
    it.
    """
    mixing = _below(mixing_count, rng)
    mixing_offset = (float(rng.random()), float(rng.random()))
    flip = rng.random() < 0.5
    if config.geometry == "imagenet":
        crop = draw_resized_crop(original_size, rng)
    else:
        room = 2 * config.padding + 1
        top, left = _below(room, rng), _below(room, rng)
        crop = (top - config.padding, left - config.padding, config.size, config.size)
    if config.crop != "random":
        crop = settled_crop(config, original_size)
    rounds = _below(config.k + 1, rng)
    start = draw_augmentation(config, rng) if rng.random() < 0.5 else None
    return Draws(
        crop=crop,
        flip=bool(flip) and config.flip,
        mixing=mixing,
        mixing_offset=mixing_offset,
        start=start,
        rounds=tuple(_draw_round(config, rng) for _ in range(rounds)),
    )


def settled_crop(config: PixMixConfig, original_size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The crop, as Draws.crop, where config.crop leaves nothing to draw."""
    height, width = original_size
    if config.geometry == "cifar":
        return 0, 0, config.size, config.size
    if config.crop == "none":
        return 0, 0, height, width
    side = max(1, round(min(height, width) * 7 / 8))
    return (height - side) // 2, (width - side) // 2, side, side


def _draw_round(config: PixMixConfig, rng: Uniform) -> Round:
    augmentation = draw_augmentation(config, rng) if rng.random() < 0.5 else None
    operation = config.operations[_below(len(config.operations), rng)]
    a, b = draw_weights(config.beta, rng) if operation in WEIGHTED else (0.0, 0.0)
    if operation not in CHOICES:
        return Round(augmentation, operation, a, b)
    screen = draw_weights(config.beta, rng) if operation == "overlay" else (0.0, 0.0)
    return Round(augmentation, operation, a, b, _below(CHOICES[operation], rng), *screen)


def draw_weights(beta: float, rng: Uniform) -> tuple[float, float]:
    """Weights a and b of one round, each the exact value of a float32.

    With probability 1/2 a ~ Beta(beta, 1) and b ~ Beta(1, beta); else a = 1 + Beta(1, beta) and
    b = -Beta(1, beta). Both by exact inverse: Beta(beta, 1) = U^(1/beta) and
    Beta(1, beta) = 1 - U^(1/beta).
    """
    inside = rng.random() < 0.5
    first, second = rng.random() ** (1 / beta), 1 - rng.random() ** (1 / beta)
    if inside:
        a, b = first, second
    else:
        a, b = 1 + (1 - first), -second
    return float(np.float32(a)), float(np.float32(b))


def draw_augmentation(config: PixMixConfig, rng: Uniform) -> Augmentation:
    """One augmentation, uniform over the recipe's list, with its strength.

    The level is uniform on [0.1, severity). The enhancers' factor is .18 * level + .1 with 1 as
    the identity, so severity 1 gives very dark or flat pictures: that is the published recipe.
    """
    names = ALL_OPS if config.all_ops else BASE_OPS
    name = names[_below(len(names), rng)]
    if name in UNLEVELLED_OPS:
        return Augmentation(name)
    level = 0.1 + (config.severity - 0.1) * float(rng.random())
    return augmentation_at(name, level, lambda: -1 if rng.random() < 0.5 else 1, config.size)


def augmentation_at(
    name: str, level: float, draw_sign: Callable[[], int], size: int
) -> Augmentation:
    """An augmentation that has a level, with its strength.

    level      0.1 to 10
    draw_sign  -1 or 1, asked for the geometric ones only
    size       side of the picture, pixels
    """
    if name == "posterize":
        return Augmentation(name, max(1, 4 - int(level * 4 / 10)))
    if name == "solarize":
        return Augmentation(name, 256 - int(level * 256 / 10))
    if name in EXTRA_OPS:
        return Augmentation(name, level * 1.8 / 10 + 0.1)
    sign = draw_sign()
    if name == "rotate":
        return Augmentation(name, sign * int(level * 30 / 10))
    if name in ("shear_x", "shear_y"):
        return Augmentation(name, sign * (level * 0.3 / 10))
    return Augmentation(name, sign * int(level * (size / 3) / 10))


def draw_resized_crop(original_size: tuple[int, int], rng: Uniform) -> tuple[int, int, int, int]:
    """The box of a RandomResizedCrop: (top, left, height, width) inside the original.

    Ten tries of a uniform share of the area and a log-uniform aspect ratio; if none fits, the
    largest central box whose ratio is allowed.
    """
    height, width = original_size
    low, high = math.log(CROP_RATIO[0]), math.log(CROP_RATIO[1])
    for _ in range(CROP_TRIES):
        area = height * width * (CROP_SCALE[0] + (CROP_SCALE[1] - CROP_SCALE[0]) * rng.random())
        ratio = math.exp(low + (high - low) * rng.random())
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return _below(height - h + 1, rng), _below(width - w + 1, rng), h, w
    ratio = width / height
    if ratio < CROP_RATIO[0]:
        w, h = width, max(1, round(width / CROP_RATIO[0]))
    elif ratio > CROP_RATIO[1]:
        w, h = max(1, round(height * CROP_RATIO[1])), height
    else:
        w, h = width, height
    w, h = min(w, width), min(h, height)
    return (height - h) // 2, (width - w) // 2, h, w


def _below(n: int, rng: Uniform) -> int:
    """Uniform on 0..n-1; the bias of one 53-bit draw is below n * 2**-53."""
    return min(int(rng.random() * n), n - 1)


def _augmentation_to_json(augmentation: Augmentation | None) -> AugmentationJson | None:
    if augmentation is None:
        return None
    if augmentation.value is None:
        return {"name": augmentation.name}
    return {"name": augmentation.name, "value": augmentation.value}


def _augmentation_from_json(record: Mapping[str, Any] | None) -> Augmentation | None:
    if record is None:
        return None
    if record["name"] not in ALL_OPS:
        raise ValueError(f"unknown augmentation {record['name']}")
    if (record["name"] in UNLEVELLED_OPS) != (record.get("value") is None):
        raise ValueError(f"augmentation {record['name']} with value {record.get('value')}")
    return Augmentation(record["name"], record.get("value"))
