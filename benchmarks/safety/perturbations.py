"""Perturbation sequences: the same picture changed a little from frame to frame.

The ten kinds of CIFAR-P, their strengths and numbers of frames: Hendrycks & Dietterich (2019),
section 4.2, and the CIFAR script published with it; the code is our own. Geometric kinds fill with
black what lies outside.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.safety.corruptions import (
    CHUNK,
    F32,
    U8,
    brighten,
    sample,
    smear,
    to_float,
    to_levels,
    whiten,
    zoom,
)

FRAMES = 31
NOISE = ("gaussian_noise", "shot_noise")  # frames differ at random: compared with the first


def sequence(pictures: U8, name: str, seed: int = 0) -> U8:
    """One sequence a picture.

    pictures  (n, s, s, 3) uint8
    name      one of SEQUENCES
    returns   (n, frames, s, s, 3) uint8; frames is 31, motion_blur 21, translate 16
    raises    KeyError for an unknown name
    """
    function = _FUNCTIONS[name]
    digest = hashlib.blake2b(f"{seed} {name} sequence".encode(), digest_size=8).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "little"))
    parts = [
        np.stack(function(pictures[begin : begin + CHUNK], rng), 1)
        for begin in range(0, len(pictures), CHUNK)
    ]
    return np.concatenate(parts)


def flip_rate(predictions: NDArray[np.integer], noise: bool) -> float:
    """Share of frames whose prediction differs from the frame before, or from the first.

    predictions  (n, frames) class numbers
    noise        compare with the first frame (noise sequences), else with the frame before
    source       flip probability, Hendrycks & Dietterich (2019), section 4.2
    """
    before = predictions[:, :1] if noise else predictions[:, :-1]
    return float((predictions[:, 1:] != before).mean())


def gaussian_noise(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """The picture, then fresh normal noise of deviation .02 in each frame."""
    x = to_float(pictures)
    noisy = (to_levels(x + 0.02 * rng.standard_normal(x.shape, np.float32)) for _ in range(1, 31))
    return [pictures, *noisy]


def shot_noise(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """The picture, then fresh Poisson noise of 700 photons in each frame."""
    x = to_float(pictures)
    return [pictures, *(to_levels(rng.poisson(x * 700) / 700) for _ in range(1, 31))]


def motion_blur(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """A smear that turns by 9 degrees a frame."""
    x = to_float(pictures)
    return [to_levels(smear(x, 6, 1.8, np.full(len(x), (i - 20) * 9.0))) for i in range(21)]


def zoom_blur(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """The mean of ever more enlargements, .4 % apart."""
    total = to_float(pictures)
    frames = [pictures]
    for i in range(1, FRAMES):
        total = total + _affine(pictures, scale=1 + 0.004 * i)
        frames.append(to_levels(total / (i + 1)))
    return frames


def snow(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """The same flakes, falling at an angle that turns by 4 degrees a frame."""
    x = to_float(pictures)
    layer = (0.05 + 0.3 * rng.standard_normal((*x.shape[:3], 1))).astype(np.float32)
    layer = zoom(layer, 2)
    flakes = to_float(to_levels(np.where(layer < 0.5, 0, layer)))
    white = whiten(x, 0.85)
    frames = []
    for i in range(FRAMES):
        fallen = smear(flakes, 10, 2, np.full(len(x), i * 4.0 - 150))
        frames.append(to_levels(white + fallen + np.rot90(fallen, 2, (1, 2))))
    return frames


def brightness(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """V of HSV from -.225 to +.225."""
    return [brighten(pictures, (i - 15) * 0.015) for i in range(FRAMES)]


def translate(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """From 7 pixels left to 8 pixels right."""
    return [to_levels(_affine(pictures, right=i - 7)) for i in range(16)]


def rotate(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """From -15 to 15 degrees."""
    return [to_levels(_affine(pictures, degrees=i - 15)) for i in range(FRAMES)]


def scale(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """From .7 to 1.3 times the size."""
    return [to_levels(_affine(pictures, scale=(i * 2 + 70) / 100)) for i in range(FRAMES)]


def tilt(pictures: U8, rng: np.random.Generator) -> list[U8]:
    """Seen from a viewpoint that moves diagonally, .75 degrees a frame, from -11.25 to 11.25."""
    side = pictures.shape[1]
    distance = math.hypot(side, side)
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side), [1]), -1).reshape(-1, 3)
    frames = []
    for i in range(FRAMES):
        angle = math.radians(0.75 * (i - 15))
        cos, sin = math.cos(angle), math.sin(angle)
        about_x = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
        about_y = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        turned = (about_x @ about_y)[:, :2]
        centre = np.array([[1, 0, -side / 2], [0, 1, -side / 2]])
        plane = turned @ centre  # where a pixel of the picture stands in space
        plane[2, 2] += distance
        lens = np.array([[distance, 0, side / 2], [0, distance, side / 2], [0, 0, 1]])
        back = at @ np.linalg.inv(lens @ plane).T
        where = (back[:, :2] / back[:, 2:]).reshape(1, side, side, 2)
        frames.append(to_levels(_sample_black(pictures, where)))
    return frames


def _affine(pictures: U8, degrees: float = 0, right: float = 0, scale: float = 1) -> F32:
    """Turned about the centre (clockwise), enlarged and moved."""
    side = pictures.shape[1]
    middle = (side - 1) / 2
    turn = math.radians(degrees)
    inverse = (
        np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]) / scale
    )
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1) - (middle + right, middle)
    return _sample_black(pictures, (at @ inverse.T + middle)[None])


def _sample_black(pictures: U8, where: NDArray[np.float64]) -> F32:
    n = len(pictures)
    return sample(to_float(pictures), np.broadcast_to(where, (n, *where.shape[1:])), "zeros", False)


_FUNCTIONS: dict[str, Callable[[U8, np.random.Generator], list[U8]]] = {
    f.__name__: f
    for f in (
        gaussian_noise,
        shot_noise,
        motion_blur,
        zoom_blur,
        snow,
        brightness,
        translate,
        rotate,
        tilt,
        scale,
    )
}
SEQUENCES = tuple(_FUNCTIONS)
