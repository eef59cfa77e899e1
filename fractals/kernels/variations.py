"""The variations of fractal flames, one function each, over a run of points.

Below, r^2 = x^2 + y^2, theta = atan(x / y), phi = atan(y / x), and a to f are the coefficients of
the map's affine part. What each parameter is drawn from, and how often each variation is drawn, is
in `fractals.variations`.

source  Draves & Reckase (2003), appendix
"""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

from typing import Any

import numpy as np

from fractals.kernels.scalars import (
    FOUR,
    HALF,
    INV_PI,
    ONE,
    PI32,
    THREE,
    TINY,
    TWO,
    U32,
    ZERO,
    F,
    Scalar,
    atan2_32,
    cos32,
    exp2_32,
    flip_sign,
    floor32,
    hash32,
    log2_32,
    magnitude,
    sin32,
    sincos32,
    unit32,
)  # fmt: skip
from pixmix_kernels import kernel
from pixmix_kernels.arrays import F32

ORDER: list[Any] = []  # a variation's number is its place


def variation(function: Any) -> Any:
    """A variation: adds weight * V(u, v) to (px, py), for a run of points.

    u, v    (n,) float32, the points after the map's affine part
    px, py  (n,) float32, added to
    weight, p0, p1, p2, p3   float32: the variation's weight and parameters
    seed    uint32, for variations that draw at random
    a, b    (n,) float32, scratch. Variations with an angle take two loops: one alone needs more
            than the 16 vector registers there are
    """
    ORDER.append(function.__name__)
    return kernel(function)


@kernel
def _polar(u: F32, v: F32, r: F32, t: F32) -> None:
    # r^2 = x^2 + y^2, t = atan(x / y)
    for i in range(u.shape[0]):
        r[i] = np.sqrt(u[i] * u[i] + v[i] * v[i])
    for i in range(u.shape[0]):
        t[i] = atan2_32(u[i], v[i])


@kernel
def _root(u: F32, v: F32, power: Scalar, r: F32, t: F32) -> None:
    # (x^2 + y^2)^(power / 2), and t = atan(y / x)
    for i in range(u.shape[0]):
        r[i] = exp2_32(power * HALF * log2_32(u[i] * u[i] + v[i] * v[i]))
    for i in range(u.shape[0]):
        t[i] = atan2_32(v[i], u[i])


@variation
def linear(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x, y)."""
    n = u.shape[0]
    for i in range(n):
        px[i] += weight * u[i]
        py[i] += weight * v[i]


@variation
def sinusoidal(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(sin x, sin y)."""
    n = u.shape[0]
    for i in range(n):
        px[i] += weight * sin32(u[i])
        py[i] += weight * sin32(v[i])


@variation
def spherical(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x, y) / r^2."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s = weight / (x * x + y * y + TINY)
        px[i] += s * x
        py[i] += s * y


@variation
def swirl(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x sin r^2 - y cos r^2, x cos r^2 + y sin r^2)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s, c = sincos32(x * x + y * y)
        px[i] += weight * (x * s - y * c)
        py[i] += weight * (x * c + y * s)


@variation
def horseshoe(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """((x - y) (x + y), 2 x y) / r."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s = weight / (np.sqrt(x * x + y * y) + TINY)
        px[i] += s * (x - y) * (x + y)
        py[i] += s * TWO * x * y


@variation
def polar(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(theta / pi, r - 1)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        px[i] += weight * atan2_32(x, y) * INV_PI
        py[i] += weight * (np.sqrt(x * x + y * y) - ONE)


@variation
def handkerchief(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r (sin(theta + r), cos(theta - r))."""
    # r sin(theta + r) = x cos r + y sin r, and r cos(theta - r) likewise
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s, c = sincos32(np.sqrt(x * x + y * y))
        px[i] += weight * (x * c + y * s)
        py[i] += weight * (y * c + x * s)


@variation
def heart(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r (sin(theta r), -cos(theta r))."""
    n = u.shape[0]
    _polar(u, v, a, b)
    for i in range(n):
        s, c = sincos32(b[i] * a[i])
        px[i] += weight * a[i] * s
        py[i] -= weight * a[i] * c


@variation
def disc(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """theta / pi (sin(pi r), cos(pi r))."""
    n = u.shape[0]
    _polar(u, v, a, b)
    for i in range(n):
        s, c = sincos32(PI32 * a[i])
        t = weight * b[i] * INV_PI
        px[i] += t * s
        py[i] += t * c


@variation
def spiral(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(cos theta + sin r, sin theta - cos r) / r."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        r = np.sqrt(x * x + y * y) + TINY
        inverse = ONE / r
        s, c = sincos32(r)
        px[i] += weight * inverse * (y * inverse + s)
        py[i] += weight * inverse * (x * inverse - c)


@variation
def hyperbolic(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(sin theta / r, r cos theta)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        px[i] += weight * x / (x * x + y * y + TINY)
        py[i] += weight * y


@variation
def diamond(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(sin theta cos r, cos theta sin r)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        r = np.sqrt(x * x + y * y)
        a[i] = r
        b[i] = weight / (r + TINY)
    for i in range(n):
        s, c = sincos32(a[i])
        px[i] += b[i] * u[i] * c
        py[i] += b[i] * v[i] * s


@variation
def ex(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r (p^3 + q^3, p^3 - q^3), p = sin(theta + r), q = cos(theta - r)."""
    # sin(theta + r) and cos(theta - r) as in handkerchief
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        r = np.sqrt(x * x + y * y)
        inverse = ONE / (r + TINY)
        s, c = sincos32(r)
        p = (x * c + y * s) * inverse
        q = (y * c + x * s) * inverse
        p = p * p * p
        q = q * q * q
        px[i] += weight * r * (p + q)
        py[i] += weight * r * (p - q)


@variation
def julia(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """sqrt r (cos(theta / 2 + w), sin(theta / 2 + w)), w = 0 or pi at random."""
    n = u.shape[0]
    # the complex root of y + i x: its larger part by a square root, the other by division
    for i in range(n):
        x, y = u[i], v[i]
        ax, ay = magnitude(x), magnitude(y)
        large = np.sqrt(HALF * (np.sqrt(x * x + y * y) + ay))
        small = HALF * ax / (large + TINY)
        p = large if y >= ZERO else small
        q = small if y >= ZERO else large
        s = flip_sign(weight, np.int32(hash32(i, seed)))
        px[i] += s * p
        py[i] += s * flip_sign(q, F(x).view(np.int32))


@variation
def bent(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x, y), with x < 0 doubled and y < 0 halved."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        px[i] += weight * (x if x >= ZERO else TWO * x)
        py[i] += weight * (y if y >= ZERO else HALF * y)


@variation
def waves(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x + p0 sin(y p1), y + p2 sin(x p3)); p0 = b, p1 = 1 / c^2, p2 = e, p3 = 1 / f^2."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        px[i] += weight * (x + p0 * sin32(y * p1))
        py[i] += weight * (y + p2 * sin32(x * p3))


@variation
def fisheye(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """2 / (r + 1) (y, x)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s = weight * TWO / (np.sqrt(x * x + y * y) + ONE)
        px[i] += s * y
        py[i] += s * x


@variation
def popcorn(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x + p0 sin tan 3 y, y + p1 sin tan 3 x); p0 = c, p1 = f."""
    n = u.shape[0]
    for i in range(n):
        s, c = sincos32(THREE * u[i])
        a[i] = s / c
        s, c = sincos32(THREE * v[i])
        b[i] = s / c
    for i in range(n):
        px[i] += weight * (u[i] + p0 * sin32(b[i]))
        py[i] += weight * (v[i] + p1 * sin32(a[i]))


@variation
def exponential(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """exp(x - 1) (cos(pi y), sin(pi y))."""
    n = u.shape[0]
    for i in range(n):
        a[i] = weight * exp2_32((u[i] - ONE) * F(1.4426950408889634))
    for i in range(n):
        s, c = sincos32(PI32 * v[i])
        px[i] += a[i] * c
        py[i] += a[i] * s


@variation
def power(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r^(sin theta) (cos theta, sin theta)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        r = np.sqrt(x * x + y * y) + TINY
        a[i] = ONE / r
        b[i] = x * a[i] * log2_32(r)
    for i in range(n):
        s = weight * exp2_32(b[i]) * a[i]
        px[i] += s * v[i]
        py[i] += s * u[i]


@variation
def cosine(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(cos(pi x) cosh y, -sin(pi x) sinh y)."""
    n = u.shape[0]
    for i in range(n):
        e = exp2_32(v[i] * F(1.4426950408889634))
        d = ONE / e
        a[i] = weight * HALF * (e + d)
        b[i] = weight * HALF * (e - d)
    for i in range(n):
        s, c = sincos32(PI32 * u[i])
        px[i] += c * a[i]
        py[i] -= s * b[i]


@variation
def rings(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(q - p0 + r (1 - p0)) (cos theta, sin theta), q = (r + p0) mod 2 p0; p0 = c^2."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        r = np.sqrt(x * x + y * y) + TINY
        q = r + p0
        period = TWO * p0
        q = q - period * floor32(q / period)
        s = weight * (q - p0 + r * (ONE - p0)) / r
        px[i] += s * y
        py[i] += s * x


@variation
def fan(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r (cos(theta + t), sin(theta + t)), t = p0 / 2 or -p0 / 2; p0 = pi c^2, p1 = f."""
    n = u.shape[0]
    # turned by half of p0 one way or the other
    sine, cosine = sincos32(F(HALF * p0))
    sine, cosine = weight * sine, weight * cosine
    for i in range(n):
        x, y = u[i], v[i]
        q = (atan2_32(x, y) + p1) / p0
        q = q - floor32(q)
        s = -sine if q > HALF else sine
        px[i] += y * cosine - x * s
        py[i] += x * cosine + y * s


@variation
def blob(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r (p1 + (p0 - p1) / 2 (sin(p2 theta) + 1)) (cos theta, sin theta)."""
    n = u.shape[0]
    for i in range(n):
        a[i] = atan2_32(u[i], v[i])
    for i in range(n):
        s = weight * (p1 + (p0 - p1) * HALF * (sin32(p2 * a[i]) + ONE))
        px[i] += s * v[i]
        py[i] += s * u[i]


@variation
def pdj(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(sin(p0 y) - cos(p1 x), sin(p2 x) - cos(p3 y))."""
    n = u.shape[0]
    for i in range(n):
        px[i] += weight * (sin32(p0 * v[i]) - cos32(p1 * u[i]))
    for i in range(n):
        py[i] += weight * (sin32(p2 * u[i]) - cos32(p3 * v[i]))


@variation
def eyefish(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """2 / (r + 1) (x, y)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s = weight * TWO / (np.sqrt(x * x + y * y) + ONE)
        px[i] += s * x
        py[i] += s * y


@variation
def bubble(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """4 / (r^2 + 4) (x, y)."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s = weight * FOUR / (x * x + y * y + FOUR)
        px[i] += s * x
        py[i] += s * y


@variation
def cylinder(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(sin x, y)."""
    n = u.shape[0]
    for i in range(n):
        px[i] += weight * sin32(u[i])
        py[i] += weight * v[i]


@variation
def perspective(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """p2 / (p2 - y p0) (x, y p1); p0 = sin and p1 = cos of an angle, p2 = a distance."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        s = weight * p2 / (p2 - y * p0)
        px[i] += s * x
        py[i] += s * y * p1


@variation
def julian(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """r^p1 (cos t, sin t), t = (phi + 2 pi k) / p0, k at random; p1 = distance / p0."""
    n = u.shape[0]
    order, inverse = p0 if p0 >= ZERO else -p0, ONE / p0
    _root(u, v, p1, a, b)
    for i in range(n):
        k = F(np.int32(order * unit32(hash32(i, seed))))
        b[i] = (b[i] + TWO * PI32 * k) * inverse
    for i in range(n):
        s, c = sincos32(b[i])
        px[i] += weight * a[i] * c
        py[i] += weight * a[i] * s


@variation
def juliascope(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """as julian, with the sign of phi at random, too."""
    n = u.shape[0]
    order, inverse = p0 if p0 >= ZERO else -p0, ONE / p0
    _root(u, v, p1, a, b)
    for i in range(n):
        h = hash32(i, seed)
        k = F(np.int32(order * unit32(h)))
        t = flip_sign(b[i], np.int32(h << U32(31)))
        b[i] = (t + TWO * PI32 * k) * inverse
    for i in range(n):
        s, c = sincos32(b[i])
        px[i] += weight * a[i] * c
        py[i] += weight * a[i] * s


@variation
def curl(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """z / (1 + p0 z + p1 z^2), z = x + i y."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        re = ONE + p0 * x + p1 * (x * x - y * y)
        im = p0 * y + TWO * p1 * x * y
        s = weight / (re * re + im * im + TINY)
        px[i] += s * (x * re + y * im)
        py[i] += s * (y * re - x * im)


@variation
def rectangles(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """((2 floor(x / p0) + 1) p0 - x, the same of y and p1), p0 and p1 > 0."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        px[i] += weight * ((TWO * floor32(x / p0) + ONE) * p0 - x)
        py[i] += weight * ((TWO * floor32(y / p1) + ONE) * p1 - y)


@variation
def cross(u, v, px, py, weight, p0, p1, p2, p3, seed, a, b):  # type: ignore[no-untyped-def]
    """(x, y) / |x^2 - y^2|."""
    n = u.shape[0]
    for i in range(n):
        x, y = u[i], v[i]
        d = x * x - y * y
        s = weight / ((d if d > ZERO else -d) + TINY)
        px[i] += s * x
        py[i] += s * y


def _chosen_by_number() -> Any:
    # the chain of ifs that a compiled kernel needs, so that no list of variations stands twice
    arguments = "u, v, px, py, weight, p0, p1, p2, p3, seed, a, b"
    lines = [f"def apply_variation(number, {arguments}):"]
    for number, name in enumerate(ORDER):
        lines.append(
            f"    {'if' if number == 0 else 'elif'} number == {number}: {name}({arguments})"
        )
    made: dict[str, Any] = {}
    exec(compile("\n".join(lines), __file__, "exec"), globals(), made)
    return kernel(made["apply_variation"])


apply_variation = _chosen_by_number()
