"""The arithmetic of the two mixing operations, compiled. Strict IEEE: the same bytes on any CPU.

No fused multiply-add, no reassociation, no libm: the power function below is made of +, -, *, /
and integer shifts, so that its result does not depend on the processor or the C library.
The float32 order of `add` is the published code's: a re-ordered version drifted by up to 6 levels,
because a later multiply with a negative weight amplifies residue near zero.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

BLOCK = 2048  # values a block: 16 KiB of float64, so that the passes of `power` stay in L1
_LN2 = 0.6931471805599453
_TWO_OVER_LN2 = 2.8853900817779268
_SQRT2 = 1.4142135623730951
_MANTISSA = np.int64(0x000FFFFFFFFFFFFF)
_ONE = np.int64(0x3FF0000000000000)
# Added to a small double, 1.5 * 2**52 leaves the nearest whole number in the low bits; it converts
# both ways between double and int64 with instructions that every processor has in vector form.
_MAGIC = 6755399441055744.0
_MAGIC_BITS = np.int64(0x4338000000000000)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def power(base: F64, exponent: float, m: F64, e: F64) -> None:
    """In place base ** exponent for base >= 0, within 1e-12 relative; 0 ** exponent = 0.

    base      (n,) float64, finite, 0 or normal numbers; overwritten by the result
    exponent  finite and such that the result is a normal number; 0 gives 1 except at base 0
    m, e      (n,) float64, scratch

    Each loop touches arrays that do not overlap, else the compiler could not vectorise it.
    """
    n = base.shape[0]
    bits, m_bits, e_bits = base.view(np.int64), m.view(np.int64), e.view(np.int64)
    for i in range(n):
        m_bits[i] = (bits[i] & _MANTISSA) | _ONE
        e_bits[i] = ((bits[i] >> 52) - 1023) + _MAGIC_BITS
    for i in range(n):
        high = m[i] > _SQRT2
        mantissa = m[i] * 0.5 if high else m[i]
        whole = e[i] - _MAGIC
        whole = whole + 1.0 if high else whole
        # log2 by the series of artanh: |s| <= 0.1716, the first term left out is below 1e-14
        s = (mantissa - 1.0) / (mantissa + 1.0)
        t = s * s
        p = 1.0 / 17.0
        p = p * t + 1.0 / 15.0
        p = p * t + 1.0 / 13.0
        p = p * t + 1.0 / 11.0
        p = p * t + 1.0 / 9.0
        p = p * t + 1.0 / 7.0
        p = p * t + 1.0 / 5.0
        p = p * t + 1.0 / 3.0
        p = p * t + 1.0
        z = exponent * (whole + _TWO_OVER_LN2 * (s * p))
        z = z if z > -1000.0 else -1000.0
        z = z if z < 1000.0 else 1000.0
        rounded = z + _MAGIC
        f = (z - (rounded - _MAGIC)) * _LN2
        # exp by its Taylor series: |f| <= 0.3466, the first term left out is below 1e-15
        q = 1.0 / 479001600.0
        q = q * f + 1.0 / 39916800.0
        q = q * f + 1.0 / 3628800.0
        q = q * f + 1.0 / 362880.0
        q = q * f + 1.0 / 40320.0
        q = q * f + 1.0 / 5040.0
        q = q * f + 1.0 / 720.0
        q = q * f + 1.0 / 120.0
        q = q * f + 1.0 / 24.0
        q = q * f + 1.0 / 6.0
        q = q * f + 0.5
        q = q * f + 1.0
        q = q * f + 1.0
        m[i] = q
        e[i] = rounded
    for i in range(n):
        e_bits[i] = (e_bits[i] - _MAGIC_BITS + 1023) << 52
    for i in range(n):
        base[i] = 0.0 if base[i] == 0.0 and exponent != 0.0 else m[i] * e[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_table(b: float, out: F32) -> None:
    """out[v] = b * (2 v / 255 - 1): what `add` takes from a byte of the picture mixed in."""
    weight = np.float32(b)
    for v in range(256):
        out[v] = weight * (np.float32(v) / np.float32(255) * np.float32(2) - np.float32(1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def multiply_table(b: float, base: F64, m: F64, e: F64, out: F32) -> None:
    """out[v] = clip(2 v / 255, 1e-37) ** b: what `multiply` takes from a byte mixed in.

    base, m, e  (256,) float64, scratch
    """
    for v in range(256):
        x = np.float32(v) / np.float32(255) * np.float32(2)
        base[v] = np.float64(max(x, np.float32(1e-37)))
    power(base, b, m, e)
    for v in range(256):
        out[v] = np.float32(base[v])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def load(picture: U8, out: F32) -> None:
    """Bytes to [0, 1]: out = picture / 255. Both (n,)."""
    for i in range(picture.shape[0]):
        out[i] = np.float32(picture[i]) / np.float32(255)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def store(x: F32, out: U8) -> None:
    """[0, 1] to bytes, rounded to nearest: out = floor(255 x + 1/2). Both (n,)."""
    for i in range(x.shape[0]):
        out[i] = np.uint8(np.int32(x[i] * np.float32(255) + np.float32(0.5)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add(x: F32, other: U8, a: float, table: F32, gathered: F32) -> None:
    """One additive round in place: on [-1, 1], a x + b other, then clipped to [0, 1].

    x         (n,) float32 in [0, 1], the picture so far
    other     (n,) uint8, the picture mixed in
    table     (256,) float32 from `add_table`
    gathered  (BLOCK,) float32, scratch: the look-ups apart, so that the arithmetic vectorises
    """
    weight, one, two = np.float32(a), np.float32(1), np.float32(2)
    n = x.shape[0]
    for begin in range(0, n, BLOCK):
        count = min(BLOCK, n - begin)
        for i in range(count):
            gathered[i] = table[other[begin + i]]
        for i in range(count):
            value = weight * (x[begin + i] * two - one) + gathered[i]
            value = (value + one) / two
            x[begin + i] = min(max(value, np.float32(0)), one)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def multiply(
    x: F32, other: U8, a: float, table: F32, gathered: F32, base: F64, m: F64, e: F64
) -> None:
    """One multiplicative round in place: (2x)^a * clip(2 other, 1e-37)^b / 2, clipped to [0, 1].

    x         (n,) float32 in [0, 1], the picture so far
    other     (n,) uint8, the picture mixed in
    table     (256,) float32 from `multiply_table`
    gathered  (BLOCK,) float32; base, m, e: (BLOCK,) float64; scratch
    """
    one, two = np.float32(1), np.float32(2)
    n = x.shape[0]
    for begin in range(0, n, BLOCK):
        count = min(BLOCK, n - begin)
        for i in range(count):
            gathered[i] = table[other[begin + i]]
            base[i] = np.float64(x[begin + i] * two)
        power(base[:count], a, m[:count], e[:count])
        for i in range(count):
            value = np.float32(base[i]) * gathered[i] / two
            x[begin + i] = min(max(value, np.float32(0)), one)
