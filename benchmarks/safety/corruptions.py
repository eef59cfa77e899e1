"""CIFAR-C's fifteen corruptions, at its published strengths, for whole sets at once.

Constants and their meaning: Hendrycks & Dietterich (2019), Benchmarking neural network robustness
to common corruptions and perturbations, and the CIFAR script that was published with it; the code
is our own. They are meant for pictures of 32 x 32.

Where this differs: frost takes whatever photographs of frost the caller has; motion blur follows
ImageMagick's rule (a one-sided Gaussian along a line, whole-pixel offsets, edges repeated) without
ImageMagick; blurs are torch convolutions in float32. Two peculiarities of the published script are
kept because the published pictures show them: glass blur copies pixels where it means to exchange
them, and results are cut off, not rounded, to whole levels.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

SEVERITIES = (1, 2, 3, 4, 5)
FROST = 5  # times that photographs of frost are shrunk
CHUNK = 1000  # pictures worked on at once


def corrupt(pictures: U8, name: str, severity: int, seed: int = 0) -> U8:
    """Corrupted copies.

    pictures  (n, s, s, 3) uint8
    name      one of CORRUPTIONS
    severity  1 to 5
    seed      >= 0; each (seed, name, severity) has its own random numbers
    returns   (n, s, s, 3) uint8
    raises    KeyError for an unknown name, ValueError for a severity out of range
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5, not {severity}")
    function = _FUNCTIONS[name]
    rng = _rng(seed, name, severity)
    parts = [
        function(pictures[begin : begin + CHUNK], severity - 1, rng)
        for begin in range(0, len(pictures), CHUNK)
    ]
    return np.concatenate(parts) if parts else pictures.copy()


def _rng(seed: int, name: str, severity: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"{seed} {name} {severity}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def frost(pictures: U8, severity: int, photographs: Sequence[U8], seed: int = 0) -> U8:
    """Frost laid over each picture: a random place of a random photograph, shrunk to a fifth.

    pictures     (n, s, s, 3) uint8
    severity     1 to 5
    photographs  (h, w, 3) uint8 each, at least FROST * s on each side
    raises       ValueError for a severity out of range, or photographs that are too small
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be 1 to 5, not {severity}")
    keep, strength = ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))[severity - 1]
    side = pictures.shape[1]
    small = [_fifth(photograph) for photograph in photographs]
    if not small or min(min(photograph.shape[:2]) for photograph in small) < side:
        raise ValueError(f"photographs of frost need {FROST * side} pixels on each side")
    rng = _rng(seed, "frost", severity)
    layer = np.empty(pictures.shape, np.float32)
    for ice in layer:
        photograph = small[rng.integers(len(small))]
        top, left = (rng.integers(full - side + 1) for full in photograph.shape[:2])
        ice[:] = photograph[top : top + side, left : left + side]
    return to_levels(keep * to_float(pictures) + strength * layer / 255)


def _fifth(photograph: U8) -> U8:
    height, width = (round(side / FROST) for side in photograph.shape[:2])
    image = Image.fromarray(photograph).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)


def to_float(pictures: U8) -> F32:
    """Levels 0-255 as [0, 1]."""
    return pictures.astype(np.float32) / np.float32(255)


def to_levels(x: NDArray[np.floating]) -> U8:
    """[0, 1] as levels 0-255, clipped and cut off as the published script does."""
    return (np.clip(x, 0, 1) * 255 + 1e-4).astype(np.uint8)


def gaussian_noise(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Additive normal noise."""
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[level]
    noise = rng.standard_normal(pictures.shape, np.float32)
    return to_levels(to_float(pictures) + scale * noise)


def shot_noise(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Poisson noise of a counting detector."""
    photons = (500, 250, 100, 75, 50)[level]
    return to_levels(rng.poisson(to_float(pictures) * photons) / photons)


def impulse_noise(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Values replaced by 0 or 255."""
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[level]
    hit = rng.random(pictures.shape, np.float32) < share
    salt = rng.random(pictures.shape, np.float32) < 0.5
    return np.where(hit, np.where(salt, np.uint8(255), np.uint8(0)), pictures)


def defocus_blur(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """A disk, its rim softened."""
    radius, softness = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[level]
    at = np.arange(-8, 9)
    disk = (at[:, None] ** 2 + at**2 <= radius**2).astype(np.float32)
    soft = gaussian_kernel(softness, 1)
    kernel = _convolve(_nchw((disk / disk.sum())[None, :, :, None]), np.outer(soft, soft))
    return to_levels(_nhwc(_convolve(_nchw(to_float(pictures)), kernel[0, 0].numpy())))


def glass_blur(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Pixels taken from a neighbour, between two slight blurs."""
    sigma, reach, turns = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))[
        level
    ]
    x = to_levels(gaussian_blur(to_float(pictures), sigma))
    n, side = x.shape[:2]
    every = np.arange(n)
    for _ in range(turns):
        for row in range(side - reach, reach, -1):
            for column in range(side - reach, reach, -1):
                step = rng.integers(-reach, reach, (2, n))
                x[:, row, column] = x[every, row + step[0], column + step[1]]
    return to_levels(gaussian_blur(to_float(x), sigma))


def motion_blur(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """A smear within 45 degrees of the horizontal, its angle drawn for each picture."""
    radius, sigma = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[level]
    angles = rng.uniform(-45, 45, len(pictures))
    return to_levels(smear(to_float(pictures), radius, sigma, angles))


def zoom_blur(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """The mean over a zoom in hundredths, from 1 to the strength."""
    steps = (6, 11, 16, 21, 26)[level]
    x = to_float(pictures)
    total = x.copy()
    for step in range(steps):
        total += zoom(x, 1 + step / 100)
    return to_levels(total / (steps + 1))


def snow(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Falling flakes, and the whiteness of a snowy day."""
    mean, deviation, scale, threshold, radius, sigma, keep = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[level]
    x = to_float(pictures)
    shape = (*pictures.shape[:3], 1)
    layer = zoom((mean + deviation * rng.standard_normal(shape)).astype(np.float32), scale)
    flakes = to_float(to_levels(np.where(layer < threshold, 0, layer)))
    flakes = smear(flakes, radius, sigma, rng.uniform(-135, -45, len(x)))
    return to_levels(whiten(x, keep) + flakes + np.rot90(flakes, 2, (1, 2)))


def fog(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Clouds by midpoint displacement, laid over the picture."""
    strength, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[level]
    x = to_float(pictures)
    brightest = x.max((1, 2, 3), keepdims=True)
    side = x.shape[1]
    clouds = plasma(len(x), 1 << (side - 1).bit_length(), decay, rng)[:, :side, :side, None]
    total = brightest + strength
    return to_levels((x + strength * clouds) * brightest / total)


def brightness(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """The V of HSV raised."""
    return brighten(pictures, (0.05, 0.1, 0.15, 0.2, 0.3)[level])


def contrast(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Drawn towards each channel's mean."""
    factor = (0.75, 0.5, 0.4, 0.3, 0.15)[level]
    x = to_float(pictures)
    mean = x.mean((1, 2), keepdims=True)
    return to_levels((x - mean) * factor + mean)


def elastic_transform(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """A random affine map, then a smooth field of displacements."""
    n, side = pictures.shape[:2]
    amplitude, sigma, corner = (
        side * np.array(v)
        for v in zip(
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        )
    )
    centre, reach = side // 2, side // 3
    points = np.array(
        [(centre + reach, centre + reach), (centre + reach, centre - reach), (centre - reach,) * 2]
    )
    moved = points + rng.uniform(-corner[level], corner[level], (n, 3, 2))
    # the inverse map, from where a pixel goes to where it comes from: three points fix it
    system = np.concatenate([moved, np.ones((n, 3, 1))], 2)
    inverse = np.linalg.solve(system, np.broadcast_to(points.astype(float), (n, 3, 2)))  # (n, 3, 2)
    at = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).astype(float)  # x, y
    where = np.concatenate([at, np.ones((side, side, 1))], 2).reshape(-1, 3) @ inverse
    x = sample(to_float(pictures), where.reshape(n, side, side, 2), "reflection", centred=True)
    field = np.stack([rng.uniform(-1, 1, (n, side, side, 1)) for _ in range(2)])
    if sigma[level] > 0:
        smooth = [gaussian_blur(f.astype(np.float32), sigma[level], 3, "reflect") for f in field]
        shift = np.concatenate(smooth, 3) * amplitude[level]
        x = sample(x, at + shift, "reflection", centred=False)
    return to_levels(x)


def pixelate(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Shrunk and enlarged with a box filter."""
    side = pictures.shape[1]
    small = int(side * (0.95, 0.9, 0.85, 0.75, 0.65)[level])
    box = Image.Resampling.BOX
    return np.stack(
        [
            np.asarray(Image.fromarray(p).resize((small, small), box).resize((side, side), box))
            for p in pictures
        ]
    )


def jpeg_compression(pictures: U8, level: int, rng: np.random.Generator) -> U8:
    """Through a JPEG of low quality."""
    quality = (80, 65, 58, 50, 40)[level]
    out = []
    for picture in pictures:
        data = io.BytesIO()
        Image.fromarray(picture).save(data, "JPEG", quality=quality)
        out.append(np.asarray(Image.open(data)))
    return np.stack(out)


_FUNCTIONS: dict[str, Callable[[U8, int, np.random.Generator], U8]] = {
    f.__name__: f
    for f in (
        gaussian_noise,
        shot_noise,
        impulse_noise,
        defocus_blur,
        glass_blur,
        motion_blur,
        zoom_blur,
        snow,
        fog,
        brightness,
        contrast,
        elastic_transform,
        pixelate,
        jpeg_compression,
    )
}
CORRUPTIONS = tuple(_FUNCTIONS)


def brighten(pictures: U8, amount: float) -> U8:
    """The V of HSV moved by an amount: with hue and saturation fixed, RGB scales with V."""
    x = to_float(pictures)
    value = x.max(3, keepdims=True)
    raised = np.clip(value + amount, 0, 1)
    return to_levels(np.where(value > 0, x * raised / np.maximum(value, 1e-6), raised))


def whiten(x: F32, keep: float) -> F32:
    """Part of the picture replaced by a bright grey version of it, where that is brighter."""
    grey = (x @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return keep * x + (1 - keep) * np.maximum(x, grey * 1.5 + 0.5)


def zoom(x: F32, factor: float) -> F32:
    """Enlarged about the centre, cut to the same size: (n, s, s, c) in [0, 1]."""
    side = x.shape[1]
    part = math.ceil(side / factor)
    top = (side - part) // 2
    inner = _nchw(x[:, top : top + part, top : top + part])
    target = round(part * factor)
    large = F.interpolate(inner, size=(target, target), mode="bilinear", align_corners=True)
    trim = (target - side) // 2
    return _nhwc(large[:, :, trim : trim + side, trim : trim + side])


def smear(x: F32, radius: int, sigma: float, angles: NDArray[np.float64]) -> F32:
    """Motion blur as ImageMagick defines it: (n, s, s, c), one angle in degrees a picture."""
    n, side = x.shape[:2]
    width = 2 * radius + 1
    weights = np.exp(-(np.arange(width) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    dy, dx = np.sin(np.radians(angles)), np.cos(np.radians(angles))
    every = np.arange(n)[:, None, None]
    at = np.arange(side)
    out = np.zeros_like(x)
    for i, weight in enumerate(weights):
        down = np.ceil(i * dy - 0.5).astype(int)[:, None]
        right = np.ceil(i * dx - 0.5).astype(int)[:, None]
        rows = np.clip(at + down, 0, side - 1)[:, :, None]
        columns = np.clip(at + right, 0, side - 1)[:, None, :]
        out += np.float32(weight) * x[every, rows, columns]
    return out


def plasma(n: int, side: int, decay: float, rng: np.random.Generator) -> F32:
    """Height maps by midpoint displacement (diamond-square) on a torus, each spread over [0, 1].

    side     a power of two
    decay    by how much the displacement shrinks from one scale to the next
    returns  (n, side, side) float32
    """
    heights = np.zeros((n, side, side))
    step, wobble = side, 100.0

    def displaced(total: NDArray[np.float64]) -> NDArray[np.float64]:
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        centres = displaced(pairs + np.roll(pairs, -1, 2))
        heights[:, half::step, half::step] = centres
        across = corners + np.roll(corners, -1, 2)
        heights[:, ::step, half::step] = displaced(across + centres + np.roll(centres, 1, 1))
        down = corners + np.roll(corners, -1, 1)
        heights[:, half::step, ::step] = displaced(down + centres + np.roll(centres, 1, 2))
        step, wobble = half, wobble / decay
    heights -= heights.min((1, 2), keepdims=True)
    return (heights / heights.max((1, 2), keepdims=True)).astype(np.float32)


def gaussian_kernel(sigma: float, radius: int) -> F32:
    """Weights of a sampled Gaussian, (2 radius + 1,), summing to 1."""
    at = np.arange(-radius, radius + 1)
    weights = np.exp(-(at**2) / (2 * sigma**2))
    return (weights / weights.sum()).astype(np.float32)


def gaussian_blur(x: F32, sigma: float, truncate: float = 4, edges: str = "replicate") -> F32:
    """Blurred: (n, s, s, c). edges "replicate" or "reflect" (about the outermost pixel's edge)."""
    radius = int(truncate * sigma + 0.5)
    if radius == 0:
        return x
    kernel = torch.from_numpy(gaussian_kernel(sigma, radius))
    t = _nchw(x)
    channels = t.shape[1]
    for shape, pad in (((1, 1, 1, -1), (1, 3)), ((1, 1, -1, 1), (0, 2))):
        side = t.shape[3 if pad == (1, 3) else 2]
        index = np.arange(-radius, side + radius)
        if edges == "reflect":
            index = np.abs((index + 0.5) % (2 * side) - side)  # folded
            index = (side - index - 0.5).round().astype(int)
        taken = torch.from_numpy(np.clip(index, 0, side - 1).astype(np.int64))
        t = t.index_select(3 if pad == (1, 3) else 2, taken)
        t = F.conv2d(t, kernel.reshape(shape).expand(channels, -1, -1, -1), groups=channels)
    return _nhwc(t)


def sample(x: F32, where: NDArray[np.floating], edges: str, centred: bool) -> F32:
    """Bilinear samples.

    x        (n, s, s, c) in [0, 1]
    where    (n, s, s, 2): column and row to read, in pixels
    edges    "reflection" or "zeros" beyond the picture
    centred  reflect about the centres of the outermost pixels, not their edges
    """
    side = x.shape[1]
    if centred:
        grid = 2 * where / (side - 1) - 1
    else:
        grid = (2 * where + 1) / side - 1
    t = F.grid_sample(
        _nchw(x),
        torch.from_numpy(np.ascontiguousarray(grid, np.float32)),
        mode="bilinear",
        padding_mode=edges,
        align_corners=centred,
    )
    return _nhwc(t)


def _convolve(t: torch.Tensor, kernel: F32) -> torch.Tensor:
    """2-D filter of every channel, reflected about the outermost pixels' centres."""
    channels, radius = t.shape[1], kernel.shape[0] // 2
    weight = torch.from_numpy(np.ascontiguousarray(kernel)).expand(channels, 1, -1, -1)
    return F.conv2d(F.pad(t, (radius,) * 4, mode="reflect"), weight, groups=channels)


def _nchw(x: F32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(x, np.float32)).permute(0, 3, 1, 2)


def _nhwc(t: torch.Tensor) -> F32:
    return t.permute(0, 2, 3, 1).numpy()
