"""Functions of one number, in float32 and whole numbers, and the constants that kernels share.

No function of the C library: sine, arctangent, 2**x and log2 are polynomials in float32, evaluated
in the order written, multiply and add fused where `fma` says so and nowhere else. Every conversion
to an integer is of a number known to fit.

Literals are float32 constants on purpose: Numba would widen a bare one to float64, and halve the
speed of every vectorised loop.
"""

# numba, not mypy, knows the width of every scalar here
# mypy: disable-error-code="assignment"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pixmix_kernels import kernel, llvm

F = np.float32
U32 = np.uint32
U64 = np.uint64

# Scalars of inner kernels: their width is that of what is passed, and the docstrings say which is
# meant.
Scalar = Any

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
TINY = F(1e-20)

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


@llvm("fractals.kernels.llvm:fma")
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
