"""Powers of +, -, *, / and integer shifts: no libm, so the same bits on any processor.

`power` takes any base, by a logarithm and an exponential. `power_of_double` takes float32 numbers
in [0, 1], as the pixels of a picture are, and has two thirds of that work done once in a table:
2**-31 <= x < 2 in 64 bins an octave, and a short series inside a bin.
"""

from __future__ import annotations

import numpy as np

from pixmix_cli.mixing.compiled.constants import BIN_BITS, BIN_HALF, BIN_INSIDE, SEVERAL
from pixmix_kernels import kernel, llvm
from pixmix_kernels.arrays import F32, F64, I32, I64, F64x2

_BINS = 1 << BIN_BITS
_OCTAVES = 32
_LOWEST = 127 - 31  # biased exponent of the first octave
_LEAST = _LOWEST << 23  # the bits of the least float32 in the table
_CENTRES = 1 + (np.arange(_BINS) + 0.5) / _BINS
_INVERSES = 1 / (
    _CENTRES * 2.0**23
)  # turns a distance from the centre, in ulps, into a relative one
SIDES = _OCTAVES + _BINS
_CORNERS = np.concatenate([2.0 ** (np.arange(_OCTAVES) + (_LOWEST - 126)), _CENTRES])
ROWS = 1 + _OCTAVES * _BINS  # of a table; the first is that of zero
_LN2 = 0.6931471805599453
_TWO_OVER_LN2 = 2.8853900817779268
_SQRT2 = 1.4142135623730951
_MANTISSA = np.int64(0x000FFFFFFFFFFFFF)
_ONE = np.int64(0x3FF0000000000000)
# Added to a small double, 1.5 * 2**52 leaves the nearest whole number in the low bits; it converts
# both ways between double and int64 with instructions that every processor has in vector form.
_MAGIC = 6755399441055744.0
_MAGIC_BITS = np.int64(0x4338000000000000)


@kernel
def power(base: F64, exponent: float, m: F64, e: F64) -> None:
    """In place base ** exponent for base >= 0, within 1e-12 relative; 0 ** exponent = 0.

    base      (n,) float64, finite, 0 or normal numbers; overwritten by the result
    exponent  finite and such that the result is a normal number; 0 gives 1 except at base 0
    m, e      (n,) float64, scratch

    Each loop touches arrays that do not overlap, else the compiler could not vectorise it. They are
    many and short, so that the processor has several values' long chains of products under way.
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
        e[i] = whole + 1.0 if high else whole
        m[i] = (mantissa - 1.0) / (mantissa + 1.0)
    for i in range(n):
        # log2 by the series of artanh: |s| <= 0.1716, the first term left out is below 1e-14
        s = m[i]
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
        m[i] = exponent * (e[i] + _TWO_OVER_LN2 * (s * p))
    for i in range(n):
        z = m[i]
        z = z if z > -1000.0 else -1000.0
        z = z if z < 1000.0 else 1000.0
        rounded = z + _MAGIC
        e[i] = rounded
        m[i] = (z - (rounded - _MAGIC)) * _LN2
    for i in range(n):
        # exp by its Taylor series: |f| <= 0.3466, the first term left out is below 1e-15
        f = m[i]
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
    for i in range(n):
        e_bits[i] = (e_bits[i] - _MAGIC_BITS + 1023) << 52
    for i in range(n):
        base[i] = 0.0 if base[i] == 0.0 and exponent != 0.0 else m[i] * e[i]


@kernel
def begin_table(exponent: float, m: F64, e: F64, sides: F64, table: F64, filled: I64) -> None:
    """Begin a table for `power_of_double`; octaves are filled in when a number falls into them.

    exponent  as in `power`
    m, e      (SIDES,) float64, scratch
    sides     (SIDES,) float64, written: powers of the octaves' first numbers, of the bins' centres
    table     (ROWS, 2) float64; its row 0, that of x = 0, is written
    filled    (1,) int64, written: the first octave that is filled in
    """
    for i in range(SIDES):
        sides[i] = _CORNERS[i]
    power(sides, exponent, m, e)
    table[0, 0] = 1.0 if exponent == 0.0 else 0.0
    table[0, 1] = 0.0
    filled[0] = _OCTAVES


@kernel
def _fill(sides: F64, table: F64, filled: I64, octave: int) -> None:
    """Fill a table from an octave on: row 1 + 64 k + j has (2 c)**exponent, and c's inverse.

    c is the centre of bin j of octave k.
    """
    for k in range(octave, filled[0]):
        scale = sides[k]
        rows = table[1 + k * _BINS : 1 + (k + 1) * _BINS]
        for j in range(_BINS):
            rows[j, 0] = scale * sides[_OCTAVES + j]
            rows[j, 1] = _INVERSES[j]
    filled[0] = octave


@llvm("pixmix_cli.mixing.compiled.llvm:several")
def _several(
    x: F32, places: I32, at: int, table: F64x2, c1: float, c2: float, c3: float, c4: float, out: F32
) -> None:
    """SEVERAL values of `_one_by_one`, from place `at` on."""
    here = slice(at, at + SEVERAL)
    rows = table[places[here] // 2]
    distances = (x[here].view(np.int32) & (2 * BIN_HALF - 1)) - BIN_HALF
    near, r = rows[:, 0], distances.astype(np.float64) * rows[:, 1]
    out[here] = near + near * (r * (c1 + r * (c2 + r * (c3 + r * c4))))


@kernel
def _one_by_one(
    x: F32, places: I32, table: F64, c1: float, c2: float, c3: float, c4: float, out: F32
) -> None:
    """The powers of x (n,) whose rows of the table begin at `places` of its flat memory."""
    bits = x.view(np.int32)
    for i in range(x.shape[0]):
        row = places[i] // 2
        distance = np.int32((bits[i] & np.int32(2 * BIN_HALF - 1)) - np.int32(BIN_HALF))
        near, r = table[row, 0], np.float64(distance) * table[row, 1]
        out[i] = np.float32(near + near * (r * (c1 + r * (c2 + r * (c3 + r * c4)))))


@kernel
def power_of_double(
    x: F32,
    exponent: float,
    sides: F64,
    table: F64,
    filled: I64,
    places: I32,
    scratch: F64,
    out: F32,
) -> None:
    """out = (2 x)**exponent, within 2e-12 relative before it is rounded to float32.

    x, out    (n,) float32, x in [0, 1]; not the same memory
    exponent  0 to 2; any other is done, but slowly
    sides, table, filled  of this exponent, from `begin_table`
    places    (n,) int32 or longer, scratch
    scratch   (3, n) float64 or longer

    With x = c (1 + r), c the centre of its bin, |r| < 2**-7: (2x)**a = (2c)**a (1 + r)**a, and the
    binomial series' first term left out, at r**5, is below 1e-12 for a in [0, 2].
    """
    n = x.shape[0]
    bits, unsigned = x.view(np.int32), x.view(np.uint32)
    by_table = exponent >= 0.0 and exponent <= 2.0
    before_least = np.uint32(0xFFFFFFFF)
    for i in range(n):
        before = np.uint32(unsigned[i] - np.uint32(1))  # which makes the largest number of zero
        before_least = before if before < before_least else before_least
        row = np.int32((bits[i] >> np.int32(BIN_INSIDE)) - np.int32(_LOWEST * _BINS - 1))
        row = row if row > np.int32(0) else np.int32(0)  # zero, or below the table
        places[i] = np.int32(row << np.int32(1))
    least = int(before_least) + 1
    if by_table:
        octave = int(max((least >> 23) - _LOWEST, 0))
        if octave < filled[0]:
            _fill(sides, table, filled, octave)
        c1 = exponent
        c2 = c1 * (exponent - 1.0) / 2.0
        c3 = c2 * (exponent - 2.0) / 3.0
        c4 = c3 * (exponent - 3.0) / 4.0
        whole = n - n % SEVERAL
        for i in range(0, whole, SEVERAL):
            _several(x, places, i, table, c1, c2, c3, c4, out)
        _one_by_one(x[whole:], places[whole:n], table, c1, c2, c3, c4, out[whole:])
        if least >= _LEAST:
            return
    bases, m, e = scratch[0], scratch[1], scratch[2]
    count = 0
    for i in range(n):  # the places of what is not yet done, in order
        places[count] = i
        bases[count] = 2.0 * np.float64(x[i])
        below = unsigned[i] != 0 and unsigned[i] < np.uint32(_LEAST)
        count += 1 if below or not by_table else 0
    power(bases[:count], exponent, m[:count], e[:count])
    for i in range(count):
        out[places[i]] = np.float32(bases[i])
