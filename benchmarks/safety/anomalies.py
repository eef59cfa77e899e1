"""Anomalies that need no download: noise, and things that have structure but no class.

Noise resembles what a mixing set of noise shows in training, and so flatters it: the two kinds are
reported apart. Blobs are described by Hendrycks et al. (2019), Deep anomaly detection with outlier
exposure; the others are our own. None is a fractal of ours, and the photographs are the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from benchmarks.safety.corruptions import gaussian_blur, to_levels
from pixmix_cli.errors import InputError
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.storage import images

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
DRAWN_AT = 4  # times larger than needed, then shrunk: smooth edges


def gaussian(n: int, size: int, rng: np.random.Generator) -> U8:
    """Normal noise about mid-grey, deviation a quarter of the range."""
    return to_levels(0.5 + 0.25 * rng.standard_normal((n, size, size, 3)))


def rademacher(n: int, size: int, rng: np.random.Generator) -> U8:
    """Every value 0 or 255."""
    return (rng.random((n, size, size, 3)) < 0.5).astype(np.uint8) * np.uint8(255)


def blobs(n: int, size: int, rng: np.random.Generator) -> U8:
    """Amorphous shapes with definite edges: blurred coin tosses, what is below .75 cut to black."""
    tosses = (rng.random((n, size, size, 3)) < 0.7).astype(np.float32)
    blurred = gaussian_blur(tosses, 1.5)
    return to_levels(np.where(blurred < 0.75, 0, blurred))


def textures(n: int, size: int, rng: np.random.Generator) -> U8:
    """Stripes, checks, rings, wood, marble, weave, bricks, dots, cells and Gabor patches."""
    return np.stack([_texture(size, rng) for _ in range(n)])


def shapes(n: int, size: int, rng: np.random.Generator) -> U8:
    """Polygons, ellipses, lines and letters in flat colours on a flat or graded ground."""
    return np.stack([_drawing(size, rng) for _ in range(n)])


def digits(handwritten: U8, n: int, size: int, rng: np.random.Generator) -> U8:
    """Handwritten digits in two colours.

    handwritten  (m, 8, 8) uint8
    """
    out = []
    for digit in handwritten[rng.permutation(len(handwritten))[np.arange(n) % len(handwritten)]]:
        large = Image.fromarray(digit).resize((size, size), Image.Resampling.BICUBIC)
        ink = np.asarray(large)[:, :, None] / 255
        ground, colour = _two_colours(rng)
        out.append(to_levels(ground + (colour - ground) * ink))
    return np.stack(out)


def photographs(files: Sequence[Path], n: int, size: int, rng: np.random.Generator) -> U8:
    """Square crops of photographs, each of at least half the shorter side, shrunk to size."""
    out: list[U8] = []
    for round_ in range(-(-n // len(files))):
        for file in files[: n - round_ * len(files)]:
            picture = Image.open(file).convert("RGB")
            side = int(min(picture.size) * rng.uniform(0.5, 1))
            left, top = (int(rng.integers(0, full - side + 1)) for full in picture.size)
            box = (left, top, left + side, top + side)
            small = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
            out.append(np.asarray(small))
    return np.stack(out)


def read(folder: Path) -> list[tuple[str, U8]]:
    """Name and pixels of every picture in a folder, by name.

    raises  InputError when there is none, PictureError for a broken one
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder of photographs")
    found = find_pictures(folder, lambda text: None)
    if not len(found):
        raise InputError(f"{folder} holds no photographs")
    refs = [found[i] for i in range(len(found))]
    return [(ref.name, images.decode_rgb(ref.read(), ref.name)) for ref in refs]


NOISE: dict[str, Callable[[int, int, np.random.Generator], U8]] = {
    f.__name__: f for f in (gaussian, rademacher)
}
STRUCTURED: dict[str, Callable[[int, int, np.random.Generator], U8]] = {
    f.__name__: f for f in (blobs, textures, shapes)
}


def _two_colours(rng: np.random.Generator) -> tuple[F64, F64]:
    """Two colours in [0, 1] that can be told apart."""
    first = rng.random(3)
    second = rng.random(3)
    while np.abs(first - second).max() < 0.35:
        second = rng.random(3)
    return first, second


def _texture(size: int, rng: np.random.Generator) -> U8:
    big = size * 2
    y, x = np.mgrid[:big, :big] / big
    turn = rng.uniform(0, math.pi)
    u, v = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    kind = _TEXTURES[rng.integers(len(_TEXTURES))]
    value = kind(u, v, rng.uniform(2, 7), rng)
    ground, colour = _two_colours(rng)
    shade = 1 - rng.uniform(0, 0.4) * (x if rng.random() < 0.5 else y)
    pixels = (ground + (colour - ground) * value[:, :, None]) * shade[:, :, None]
    return to_levels(pixels.reshape(size, 2, size, 2, 3).mean((1, 3)))


def _wave(phase: F64) -> F64:
    return 0.5 + 0.5 * np.sin(2 * math.pi * phase)


def _smooth_field(u: F64, rng: np.random.Generator) -> F64:
    """A slowly varying field, mean 0 and deviation about 1."""
    field = rng.standard_normal((1, *u.shape, 1)).astype(np.float32)
    smooth = gaussian_blur(field, u.shape[0] / 10)[0, :, :, 0].astype(np.float64)
    return (smooth - smooth.mean()) / smooth.std()


def _stripes(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    return (_wave(u * count + rng.random()) > rng.uniform(0.3, 0.7)).astype(np.float64)


def _checks(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    return ((np.floor(u * count) + np.floor(v * count)) % 2).astype(np.float64)


def _rings(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    a, b = rng.uniform(-0.2, 1.2, 2)
    return _wave(np.hypot(u - a, v - b) * count * 1.5)


def _wood(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    radius = np.hypot(u * 0.3, v) * count * 2 + 0.3 * _smooth_field(u, rng)
    return (radius % 1) ** 2


def _marble(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    return np.abs(np.sin(math.pi * (u * count / 2 + 0.6 * _smooth_field(u, rng))))


def _weave(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    over = (np.floor(u * count) + np.floor(v * count)) % 2
    return np.where(
        over == 0, np.abs(np.sin(math.pi * u * count)), np.abs(np.sin(math.pi * v * count))
    )


def _bricks(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    row = np.floor(v * count)
    along = (u * count / 2 + 0.5 * (row % 2)) % 1
    return ((along > 0.08) & ((v * count) % 1 > 0.16)).astype(np.float64)


def _dots(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    du, dv = (u * count) % 1 - 0.5, (v * count) % 1 - 0.5
    return (np.hypot(du, dv) < rng.uniform(0.2, 0.42)).astype(np.float64)


def _cells(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    centres = rng.uniform(-0.1, 1.1, (int(count**2) + 4, 2))
    y, x = np.mgrid[: u.shape[0], : u.shape[1]] / u.shape[0]
    distance = np.hypot(x[..., None] - centres[:, 0], y[..., None] - centres[:, 1])
    nearest = np.sort(distance, -1)
    return np.clip((nearest[..., 1] - nearest[..., 0]) * count * 1.5, 0, 1)


def _gabor(u: F64, v: F64, count: float, rng: np.random.Generator) -> F64:
    a, b = rng.uniform(0.2, 0.8, 2)
    y, x = np.mgrid[: u.shape[0], : u.shape[1]] / u.shape[0]
    window = np.exp(-((x - a) ** 2 + (y - b) ** 2) / (2 * rng.uniform(0.12, 0.3) ** 2))
    return 0.5 + 0.5 * window * np.sin(2 * math.pi * u * count * 1.3)


_TEXTURES = (
    _stripes, _checks, _rings, _wood, _marble, _weave, _bricks, _dots, _cells, _gabor,
)  # fmt: skip


def _drawing(size: int, rng: np.random.Generator) -> U8:
    big = size * DRAWN_AT
    ground, edge = rng.random(3), rng.random(3)
    ramp = np.linspace(0, 1 if rng.random() < 0.5 else 0, big)[:, None, None]
    field = np.broadcast_to(ground + (edge - ground) * ramp, (big, big, 3))
    picture = Image.fromarray(to_levels(field))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(2, 7)):
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        kind = rng.integers(4)
        points = [tuple(p) for p in rng.uniform(-0.1 * big, 1.1 * big, (rng.integers(3, 7), 2))]
        if kind == 0:
            draw.polygon(points, fill=colour)
        elif kind == 1:
            (a, b), (c, d) = points[:2]
            draw.ellipse((min(a, c), min(b, d), max(a, c), max(b, d)), fill=colour)
        elif kind == 2:
            draw.line(points, fill=colour, width=int(rng.integers(big // 32, big // 8)))
        else:
            letters = "".join(chr(int(c)) for c in rng.integers(65, 91, rng.integers(1, 4)))
            height = int(rng.uniform(0.3, 0.8) * big)
            x, y = rng.uniform(-0.1 * big, 0.5 * big, 2)
            draw.text((x, y), letters, fill=colour, font=ImageFont.load_default(height))
    return np.asarray(picture.resize((size, size), Image.Resampling.BOX))
