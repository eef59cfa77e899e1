"""Slow, plain oracles for fractals.kernels: float64, the C library, one thing at a time.

Written from the papers and from the docstrings, not from the kernels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Pair = tuple[F64, F64]


def variation(
    name: str, x: F64, y: F64, affine: Sequence[float], p: Sequence[float], branch: Any = 0
) -> Pair:
    """A variation by its formula in Draves & Reckase (2003), appendix, in float64.

    affine  a b c d e f of the map, for the dependent variations
    p       parameters of the parametric ones
    branch  the random whole number of julia, julian and juliascope
    """
    _, b, c, _, e, f = affine
    r = np.sqrt(x**2 + y**2)
    theta = np.arctan2(x, y)
    phi = np.arctan2(y, x)

    def julian(t: F64) -> Pair:
        angle = (t + 2 * np.pi * branch) / p[0]
        radius = r ** (p[1] / p[0])
        return radius * np.cos(angle), radius * np.sin(angle)

    def rings() -> Pair:
        c2 = max(c * c, 0.01)
        k = np.mod(r + c2, 2 * c2) - c2 + r * (1 - c2)
        return k * np.cos(theta), k * np.sin(theta)

    def fan() -> Pair:
        t = np.pi * max(c * c, 0.01)
        turned = np.where(np.mod(theta + f, t) > t / 2, theta - t / 2, theta + t / 2)
        return r * np.cos(turned), r * np.sin(turned)

    def ex() -> Pair:
        p0, p1 = np.sin(theta + r), np.cos(theta - r)
        return r * (p0**3 + p1**3), r * (p0**3 - p1**3)

    def blob() -> Pair:
        k = r * (p[1] + (p[0] - p[1]) / 2 * (np.sin(p[2] * theta) + 1))
        return k * np.cos(theta), k * np.sin(theta)

    def curl() -> Pair:
        t1 = 1 + p[0] * x + p[1] * (x**2 - y**2)
        t2 = p[0] * y + 2 * p[1] * x * y
        k = 1 / (t1**2 + t2**2)
        return k * (x * t1 + y * t2), k * (y * t1 - x * t2)

    def perspective() -> Pair:
        k = p[1] / (p[1] - y * np.sin(p[0]))
        return k * x, k * y * np.cos(p[0])

    wave_c = max(c * c, 0.01)
    wave_f = max(f * f, 0.01)
    formulas: dict[str, Callable[[], Pair]] = {
        "linear": lambda: (x, y),
        "sinusoidal": lambda: (np.sin(x), np.sin(y)),
        "spherical": lambda: (x / r**2, y / r**2),
        "swirl": lambda: (
            x * np.sin(r**2) - y * np.cos(r**2),
            x * np.cos(r**2) + y * np.sin(r**2),
        ),
        "horseshoe": lambda: ((x - y) * (x + y) / r, 2 * x * y / r),
        "polar": lambda: (theta / np.pi, r - 1),
        "handkerchief": lambda: (r * np.sin(theta + r), r * np.cos(theta - r)),
        "heart": lambda: (r * np.sin(theta * r), -r * np.cos(theta * r)),
        "disc": lambda: (theta / np.pi * np.sin(np.pi * r), theta / np.pi * np.cos(np.pi * r)),
        "spiral": lambda: ((np.cos(theta) + np.sin(r)) / r, (np.sin(theta) - np.cos(r)) / r),
        "hyperbolic": lambda: (np.sin(theta) / r, r * np.cos(theta)),
        "diamond": lambda: (np.sin(theta) * np.cos(r), np.cos(theta) * np.sin(r)),
        "ex": ex,
        "julia": lambda: (
            np.sqrt(r) * np.cos(theta / 2 + np.pi * branch),
            np.sqrt(r) * np.sin(theta / 2 + np.pi * branch),
        ),
        "bent": lambda: (np.where(x >= 0, x, 2 * x), np.where(y >= 0, y, y / 2)),
        "waves": lambda: (x + b * np.sin(y / wave_c), y + e * np.sin(x / wave_f)),
        "fisheye": lambda: (2 / (r + 1) * y, 2 / (r + 1) * x),
        "popcorn": lambda: (
            x + c * np.sin(np.tan(3 * y)),
            y + f * np.sin(np.tan(3 * x)),
        ),
        "exponential": lambda: (
            np.exp(x - 1) * np.cos(np.pi * y),
            np.exp(x - 1) * np.sin(np.pi * y),
        ),
        "power": lambda: (
            r ** np.sin(theta) * np.cos(theta),
            r ** np.sin(theta) * np.sin(theta),
        ),
        "cosine": lambda: (np.cos(np.pi * x) * np.cosh(y), -np.sin(np.pi * x) * np.sinh(y)),
        "rings": rings,
        "fan": fan,
        "blob": blob,
        "pdj": lambda: (
            np.sin(p[0] * y) - np.cos(p[1] * x),
            np.sin(p[2] * x) - np.cos(p[3] * y),
        ),
        "eyefish": lambda: (2 / (r + 1) * x, 2 / (r + 1) * y),
        "bubble": lambda: (4 / (r**2 + 4) * x, 4 / (r**2 + 4) * y),
        "cylinder": lambda: (np.sin(x), y),
        "perspective": perspective,
        "julian": lambda: julian(phi),
        "juliascope": lambda: julian(np.where(np.asarray(branch_sign) == 0, phi, -phi)),
        "curl": curl,
        "rectangles": lambda: (
            (2 * np.floor(x / p[0]) + 1) * p[0] - x,
            (2 * np.floor(y / p[1]) + 1) * p[1] - y,
        ),
        "cross": lambda: (
            np.sqrt(1 / (x**2 - y**2) ** 2) * x,
            np.sqrt(1 / (x**2 - y**2) ** 2) * y,
        ),
    }
    branch_sign: Any = 0
    if name == "juliascope":
        branch_sign, branch = branch
    return formulas[name]()


def draw_branch(name: str, p: Sequence[float], n: int, rng: np.random.Generator) -> Any:
    """The random whole numbers of a variation, for n points."""
    if name == "julia":
        return rng.integers(0, 2, n)
    if name == "julian":
        return rng.integers(0, int(abs(p[0])), n)
    if name == "juliascope":
        return rng.integers(0, 2, n), rng.integers(0, int(abs(p[0])), n)
    return 0


def _one_map(one: dict[str, Any], x: F64, y: F64, rng: np.random.Generator) -> Pair:
    a, b, c, d, e, f = one["affine"]
    u, v = a * x + b * y + c, d * x + e * y + f
    if "variations" not in one:
        return u, v
    px, py = np.zeros_like(u), np.zeros_like(v)
    for name, weight, p in one["variations"]:
        dx, dy = variation(name, u, v, one["affine"], p, draw_branch(name, p, len(u), rng))
        px, py = px + weight * dx, py + weight * dy
    if one.get("post"):
        a, b, c, d, e, f = one["post"]
        px, py = a * px + b * py + c, d * px + e * py + f
    return px, py


def chaos_game(
    layer: dict[str, Any], points: int, rng: np.random.Generator, orbits: int = 2000
) -> tuple[F64, F64, F64]:
    """The chaos game by the book: every orbit draws its own map at every step.

    layer    as in a recipe
    returns  x, y, colour, each (points,) float64
    """
    maps = layer["maps"]
    order, mirror = layer["symmetry"]["order"], layer["symmetry"]["mirror"]
    weights = np.array([one["weight"] for one in maps])
    x, y = rng.uniform(-1, 1, orbits), rng.uniform(-1, 1, orbits)
    c = np.full(orbits, 0.5)
    age = np.zeros(orbits, int)
    kept: list[tuple[F64, F64, F64]] = []
    steps = 0
    while sum(len(k[0]) for k in kept) < points:
        which = rng.choice(len(maps), orbits, p=weights / weights.sum())
        nx, ny, nc = np.empty(orbits), np.empty(orbits), np.empty(orbits)
        for k, one in enumerate(maps):
            mine = which == k
            with np.errstate(all="ignore"):
                nx[mine], ny[mine] = _one_map(one, x[mine], y[mine], rng)
            nc[mine] = c[mine] + one.get("speed", 0.5) * (one["color"] - c[mine])
        turn = 2 * np.pi / order * rng.integers(0, order, orbits)
        flip = rng.integers(0, 2, orbits) * 2 - 1 if mirror else np.ones(orbits)
        with np.errstate(all="ignore"):
            nx, ny = (
                flip * (np.cos(turn) * nx - np.sin(turn) * ny),
                np.sin(turn) * nx + np.cos(turn) * ny,
            )
            lost = ~((np.abs(nx) < 1e5) & (np.abs(ny) < 1e5))
        count = int(lost.sum())
        nx[lost], ny[lost] = rng.uniform(-1, 1, count), rng.uniform(-1, 1, count)
        age[lost] = -5
        x, y, c, age = nx, ny, nc, age + 1
        steps += 1
        if steps > 20:
            sx, sy = x, y
            if layer["final"] is not None:
                with np.errstate(all="ignore"):
                    sx, sy = _one_map(layer["final"], x, y, rng)
            shown = age > 0
            kept.append((sx[shown], sy[shown], c[shown]))
    joined = [np.concatenate(part)[:points] for part in zip(*kept, strict=True)]
    return joined[0], joined[1], joined[2]


def histogram(x: F64, y: F64, frame: F64, width: int) -> F64:
    """Counts over a grid with its border, points outside held into the border."""
    u = np.clip(np.nan_to_num(frame[0] * x + frame[1] * y + frame[2]), 0, width - 0.5)
    v = np.clip(np.nan_to_num(frame[3] * x + frame[4] * y + frame[5]), 0, width - 0.5)
    cells = v.astype(int) * width + u.astype(int)
    return np.bincount(cells, minlength=width * width).astype(float)


def total_variation(p: F64, q: F64) -> float:
    """Half the summed differences of two histograms as probabilities."""
    return float(0.5 * np.abs(p / p.sum() - q / q.sum()).sum())


def shrink_sums(values: F64, side: int) -> F64:
    h = len(values)
    out = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            rows = slice(i * h // side, (i + 1) * h // side)
            columns = slice(j * h // side, (j + 1) * h // side)
            out[i, j] = values[rows, columns].sum()
    return out


def smooth_sparse(counts: F64, sums: F64, enough: float, step: int) -> Pair:
    """The 1-2-1 binomial filter where counts are below enough, in proportion; edges repeat."""
    padded_n = np.pad(counts, step, mode="edge")
    padded_s = np.pad(sums, step, mode="edge")
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    out_n, out_s = counts.copy(), sums.copy()
    for i, j in np.ndindex(*counts.shape):
        window = slice(i, i + 2 * step + 1, step), slice(j, j + 2 * step + 1, step)
        n = float((padded_n[window] * kernel).sum())
        s = float((padded_s[window] * kernel).sum())
        keep = min(n / enough, 1.0)
        out_n[i, j] = n + keep * (counts[i, j] - n)
        out_s[i, j] = s + keep * (sums[i, j] - s)
    return out_n, out_s


def blur(values: F64, near: float, far: float) -> F64:
    """A filter of five taps along columns and rows, once; edges repeat."""
    taps = np.array([far, near, 1.0 - 2.0 * (near + far), near, far])
    for axis in (0, 1):
        padded = np.pad(values, [(2, 2) if k == axis else (0, 0) for k in (0, 1)], mode="edge")
        values = sum(
            tap * np.take(padded, range(k, k + values.shape[axis]), axis)
            for k, tap in enumerate(taps)
        )
    return values


def spread_palette(base: Any, coarse: F64, sums: F64, low: float, share: float) -> Any:
    """The palette spread to equal shares, at most three times steeper than it is; 64 bins."""
    lit = coarse > 0.5 * low
    position = np.minimum(sums[lit] / coarse[lit], 1.0)
    counts = np.bincount((position * (64 - 1e-6)).astype(int), minlength=64)
    clipped = np.minimum(counts / max(counts.sum(), 1), 3.0 / 64)
    running = np.concatenate([[0.0], clipped.cumsum()])
    even = np.linspace(0.0, 1.0, base.shape[1])
    rank = np.interp(even * 64, range(65), running) + (1.0 - running[-1]) * even
    spread = np.minimum(share * rank + (1.0 - share) * even, 1.0)
    return base[:, (spread * (base.shape[1] - 1) + 0.5).astype(int)]


def upsample(small: F64, side: int) -> F64:
    g = len(small)
    out = np.zeros((side, side, 3))
    for i in range(side):
        for j in range(side):
            fy = max((i + 0.5) * g / side - 0.5, 0.0)
            fx = max((j + 0.5) * g / side - 0.5, 0.0)
            y0, x0 = int(fy), int(fx)
            y1, x1 = min(y0 + 1, g - 1), min(x0 + 1, g - 1)
            ty, tx = fy - y0, fx - x0
            top = (1 - tx) * small[y0, x0] + tx * small[y0, x1]
            bottom = (1 - tx) * small[y1, x0] + tx * small[y1, x1]
            out[i, j] = (1 - ty) * top + ty * bottom
    return out


def compose(
    counts: F64,
    color_counts: F64,
    sums: F64,
    tone: F64,
    palette: F64,
    screen: bool,
    picture: F64,
) -> F64:
    inverse, inverse_white, solidity, shade, highlight, opacity = tone
    out = picture.copy()
    for i, j in np.ndindex(*counts.shape):
        n = counts[i, j]
        if n <= 0:
            continue
        t = math.log2(1 + n * inverse) * inverse_white
        if t > 0.75:
            over = 2 * (t - 0.75)
            t = 0.75 + 0.5 * over / (1 + 2 * over)
        color = min(float(sums[i, j] / color_counts[i, j]), 1.0)
        p = palette[int(color * (len(palette) - 1) + 0.5)]
        cover = min(solidity * t, 1.0) * opacity
        value = p * (shade + (1 - shade) * t)
        value = value + max((t - 0.7) * highlight, 0.0) * (1 - value)
        old = out[i, j]
        out[i, j] = old + cover * value * (1 - old) if screen else old + cover * (value - old)
    return out


def measure_spread(counts: F64) -> tuple[float, float, float, float, float]:
    """fill, entropy, peak, inside and structure of a (w, w) histogram with its border."""
    inner = counts[1:-1, 1:-1]
    p = inner[inner > 0] / inner.sum()
    here, right, below = counts[1:-2, 1:-2], counts[1:-2, 2:-1], counts[2:-1, 1:-2]
    difference = ((here - right) ** 2 - here - right + (here - below) ** 2 - here - below).sum()
    squares = (here**2 + right**2 + below**2).sum()
    return (
        float((inner > 0).mean()),
        float(-(p * np.log2(p)).sum()),
        float(inner.max() / inner.sum()),
        float(inner.sum() / counts.sum()),
        float(difference / squares),
    )
