"""Every compiled loop of the package, and nothing else.

Same bytes on every processor is the contract, so here is no fastmath, no parallel sum and no
function of the C library: sine, arctangent, 2**x and log2 are polynomials in float32, evaluated in
the order written, multiply and add fused where `fma` says so and nowhere else. Divisions by zero
give inf or NaN as in IEEE 754 (error_model "numpy"), and points that leave are seeded again. Every
conversion to an integer is of a number known to fit.

Literals are float32 constants on purpose: numba would widen a bare one to float64, and halve the
speed of every vectorised loop.
"""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pixmix_kernels import arrays, entry, kernel, llvm
from pixmix_kernels.arrays import F32, F64, I32, I64, U8, F32x2, F32x3, F64x2, I32x2, U8x2, U8x3

F = np.float32
U32 = np.uint32
U64 = np.uint64

# Scalars of inner kernels: their width is that of what is passed, and the docstrings say which is
# meant.
Scalar = Any

# ---------------------------------------------------------------- constants

ZERO, HALF, ONE, TWO, THREE, FOUR, EIGHT = F(0), F(0.5), F(1), F(2), F(3), F(4), F(8)
PI32 = F(math.pi)
HALF_PI = F(math.pi / 2)
INV_PI = F(1 / math.pi)
# pi in two parts: the first has 10 significant bits, so that k * PI_HIGH is exact for |k| < 2**14
PI_HIGH = F(3.140625)
PI_LOW = F(math.pi - 3.140625)
TWO_OVER_PI = F(2 / math.pi)
HALF_PI_HIGH = F(1.5703125)  # 8 bits: exact for |k| < 2**16
HALF_PI_LOW = F(math.pi / 2 - 1.5703125)
ROUND = F(12582912.0)  # 1.5 * 2**23: adding it and taking it off rounds to the nearest integer
SIGN, NOT_SIGN = np.int32(-(1 << 31)), np.int32((1 << 31) - 1)  # of a float32's bits
PACK = 32  # points of a flame that move together
TINY = F(1e-20)
LARGE = F(1e5)  # coordinates beyond this have left
UNPLOTTED = F(-16.0)  # colour of a point just seeded: stays negative for about four iterations

# Chebyshev fits, least squares: sin(r)/r in r^2 on [0, pi^2/4] (error 4e-9) and on [0, pi^2/16]
# (3e-9), there also (cos(r) - 1)/r^2 (3e-10), atan(a)/a in a^2 on [0, 1] (4e-6), 2^f on
# [-1/2, 1/2] (8e-8), log2(m)/(m-1) on [sqrt(1/2), sqrt(2)] (3e-7)
S0, S1, S2 = F(0.9999999957158395), F(-0.16666657969904677), F(0.0083330506173279)
S3, S4 = F(-0.00019809046357423146), F(2.6051662758367133e-06)
Q0, Q1, Q2, Q3 = (
    F(0.9999999966691424),
    F(-0.16666649712508022),
    F(0.008331984215153743),
    F(-0.00019497271152332657),
)
C1, C2, C3, C4 = (
    F(-0.4999999996647084),
    F(0.041666649659415134),
    F(-0.0013887536754479486),
    F(2.445707298698151e-05),
)
A0, A1, A2 = F(0.999995506798647), F(-0.332988630584013), F(0.1955890508177224)
A3, A4, A5 = F(-0.12110946092077927), F(0.05733055160394857), F(-0.013422180409717864)
E0, E1, E2 = F(1.0000000754953489), F(0.6931472067106215), F(0.24022107355830444)
E3, E4, E5 = F(0.05550327214208448), F(0.009676037097870568), F(0.0013400432165484159)
L0, L1, L2 = F(3.9215245445589173), F(-7.585022121043074), F(12.355743730013527)
L3, L4, L5 = F(-13.798083248265305), F(10.161456144356384), F(-4.724355154627141)
L6, L7 = F(1.2576345982588786), F(-0.1462035352566216)

HASH_STEP = U32(2654435761)  # 2**32 / golden ratio
HASH_1 = U32(0x7FEB352D)
HASH_2 = U32(0x846CA68B)
TO_UNIT = F(1.0 / 16777216.0)

SPLITMIX_STEP = U64(0x9E3779B97F4A7C15)
SPLITMIX_1 = U64(0xBF58476D1CE4E5B9)
SPLITMIX_2 = U64(0x94D049BB133111EB)

# A histogram cell: how many points above bit 40, the sum of their 16-bit colours below.
# Histograms have a border of one cell, where points outside the frame are put.
COUNT_SHIFT = U64(40)
COUNT_ONE = U64(1 << 40)
COLOR_MASK = U64((1 << 40) - 1)
MAX_POINTS_A_PASS = (1 << 24) - 1  # more could overflow either half of a cell

# ---------------------------------------------------------------- scalar functions


@llvm("fractals.llvm:fma")
def fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """a * b + c in float32, rounded once, as IEEE 754 fixes it: the same on every processor.

    One without the instruction calls a slow function for it.
    """
    # The product is exact in float64. Their sum is not always, and rounding it twice would differ
    # from rounding it once where it lies near the middle between two float32: rounding to odd
    # before keeps that apart (Boldo & Melquiond 2008, section 3).
    product, addend = float(a) * float(b), float(c)
    total = product + addend
    if math.isfinite(total):
        other = total - product
        rest = (product - (total - other)) + (addend - other)
        if rest != 0.0 and not np.float64(total).view(np.int64) & 1:
            total = math.nextafter(total, math.inf if rest > 0.0 else -math.inf)
    return F(total)


@kernel
def flip_sign(x: Scalar, bits: Scalar) -> Scalar:
    """float32 x, or -x where the highest of 32 bits is set."""
    return np.int32(F(x).view(np.int32) ^ np.int32(bits & SIGN)).view(F)


@kernel
def magnitude(x: Scalar) -> Scalar:
    """float32 |x|."""
    return np.int32(F(x).view(np.int32) & NOT_SIGN).view(F)


@kernel
def sin32(x: Scalar) -> Scalar:
    """sin x in float32, error below 1e-6 for |x| < 1e3; bounded, if arbitrary, beyond 1e7."""
    t = fma(x, INV_PI, ROUND)
    k = t - ROUND
    r = fma(-k, PI_LOW, fma(-k, PI_HIGH, x))
    r = r if r < HALF_PI else HALF_PI
    r = r if r > -HALF_PI else -HALF_PI
    z = r * r
    s = r * fma(z, fma(z, fma(z, fma(z, S4, S3), S2), S1), S0)
    # the lowest bit of t says whether k is odd
    return flip_sign(s, np.int32(F(t).view(np.int32) << np.int32(31)))


@kernel
def cos32(x: Scalar) -> Scalar:
    """cos x in float32, as sin32."""
    return sin32(x + HALF_PI)


@kernel
def sincos32(x: Scalar) -> Scalar:
    """(sin x, cos x) in float32, errors as sin32: cheaper than the two apart."""
    t = fma(x, TWO_OVER_PI, ROUND)
    k = t - ROUND
    r = fma(-k, HALF_PI_LOW, fma(-k, HALF_PI_HIGH, x))
    r = r if r < F(0.8) else F(0.8)
    r = r if r > F(-0.8) else F(-0.8)
    z = r * r
    s = r * fma(z, fma(z, fma(z, Q3, Q2), Q1), Q0)
    c = fma(z, fma(z, fma(z, fma(z, C4, C3), C2), C1), ONE)
    # the lowest two bits of t are the quadrant, k mod 4
    quadrant = F(t).view(np.int32)
    swap = (quadrant & np.int32(1)) != np.int32(0)
    sine = c if swap else s
    cosine = s if swap else c
    return (
        flip_sign(sine, np.int32(quadrant << np.int32(30))),
        flip_sign(cosine, np.int32(np.int32(quadrant + np.int32(1)) << np.int32(30))),
    )


@kernel
def atan2_32(y: Scalar, x: Scalar) -> Scalar:
    """The angle of (x, y) in float32, in [-pi, pi], error below 1e-5; +-0 at the origin."""
    ax, ay = magnitude(x), magnitude(y)
    small = ax if ax < ay else ay
    large = ay if ax < ay else ax
    a = small / (large + TINY)
    z = a * a
    t = a * fma(z, fma(z, fma(z, fma(z, fma(z, A5, A4), A3), A2), A1), A0)
    t = HALF_PI - t if ax < ay else t
    t = PI32 - t if x < ZERO else t
    return flip_sign(t, F(y).view(np.int32))


@kernel
def exp2_32(x: Scalar) -> Scalar:
    """2 to the x in float32, relative error below 1e-6; x is held to [-100, 100], NaN to -100."""
    x = x if x > F(-100.0) else F(-100.0)
    x = x if x < F(100.0) else F(100.0)
    t = x + ROUND
    f = x - (t - ROUND)
    p = fma(f, fma(f, fma(f, fma(f, fma(f, E5, E4), E3), E2), E1), E0)
    # the lowest bits of t are the exponent
    bits = np.int32(np.int32(F(t).view(np.int32) + np.int32(127)) << np.int32(23))
    return p * bits.view(F)


@kernel
def log2_32(x: Scalar) -> Scalar:
    """log2 of x > 0 in float32, absolute error below 1e-6; anything below 1e-30 counts as that."""
    held = F(x if x > F(1e-30) else F(1e-30))
    bits = held.view(np.int32)
    # exponent such that the mantissa falls in [sqrt(1/2), sqrt(2))
    exponent = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - np.int32(exponent << np.int32(23))).view(F)
    p = fma(m, fma(m, fma(m, fma(m, fma(m, fma(m, fma(m, L7, L6), L5), L4), L3), L2), L1), L0)
    return fma(m - ONE, p, F(exponent))


@kernel
def floor32(x: Scalar) -> Scalar:
    """Largest whole number <= x in float32, |x| < 2**22."""
    k = (x + ROUND) - ROUND
    return k - ONE if k > x else k


@kernel
def hash32(i: Scalar, seed: Scalar) -> Scalar:
    """A well mixed uint32 of the lane number i and a seed: stateless, so that it vectorises."""
    h = U32(U32(i) * HASH_STEP + seed)
    h = U32(h ^ (h >> U32(16)))
    h = U32(h * HASH_1)
    h = U32(h ^ (h >> U32(15)))
    h = U32(h * HASH_2)
    return U32(h ^ (h >> U32(16)))


@kernel
def unit32(h: Scalar) -> Scalar:
    """uint32 to float32 in [0, 1): the upper 24 bits, which float32 holds exactly."""
    return F(np.int32(h >> U32(8))) * TO_UNIT


@kernel
def splitmix(state: Scalar) -> Scalar:
    """The output of splitmix64 (Steele, Lea & Flood 2014) for a state already stepped."""
    z = state
    z = (z ^ (z >> U64(30))) * SPLITMIX_1
    z = (z ^ (z >> U64(27))) * SPLITMIX_2
    return z ^ (z >> U64(31))


# ---------------------------------------------------------------- affine IFS


@entry
def affine_orbit(maps: F64x2, colors: arrays.U64, table: U8, seed: np.uint64, trace: F32x2) -> None:
    """One orbit of an affine IFS, point by point: for framing, and as a plain twin of the next.

    maps    (n, 6) float64: x' = m0 x + m1 y + m2, y' = m3 x + m4 y + m5
    colors  (n,) uint64, as iterate_affine's
    table   (4096,) uint8: which map for each 12-bit random number
    seed    uint64
    trace   (t, 3) float32, written: x, y, colour in [0, 1]; the first 32 points are not kept
    """
    x = 0.0
    y = 0.0
    c = COUNT_ONE + U64(32768)
    state = seed
    for i in range(-32, trace.shape[0]):
        state = state + SPLITMIX_STEP
        k = table[splitmix(state) & U64(4095)]
        x, y = (
            maps[k, 0] * x + maps[k, 1] * y + maps[k, 2],
            maps[k, 3] * x + maps[k, 4] * y + maps[k, 5],
        )
        c = (c + colors[k]) >> U64(1)
        if i >= 0:
            trace[i, 0] = F(x)
            trace[i, 1] = F(y)
            trace[i, 2] = F(np.int32(c & COLOR_MASK)) * F(1.0 / 65535.0)


@kernel
def _cell(x: Scalar, y: Scalar, last: Scalar, width: int) -> Scalar:
    # held into the border, by minimum and maximum, without a branch: half the points of a close
    # frame are outside, in no order to be predicted, and branches doubled the time of a point;
    # a NaN becomes 0
    # unsigned: numba asks of a signed index whether it counts from the end, a sixth of the time
    x = x if x > 0.0 else 0.0
    x = x if x < last else last
    y = y if y > 0.0 else 0.0
    y = y if y < last else last
    return U64(U32(np.int32(y))) * U64(width) + U64(U32(np.int32(x)))


@entry
def iterate_affine(
    maps: F64x2,
    colors: arrays.U64,
    table: U8,
    seed: np.uint64,
    points: int,
    width: int,
    histogram: arrays.U64,
) -> None:
    """The chaos game of an affine IFS, added up in a histogram.

    Four orbits run side by side: one alone is a chain of dependent multiply-adds, 2.2 ns a point
    whatever else the processor could do meanwhile. One random word picks a map for each.

    maps       (n, 6) float64 in cells of the histogram, border included, contractive
    colors     (n,) uint32, 0..65535; a point's colour moves half way to its map's
    table      (4096,) uint8
    seed       uint64
    points     how many, <= MAX_POINTS_A_PASS; rounded up to a multiple of 4
    width      side of the histogram with its border, size + 2
    histogram  (width * width,) uint64, added to: count << 40 | sum of colours; the border, one
               cell wide, takes what falls outside
    source     Barnsley (1988), the random iteration algorithm
    """
    last = np.float64(width) - 0.5
    middle = last * 0.5
    x0 = x1 = x2 = x3 = middle
    y0 = y1 = y2 = y3 = middle
    c0 = c1 = c2 = c3 = COUNT_ONE + U64(32768)
    low = U64(4095)
    state = seed + SPLITMIX_STEP
    word = splitmix(state)
    k0 = table[word & low]
    k1 = table[(word >> U64(12)) & low]
    k2 = table[(word >> U64(24)) & low]
    k3 = table[(word >> U64(36)) & low]
    rounds = (points + 3) // 4
    for i in range(-32, rounds):
        x0, y0 = (
            maps[k0, 0] * x0 + maps[k0, 1] * y0 + maps[k0, 2],
            maps[k0, 3] * x0 + maps[k0, 4] * y0 + maps[k0, 5],
        )
        x1, y1 = (
            maps[k1, 0] * x1 + maps[k1, 1] * y1 + maps[k1, 2],
            maps[k1, 3] * x1 + maps[k1, 4] * y1 + maps[k1, 5],
        )
        x2, y2 = (
            maps[k2, 0] * x2 + maps[k2, 1] * y2 + maps[k2, 2],
            maps[k2, 3] * x2 + maps[k2, 4] * y2 + maps[k2, 5],
        )
        x3, y3 = (
            maps[k3, 0] * x3 + maps[k3, 1] * y3 + maps[k3, 2],
            maps[k3, 3] * x3 + maps[k3, 4] * y3 + maps[k3, 5],
        )
        c0 = (c0 + colors[k0]) >> U64(1)
        c1 = (c1 + colors[k1]) >> U64(1)
        c2 = (c2 + colors[k2]) >> U64(1)
        c3 = (c3 + colors[k3]) >> U64(1)
        state = state + SPLITMIX_STEP
        word = splitmix(state)
        k0 = table[word & low]
        k1 = table[(word >> U64(12)) & low]
        k2 = table[(word >> U64(24)) & low]
        k3 = table[(word >> U64(36)) & low]
        if i >= 0:
            histogram[_cell(x0, y0, last, width)] += c0
            histogram[_cell(x1, y1, last, width)] += c1
            histogram[_cell(x2, y2, last, width)] += c2
            histogram[_cell(x3, y3, last, width)] += c3


# ---------------------------------------------------------------- fractal flames


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


@kernel
def apply_variation(
    number: int,
    u: F32,
    v: F32,
    px: F32,
    py: F32,
    weight: Scalar,
    p0: Scalar,
    p1: Scalar,
    p2: Scalar,
    p3: Scalar,
    seed: Scalar,
    a: F32,
    b: F32,
) -> None:
    """Adds weight * variation(u, v) to (px, py), for a run of points.

    number      which variation, the position in fractals.flame.VARIATIONS
    u, v        (n,) float32, the points after the map's affine part
    px, py      (n,) float32, added to
    weight, p0..p3   float32: the variation's weight and parameters
    seed        uint32, for variations that draw at random
    a, b        (n,) float32 scratch. Variations with an angle take two loops: one alone needs more
                than the 16 vector registers there are, and took 1.6 times as long
    source      Draves & Reckase (2003), appendix; r^2 = x^2 + y^2, theta = atan(x / y),
                phi = atan(y / x)
    """
    n = u.shape[0]
    if number == 0:  # linear
        for i in range(n):
            px[i] += weight * u[i]
            py[i] += weight * v[i]
    elif number == 1:  # sinusoidal
        for i in range(n):
            px[i] += weight * sin32(u[i])
            py[i] += weight * sin32(v[i])
    elif number == 2:  # spherical
        for i in range(n):
            x, y = u[i], v[i]
            s = weight / (x * x + y * y + TINY)
            px[i] += s * x
            py[i] += s * y
    elif number == 3:  # swirl
        for i in range(n):
            x, y = u[i], v[i]
            s, c = sincos32(x * x + y * y)
            px[i] += weight * (x * s - y * c)
            py[i] += weight * (x * c + y * s)
    elif number == 4:  # horseshoe
        for i in range(n):
            x, y = u[i], v[i]
            s = weight / (np.sqrt(x * x + y * y) + TINY)
            px[i] += s * (x - y) * (x + y)
            py[i] += s * TWO * x * y
    elif number == 5:  # polar
        for i in range(n):
            x, y = u[i], v[i]
            px[i] += weight * atan2_32(x, y) * INV_PI
            py[i] += weight * (np.sqrt(x * x + y * y) - ONE)
    elif number == 6:  # handkerchief: r sin(t + r) = x cos r + y sin r, r cos(t - r) likewise
        for i in range(n):
            x, y = u[i], v[i]
            s, c = sincos32(np.sqrt(x * x + y * y))
            px[i] += weight * (x * c + y * s)
            py[i] += weight * (y * c + x * s)
    elif number == 7:  # heart
        _polar(u, v, a, b)
        for i in range(n):
            s, c = sincos32(b[i] * a[i])
            px[i] += weight * a[i] * s
            py[i] -= weight * a[i] * c
    elif number == 8:  # disc
        _polar(u, v, a, b)
        for i in range(n):
            s, c = sincos32(PI32 * a[i])
            t = weight * b[i] * INV_PI
            px[i] += t * s
            py[i] += t * c
    elif number == 9:  # spiral
        for i in range(n):
            x, y = u[i], v[i]
            r = np.sqrt(x * x + y * y) + TINY
            inverse = ONE / r
            s, c = sincos32(r)
            px[i] += weight * inverse * (y * inverse + s)
            py[i] += weight * inverse * (x * inverse - c)
    elif number == 10:  # hyperbolic
        for i in range(n):
            x, y = u[i], v[i]
            px[i] += weight * x / (x * x + y * y + TINY)
            py[i] += weight * y
    elif number == 11:  # diamond
        for i in range(n):
            x, y = u[i], v[i]
            r = np.sqrt(x * x + y * y)
            a[i] = r
            b[i] = weight / (r + TINY)
        for i in range(n):
            s, c = sincos32(a[i])
            px[i] += b[i] * u[i] * c
            py[i] += b[i] * v[i] * s
    elif number == 12:  # ex: sin(t + r) and cos(t - r) as in handkerchief
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
    elif number == 13:  # julia: the root's sign is drawn at random
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
    elif number == 14:  # bent
        for i in range(n):
            x, y = u[i], v[i]
            px[i] += weight * (x if x >= ZERO else TWO * x)
            py[i] += weight * (y if y >= ZERO else HALF * y)
    elif number == 15:  # waves: p0 = b, p1 = 1/c^2, p2 = e, p3 = 1/f^2 of the affine part
        for i in range(n):
            x, y = u[i], v[i]
            px[i] += weight * (x + p0 * sin32(y * p1))
            py[i] += weight * (y + p2 * sin32(x * p3))
    elif number == 16:  # fisheye
        for i in range(n):
            x, y = u[i], v[i]
            s = weight * TWO / (np.sqrt(x * x + y * y) + ONE)
            px[i] += s * y
            py[i] += s * x
    elif number == 17:  # popcorn: p0 = c, p1 = f of the affine part
        for i in range(n):
            s, c = sincos32(THREE * u[i])
            a[i] = s / c
            s, c = sincos32(THREE * v[i])
            b[i] = s / c
        for i in range(n):
            px[i] += weight * (u[i] + p0 * sin32(b[i]))
            py[i] += weight * (v[i] + p1 * sin32(a[i]))
    elif number == 18:  # exponential
        for i in range(n):
            a[i] = weight * exp2_32((u[i] - ONE) * F(1.4426950408889634))
        for i in range(n):
            s, c = sincos32(PI32 * v[i])
            px[i] += a[i] * c
            py[i] += a[i] * s
    elif number == 19:  # power
        for i in range(n):
            x, y = u[i], v[i]
            r = np.sqrt(x * x + y * y) + TINY
            a[i] = ONE / r
            b[i] = x * a[i] * log2_32(r)
        for i in range(n):
            s = weight * exp2_32(b[i]) * a[i]
            px[i] += s * v[i]
            py[i] += s * u[i]
    elif number == 20:  # cosine
        for i in range(n):
            e = exp2_32(v[i] * F(1.4426950408889634))
            d = ONE / e
            a[i] = weight * HALF * (e + d)
            b[i] = weight * HALF * (e - d)
        for i in range(n):
            s, c = sincos32(PI32 * u[i])
            px[i] += c * a[i]
            py[i] -= s * b[i]
    elif number == 21:  # rings: p0 = c^2 of the affine part
        for i in range(n):
            x, y = u[i], v[i]
            r = np.sqrt(x * x + y * y) + TINY
            q = r + p0
            period = TWO * p0
            q = q - period * floor32(q / period)
            s = weight * (q - p0 + r * (ONE - p0)) / r
            px[i] += s * y
            py[i] += s * x
    elif number == 22:  # fan: p0 = pi c^2, p1 = f of the affine part
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
    elif number == 23:  # blob: p0 high, p1 low, p2 waves
        for i in range(n):
            a[i] = atan2_32(u[i], v[i])
        for i in range(n):
            s = weight * (p1 + (p0 - p1) * HALF * (sin32(p2 * a[i]) + ONE))
            px[i] += s * v[i]
            py[i] += s * u[i]
    elif number == 24:  # pdj
        for i in range(n):
            px[i] += weight * (sin32(p0 * v[i]) - cos32(p1 * u[i]))
        for i in range(n):
            py[i] += weight * (sin32(p2 * u[i]) - cos32(p3 * v[i]))
    elif number == 25:  # eyefish
        for i in range(n):
            x, y = u[i], v[i]
            s = weight * TWO / (np.sqrt(x * x + y * y) + ONE)
            px[i] += s * x
            py[i] += s * y
    elif number == 26:  # bubble
        for i in range(n):
            x, y = u[i], v[i]
            s = weight * FOUR / (x * x + y * y + FOUR)
            px[i] += s * x
            py[i] += s * y
    elif number == 27:  # cylinder
        for i in range(n):
            px[i] += weight * sin32(u[i])
            py[i] += weight * v[i]
    elif number == 28:  # perspective: p0 = sin of the angle, p1 = its cosine, p2 = the distance
        for i in range(n):
            x, y = u[i], v[i]
            s = weight * p2 / (p2 - y * p0)
            px[i] += s * x
            py[i] += s * y * p1
    elif number == 29:  # julian: p0 = power, p1 = dist / power
        order, inverse = p0 if p0 >= ZERO else -p0, ONE / p0
        _root(u, v, p1, a, b)
        for i in range(n):
            k = F(np.int32(order * unit32(hash32(i, seed))))
            b[i] = (b[i] + TWO * PI32 * k) * inverse
        for i in range(n):
            s, c = sincos32(b[i])
            px[i] += weight * a[i] * c
            py[i] += weight * a[i] * s
    elif number == 30:  # juliascope: p0 = power, p1 = dist / power
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
    elif number == 31:  # curl: p0, p1
        for i in range(n):
            x, y = u[i], v[i]
            a = ONE + p0 * x + p1 * (x * x - y * y)
            b = p0 * y + TWO * p1 * x * y
            s = weight / (a * a + b * b + TINY)
            px[i] += s * (x * a + y * b)
            py[i] += s * (y * a - x * b)
    elif number == 32:  # rectangles: p0, p1, both > 0
        for i in range(n):
            x, y = u[i], v[i]
            px[i] += weight * ((TWO * floor32(x / p0) + ONE) * p0 - x)
            py[i] += weight * ((TWO * floor32(y / p1) + ONE) * p1 - y)
    elif number == 33:  # cross
        for i in range(n):
            x, y = u[i], v[i]
            d = x * x - y * y
            s = weight / ((d if d > ZERO else -d) + TINY)
            px[i] += s * x
            py[i] += s * y


@kernel
def _apply_map(
    numbers: I32,
    arguments: F32x2,
    u: F32,
    v: F32,
    px: F32,
    py: F32,
    seed: Scalar,
    spare_a: F32,
    spare_b: F32,
) -> None:
    # the map's variations summed into (px, py)
    n = u.shape[0]
    for i in range(n):
        px[i] = ZERO
        py[i] = ZERO
    for j in range(numbers.shape[0]):
        if numbers[j] >= 0:
            a = arguments[j]
            lane_seed = U32(seed + U32(j))
            apply_variation(
                numbers[j], u, v, px, py, a[0], a[1], a[2], a[3], a[4], lane_seed, spare_a, spare_b
            )


@kernel
def _post_transform(row: F32, px: F32, py: F32) -> None:
    # in place
    m0, m1, m2, m3, m4, m5 = row[6], row[7], row[8], row[9], row[10], row[11]
    for i in range(px.shape[0]):
        x, y = px[i], py[i]
        px[i] = m0 * x + m1 * y + m2
        py[i] = m3 * x + m4 * y + m5


@kernel
def _deal(
    row: F32,
    x: F32,
    y: F32,
    c: F32,
    first: int,
    deal: Scalar,
    u: F32,
    v: F32,
    colors: F32,
) -> None:
    # The points that a map gets, from pack `first` on: their affine part, and their new colours,
    # which move by the map's speed towards the map's colour, where `_lay_down` puts the points.
    # Four packs that lie side by side are dealt like cards, 0, 4, 8, ..., 1, 5, 9, ...: so a pack
    # is read in vectors, where a random order of points took over twice as long. (Unsigned indices:
    # cutting slices for every pack took a tenth of the kernel's time)
    packs = x.shape[0] // PACK
    m0, m1, m2, m3, m4, m5 = row[0], row[1], row[2], row[3], row[4], row[5]
    target, speed = row[12], row[13]
    for pack in range(u.shape[0] // PACK):
        k = (deal[0] * (first + pack) + deal[1]) & (packs - 1)
        begin = U64(4 * PACK * (k >> 2) + (k & 3))
        low = U64(pack * PACK)
        place = U64(((deal[2] * (first + pack) + deal[3]) & (packs - 1)) * PACK)
        for i in range(PACK):
            j = begin + U64(4) * U64(i)
            xi, yi, ci = x[j], y[j], c[j]
            u[low + U64(i)] = m0 * xi + m1 * yi + m2
            v[low + U64(i)] = m3 * xi + m4 * yi + m5
            color = ci + speed * (target - ci)
            # a point seeded again comes back with its map's colour, not with what is left of the
            # mark
            colors[place + U64(i)] = target if (ci < ZERO) & (color > -HALF) else color


@kernel
def _lay_down(
    row: F32,
    px: F32,
    py: F32,
    first: int,
    deal: Scalar,
    nx: F32,
    ny: F32,
) -> None:
    # the map's post transform, and its packs to places among those of other maps: packs side by
    # side are dealt together, and should not have met the same map
    packs = nx.shape[0] // PACK
    m0, m1, m2, m3, m4, m5 = row[6], row[7], row[8], row[9], row[10], row[11]
    for pack in range(px.shape[0] // PACK):
        low = U64(pack * PACK)
        place = U64(((deal[2] * (first + pack) + deal[3]) & (packs - 1)) * PACK)
        for i in range(PACK):
            x, y = px[low + U64(i)], py[low + U64(i)]
            nx[place + U64(i)] = m0 * x + m1 * y + m2
            ny[place + U64(i)] = m3 * x + m4 * y + m5


@kernel
def _seed_again(x: F32, y: F32, c: F32, seed: Scalar) -> None:
    # points that left, or are not numbers, start anew in [-1, 1]^2 and are not plotted at first;
    # most of the time there is none, and looking takes a tenth of the time of seeding
    left = 0
    for i in range(x.shape[0]):
        xi, yi = x[i], y[i]
        stays = (xi > -LARGE) & (xi < LARGE) & (yi > -LARGE) & (yi < LARGE)
        left += 0 if stays else 1
    if left == 0:
        return
    for i in range(x.shape[0]):
        xi, yi = x[i], y[i]
        stays = xi > -LARGE and xi < LARGE and yi > -LARGE and yi < LARGE
        h = hash32(i, seed)
        x[i] = xi if stays else TWO * unit32(h) - ONE
        y[i] = yi if stays else TWO * unit32(U32(h * HASH_1)) - ONE
        c[i] = c[i] if stays else UNPLOTTED


@kernel
def _plot(
    x: F32, y: F32, c: F32, frame: F32, width: int, cells: I32, histogram: arrays.U64
) -> None:
    # cells and colours first, in a loop that vectorises; then the scattered additions
    last = F(width) - HALF
    w = np.int32(width)
    m0, m1, m2, m3, m4, m5 = frame[0], frame[1], frame[2], frame[3], frame[4], frame[5]
    places, colors = cells[0], cells[1]
    for i in range(x.shape[0]):
        xi = m0 * x[i] + m1 * y[i] + m2
        yi = m3 * x[i] + m4 * y[i] + m5
        xi = xi if xi > ZERO else ZERO
        xi = xi if xi < last else last
        yi = yi if yi > ZERO else ZERO
        yi = yi if yi < last else last
        cell = np.int32(np.int32(yi) * w + np.int32(xi))
        places[i] = cell if c[i] >= ZERO else np.int32(0)
        color = c[i] if c[i] >= ZERO else ZERO
        colors[i] = np.int32(color * F(65535.0))
    for i in range(x.shape[0]):
        histogram[U32(places[i])] += COUNT_ONE + U64(U32(colors[i]))


@entry
def iterate_flame(
    maps: F32x2,
    numbers: I32x2,
    arguments: F32x3,
    bounds: F64,
    frame: F32,
    seed: np.uint64,
    points: int,
    width: int,
    work: F32x2,
    cells: I32x2,
    histogram: arrays.U64,
    trace: F32x2,
) -> None:
    """The chaos game of a fractal flame, many points at a time, added up in a histogram.

    Each iteration gives every map one contiguous run of the points, as long as its probability
    says (rounded at random), of packs dealt from all of them and shuffled: which map a point meets
    is random, and independent of what it met before, as in the game played point by point, and
    points that met the same map part. A map's variation is one branch-free loop over its run,
    which the compiler vectorises.

    maps       (n + 1, 14) float32: affine part (6), post transform (6), colour, colour speed;
               the last row is the final transform
    numbers    (n + 1, 3) int32: variations of each, -1 for none; the last row all -1 if there is
               no final transform
    arguments  (n + 1, 3, 5) float32: weight and four parameters of each variation
    bounds     (n + 1,) float64: cumulative probabilities from 0 to 1
    frame      (6,) float32: affine map to cells of the histogram, border included
    seed       uint64
    points     how many, <= MAX_POINTS_A_PASS; rounded up to a multiple of the run
    width      side of the histogram with its border, size + 2
    work       (12, m) float32 scratch, m a power of two, 128 or more: how many points move together
    cells      (2, m) int32 scratch
    histogram  (width * width,) uint64, added to: count << 40 | sum of 16-bit colours; the border,
               one cell wide, takes what falls outside
    trace      (t, 3) float32, written with the first t points plotted: x, y, colour (negative
               for a point just seeded)
    source     Draves & Reckase (2003), section 2 to 4
    """
    m = work.shape[1]
    n = maps.shape[0] - 1
    final = numbers[n, 0] >= 0
    x, y, c = work[0], work[1], work[2]
    nx, ny, nc = work[3], work[4], work[5]
    u, v, fx, fy = work[6], work[7], work[8], work[9]
    spare_a, spare_b = work[10], work[11]
    state = seed + SPLITMIX_STEP
    start = U32(splitmix(state) >> U64(32))
    for i in range(m):
        h = hash32(i, start)
        x[i] = TWO * unit32(h) - ONE
        y[i] = TWO * unit32(U32(h * HASH_1)) - ONE
        c[i] = HALF
    # Runs are whole packs, rounded at random so that the shares are right in the mean: what is left
    # over from 8 lanes and from unrolling is done one by one, which took twice as long where a
    # flame has many maps
    packs = m // PACK
    traced = 0
    iterations = (points + m - 1) // m
    for step in range(-20, iterations):
        state = state + SPLITMIX_STEP
        word = splitmix(state)
        # two orders of the packs, i -> (odd number times i + another) mod how many there are
        deal = (
            np.int64(word & U64(0x3FF)) | np.int64(1),
            np.int64((word >> U64(10)) & U64(0x3FF)),
            np.int64((word >> U64(20)) & U64(0x3FF)) | np.int64(1),
            np.int64((word >> U64(30)) & U64(0x3FF)),
        )
        shift = np.float64(np.int64((word >> U64(40)) & U64(0xFFFF))) / 65536.0
        state = state + SPLITMIX_STEP
        lane_seed = U32(splitmix(state) >> U64(32))
        first = 0
        for k in range(n):
            bound = np.int64(bounds[k + 1] * packs + shift)
            bound = packs if bound > packs or k == n - 1 else bound
            if bound > first:
                length = (bound - first) * PACK
                row = maps[k]
                _deal(row, x, y, c, first, deal, u[:length], v[:length], nc)
                _apply_map(
                    numbers[k],
                    arguments[k],
                    u[:length],
                    v[:length],
                    fx[:length],
                    fy[:length],
                    U32(lane_seed + U32(k * 4)),
                    spare_a[:length],
                    spare_b[:length],
                )
                _lay_down(row, fx[:length], fy[:length], first, deal, nx, ny)
                first = bound
        _seed_again(nx, ny, nc, lane_seed)
        x, nx = nx, x
        y, ny = ny, y
        c, nc = nc, c
        if step < 0:
            continue
        sx, sy = x, y
        if final:
            row = maps[n]
            for i in range(m):
                u[i] = row[0] * x[i] + row[1] * y[i] + row[2]
                v[i] = row[3] * x[i] + row[4] * y[i] + row[5]
            final_seed = U32(lane_seed + U32(n * 4))
            _apply_map(numbers[n], arguments[n], u, v, fx, fy, final_seed, spare_a, spare_b)
            _post_transform(row, fx, fy)
            sx, sy = fx, fy
        _plot(sx, sy, c, frame, width, cells, histogram)
        if traced < trace.shape[0]:
            for i in range(m):
                if traced < trace.shape[0]:
                    trace[traced, 0] = sx[i]
                    trace[traced, 1] = sy[i]
                    trace[traced, 2] = c[i]
                    traced += 1


@entry
def bin_trace(trace: F32x2, frame: F32, width: int, histogram: arrays.U64) -> None:
    """Adds traced points to a histogram, as the iterations do.

    trace      (t, 3) float32: x, y, colour; points of negative colour count as outside
    frame      (6,) float32: affine map to cells, border included
    width      side of the histogram with its border
    histogram  (width * width,) uint64, added to
    """
    last = F(width) - HALF
    for i in range(trace.shape[0]):
        xi = frame[0] * trace[i, 0] + frame[1] * trace[i, 1] + frame[2]
        yi = frame[3] * trace[i, 0] + frame[4] * trace[i, 1] + frame[5]
        xi = xi if xi > ZERO else ZERO
        xi = xi if xi < last else last
        yi = yi if yi > ZERO else ZERO
        yi = yi if yi < last else last
        color = trace[i, 2]
        cell = np.int64(yi) * width + np.int64(xi)
        cell = cell if color >= ZERO else 0
        color = color if color >= ZERO else ZERO
        histogram[cell] += COUNT_ONE + U64(np.int64(color * F(65535.0)))


# ---------------------------------------------------------------- from points to a picture


@entry
def unpack(histogram: arrays.U64, counts: F32x2, sums: F32x2) -> None:
    """Adds the inside of a histogram to float arrays of counts and colour sums, and clears it.

    histogram  ((h + 2) * (h + 2),) uint64, set to 0
    counts     (h, h) float32, added to
    sums       (h, h) float32, added to: colours in [0, 1]
    """
    h = counts.shape[0]
    width = h + 2
    for i in range(h):
        row = histogram[(i + 1) * width + 1 : (i + 2) * width - 1]
        n, s = counts[i], sums[i]
        for j in range(h):
            cell = row[j]
            n[j] += F(np.int64(cell >> COUNT_SHIFT))
            s[j] += F(np.int64(cell & COLOR_MASK)) * F(1.0 / 65535.0)
    for i in range(histogram.shape[0]):
        histogram[i] = U64(0)


@entry
def shrink_sums(values: F32x2, column: F64, coarse: F64x2) -> None:
    """Sums of a square array over a coarser square grid.

    values  (h, h) float32
    column  (h,) float64 scratch
    coarse  (g, g) float64, g <= h, set
    """
    h = values.shape[0]
    g = coarse.shape[0]
    for gy in range(g):
        top = gy * h // g
        bottom = (gy + 1) * h // g
        for j in range(h):
            column[j] = 0.0
        for i in range(top, bottom):
            row = values[i]
            for j in range(h):
                column[j] += np.float64(row[j])
        for gx in range(g):
            total = 0.0
            for j in range(gx * h // g, (gx + 1) * h // g):
                total += column[j]
            coarse[gy, gx] = total


@kernel
def _smooth_row(above: F32, here: F32, below: F32, step: int, out: F32) -> None:
    # the 1-2-1 binomial filter along a row and across three, in all 16; ends repeat
    w = here.shape[0]
    inner = w - 2 * step
    q = F(0.25)
    # views that start at the left, middle and right cells, so that the loop vectorises
    al, am, ar = above[:inner], above[step : step + inner], above[2 * step :]
    hl, hm, hr = here[:inner], here[step : step + inner], here[2 * step :]
    bl, bm, br = below[:inner], below[step : step + inner], below[2 * step :]
    o = out[step : step + inner]
    for j in range(inner):
        corners = al[j] + ar[j] + bl[j] + br[j]
        sides = am[j] + bm[j] + hl[j] + hr[j]
        o[j] = q * (q * corners + HALF * sides + hm[j])
    for edge in range(2 * step):
        j = edge if edge < step else w - 1 - (edge - step)
        left = j - step if j >= step else 0
        right = j + step if j + step < w else w - 1
        corners = above[left] + above[right] + below[left] + below[right]
        sides = above[j] + below[j] + here[left] + here[right]
        out[j] = q * (q * corners + HALF * sides + here[j])


@entry
def smooth_sparse(
    counts: F32x2, sums: F32x2, enough: np.float32, step: int, new_counts: F32x2, new_sums: F32x2
) -> None:
    """Spreads cells that caught few points over 3x3 others; dense ones stay sharp.

    counts, sums          (h, w) float32, w > 2 * step
    enough                float32: a cell with this many points is left as it is
    step                  distance of the others: passes with 1, 2, 4 reach 7 cells
    new_counts, new_sums  (h, w) float32, set; beyond the edges the outermost cells repeat
    """
    h, w = counts.shape
    for i in range(h):
        up = i - step if i >= step else 0
        down = i + step if i + step < h else h - 1
        n1, s1, on, os = counts[i], sums[i], new_counts[i], new_sums[i]
        _smooth_row(counts[up], n1, counts[down], step, on)
        _smooth_row(sums[up], s1, sums[down], step, os)
        for j in range(w):
            n, s = on[j], os[j]
            keep = n / enough
            keep = keep if keep < ONE else ONE
            on[j] = n + keep * (n1[j] - n)
            os[j] = s + keep * (s1[j] - s)


@entry
def smooth_counts(counts: F32x2, enough: np.float32, step: int, new_counts: F32x2) -> None:
    """What smooth_sparse does to the counts, where nobody asks for the sums."""
    h, w = counts.shape
    for i in range(h):
        up = i - step if i >= step else 0
        down = i + step if i + step < h else h - 1
        n1, on = counts[i], new_counts[i]
        _smooth_row(counts[up], n1, counts[down], step, on)
        for j in range(w):
            n = on[j]
            keep = n / enough
            keep = keep if keep < ONE else ONE
            on[j] = n + keep * (n1[j] - n)


@entry
def upsample(small: F32x3, wide: F32x2, out: F32x3) -> None:
    """Bilinear enlargement of the ground, plane by plane.

    small  (3, g, g) float32
    wide   (g, h) float32 scratch
    out    (3, h, h) float32, set
    """
    g = small.shape[1]
    h = out.shape[1]
    step = F(g) / F(h)
    end = np.int32(g - 1)
    for k in range(3):
        for y in range(g):
            row, w = small[k, y], wide[y]
            for j in range(h):
                fx = (F(j) + HALF) * step - HALF
                fx = fx if fx > ZERO else ZERO
                x0 = np.int32(fx)
                x1 = x0 + np.int32(1) if x0 < end else end
                a, b = row[U32(x0)], row[U32(x1)]
                w[j] = a + (fx - F(x0)) * (b - a)
        for i in range(h):
            fy = (F(i) + HALF) * step - HALF
            fy = fy if fy > ZERO else ZERO
            y0 = np.int64(fy)
            y1 = y0 + 1 if y0 + 1 < g else g - 1
            ty = fy - F(y0)
            a, b, o = wide[y0], wide[y1], out[k, i]
            for j in range(h):
                o[j] = a[j] + ty * (b[j] - a[j])


@entry
def compose(
    counts: F32x2,
    color_counts: F32x2,
    color_sums: F32x2,
    tone: F32,
    palette: F32x2,
    screen: bool,
    rows: F32x2,
    row_color: I32,
    out: F32x3,
) -> None:
    """Lays one layer over the picture.

    A cell's tone is log(1 + count / c0) over log(1 + white / c0), softly held below 1; the layer
    covers by solidity * tone and its light runs from shade to 1 with the tone.

    counts        (h, h) float32
    color_counts, color_sums   (h, h) float32: their ratio is a cell's mean colour coordinate; they
                  may be smoother than the counts, as eyes see colour less sharply than light
    tone          (6,) float32: 1 / c0, 1 / log2(1 + white / c0), solidity, shade, highlight,
                  opacity
    palette       (3, p) float32, sRGB in [0, 1], by the mean colour coordinate of a cell
    screen        True: screen, False: over
    rows          (4, h) float32 scratch
    row_color     (h,) int32 scratch
    out           (3, h, h) float32, changed; a cell without points stays as it is
    """
    h = out.shape[1]
    entries = F(palette.shape[1] - 1)
    inv_c0, inv_white, solidity = tone[0], tone[1], tone[2]
    shade, highlight, opacity = tone[3], tone[4], tone[5]
    covers, lights, glares, colors = rows[0], rows[1], rows[2], rows[3]
    for i in range(h):
        ni, mi, si = counts[i], color_counts[i], color_sums[i]
        for j in range(h):
            t = log2_32(ONE + ni[j] * inv_c0) * inv_white
            # a shoulder from .75 on: cells denser than white still differ
            over = (t - F(0.75)) * TWO
            over = over if over > ZERO else ZERO
            t = t if t < F(0.75) else F(0.75) + HALF * over / (ONE + TWO * over)
            m = si[j] / (mi[j] + TINY)
            m = m if m < ONE else ONE
            row_color[j] = np.int32(m * entries + HALF)
            cover = solidity * t
            covers[j] = (cover if cover < ONE else ONE) * opacity
            lights[j] = shade + (ONE - shade) * t
            glare = (t - F(0.7)) * highlight
            glares[j] = glare if glare > ZERO else ZERO
        for k in range(3):
            p, o = palette[k], out[k, i]
            for j in range(h):
                colors[j] = p[U32(row_color[j])]
            if screen:
                for j in range(h):
                    value = colors[j] * lights[j]
                    value = value + glares[j] * (ONE - value)
                    o[j] = o[j] + covers[j] * value * (ONE - o[j])
            else:
                for j in range(h):
                    value = colors[j] * lights[j]
                    value = value + glares[j] * (ONE - value)
                    o[j] = o[j] + covers[j] * (value - o[j])


@entry
def shrink_picture(picture: F32x3, column: F64, small: F32x3) -> None:
    """Box means of a picture over a coarser grid.

    picture  (3, h, h) float32
    column   (h,) float64 scratch
    small    (3, g, g) float32, g <= h, set
    """
    h = picture.shape[1]
    g = small.shape[1]
    for k in range(3):
        for gy in range(g):
            top = gy * h // g
            bottom = (gy + 1) * h // g
            for j in range(h):
                column[j] = 0.0
            for i in range(top, bottom):
                row = picture[k, i]
                for j in range(h):
                    column[j] += np.float64(row[j])
            for gx in range(g):
                left = gx * h // g
                right = (gx + 1) * h // g
                total = 0.0
                for j in range(left, right):
                    total += column[j]
                small[k, gy, gx] = F(total / np.float64((bottom - top) * (right - left)))


@entry
def to_bytes(picture: F32x3, low: F32, gain: F32, rows: U8x2, out: U8) -> None:
    """Stretches each channel, rounds to bytes, and lays the three side by side.

    picture    (3, h, h) float32
    low, gain  (3,) float32: byte = 255 * (value - low) * gain, held to 0..255
    rows       (3, h) uint8 scratch: the arithmetic vectorises only where it does not also have to
               lay three channels side by side
    out        (h * h * 3,) uint8, set: the three channels side by side
    """
    h = picture.shape[1]
    r, g, b = rows[0], rows[1], rows[2]
    for i in range(h):
        for k in range(3):
            p, q = picture[k, i], rows[k]
            low_k, gain_k = low[k], gain[k]
            for j in range(h):
                value = (p[j] - low_k) * gain_k
                value = value if value > ZERO else ZERO
                value = value if value < ONE else ONE
                q[j] = np.uint8(np.int32(value * F(255.0) + HALF))
        o = out[i * 3 * h : (i + 1) * 3 * h]
        for j in range(h):
            o[3 * j] = r[j]
            o[3 * j + 1] = g[j]
            o[3 * j + 2] = b[j]


@entry
def measure_picture(pixels: U8x3, result: I64) -> None:
    """What the final check wants to know of a picture of 128 x 128, in whole numbers.

    pixels  (128, 128, 3) uint8
    result  (5,) int64, set: how many of the 256 blocks of 8x8 pixels have a standard deviation of
            grey above 10 levels; 1024^2 times the variance of 16 R, 16 G and 16 B at 32x32; the sum
            over all pixels of the largest less the smallest of the three channels
    """
    active = 0
    spread = 0
    for top in range(0, 128, 8):
        for left in range(0, 128, 8):
            total = 0
            squares = 0
            for i in range(top, top + 8):
                for j in range(left, left + 8):
                    r = np.int64(pixels[i, j, 0])
                    g = np.int64(pixels[i, j, 1])
                    b = np.int64(pixels[i, j, 2])
                    grey = 77 * r + 150 * g + 29 * b  # of 256 parts
                    total += grey
                    squares += grey * grey
                    spread += max(r, max(g, b)) - min(r, min(g, b))
            # variance times 64^2; grain adds more here than after shrinking, hence 10 levels
            active += 1 if 64 * squares - total * total > (10 * 256 * 64) ** 2 else 0
    result[0] = active
    result[4] = spread
    for k in range(3):
        total = 0
        squares = 0
        for top in range(0, 128, 4):
            for left in range(0, 128, 4):
                cell = 0
                for i in range(top, top + 4):
                    for j in range(left, left + 4):
                        cell += np.int64(pixels[i, j, k])
                total += cell
                squares += cell * cell
        result[1 + k] = 1024 * squares - total * total


@entry
def measure_spread(histogram: arrays.U64, width: int, result: F64) -> None:
    """How an orbit's points spread over the cells of its frame.

    histogram  (width * width,) uint64 as the iterations leave it, with its border
    result     (5,) float64, set: share of cells hit, entropy in bits, share of the fullest cell,
               share of points inside the frame, structure
    structure  mean squared difference of horizontal and vertical neighbours, less what Poisson
               noise alone would give, over the mean square: near 0 for a smooth blob or even
               dust, 1 and more for filaments and edges
    """
    total = 0
    for i in range(histogram.shape[0]):
        total += np.int64(histogram[i] >> COUNT_SHIFT)
    inside = 0
    fullest = 0
    hit = 0
    for i in range(1, width - 1):
        for j in range(1, width - 1):
            count = np.int64(histogram[i * width + j] >> COUNT_SHIFT)
            inside += count
            fullest = count if count > fullest else fullest
            hit += 1 if count > 0 else 0
    entropy = 0.0
    for i in range(1, width - 1):
        for j in range(1, width - 1):
            count = np.int64(histogram[i * width + j] >> COUNT_SHIFT)
            if count > 0:
                p = F(count) / F(inside)
                entropy -= np.float64(p * log2_32(p))
    differences = 0
    squares = 0
    for i in range(1, width - 2):
        for j in range(1, width - 2):
            k = i * width + j
            here = np.int64(histogram[k] >> COUNT_SHIFT)
            right = np.int64(histogram[k + 1] >> COUNT_SHIFT)
            below = np.int64(histogram[k + width] >> COUNT_SHIFT)
            differences += (here - right) * (here - right) - (here + right)
            differences += (here - below) * (here - below) - (here + below)
            squares += here * here + (right * right + below * below)
    result[4] = np.float64(differences) / np.float64(squares) if squares > 0 else 0.0
    result[0] = np.float64(hit) / np.float64((width - 2) * (width - 2))
    result[1] = entropy
    result[2] = np.float64(fullest) / np.float64(inside) if inside > 0 else 1.0
    result[3] = np.float64(inside) / np.float64(total) if total > 0 else 0.0
