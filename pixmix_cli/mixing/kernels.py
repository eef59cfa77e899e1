"""The arithmetic of the two mixing operations, compiled. Strict IEEE: the same bytes on any CPU.

No fused multiply-add, no reassociation, no libm: the power function below is made of +, -, *, /
and integer shifts, so that its result does not depend on the processor or the C library.
The float32 order of `add` is the published code's: a re-ordered version drifted by up to 6 levels,
because a later multiply with a negative weight amplifies residue near zero.

As long as a picture is a function of one picture's bytes, a channel at a time, it is a table of 256
values a channel and no pixel is touched: the start, an augmentation that maps bytes to bytes, and
their mixtures. Only where another picture comes in are there floats a pixel.

Numba widens int32 sums to int64, which AVX2 can neither multiply nor convert: hence the many
np.int32. Its min and max ask about NaN, and keep a loop from being vectorised: hence the
conditional expressions.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing import augment_kernels

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]

BLOCK = 2016  # values a block, whole pixels: 16 KiB of float64, so that the passes stay in L1

# A record of one sample as numbers: a row for the start and one a round.
# Columns; the last is the first of six.
CODE, OPERATION, A, B, VALUE, CHOICE, SCREEN_A, SCREEN_B, MATRIX = range(9)
COLUMNS = MATRIX + 6
# Codes of the operations: their places in config.OPERATIONS.
ADD, MULTIPLY, SCREEN, OVERLAY, DARKEN_LIGHTEN, SWAP_CHANNEL = range(6)

# Powers of float32 numbers x in (0, 1] by table: 2**-31 <= x < 2 in 64 bins an octave.
_BIN_BITS = 6
_BINS = 1 << _BIN_BITS
_OCTAVES = 32
_LOWEST = 127 - 31  # biased exponent of the first octave
_INSIDE = 23 - _BIN_BITS  # bits of a float32's place inside its bin
_CENTRES = 1 + (np.arange(_BINS) + 0.5) / _BINS
_INVERSES = 1 / (
    _CENTRES * 2.0**23
)  # turns a distance from the centre, in ulps, into a relative one
POWERS = _OCTAVES * _BINS
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
def power_table(exponent: float, octaves: F64, bins: F64, m: F64, e: F64, powers: F64) -> None:
    """powers[64 k + j] = (2 x)**exponent at the centre x of bin j of octave k.

    exponent  as in `power`
    octaves   (_OCTAVES,) float64, scratch; bins: (_BINS,); m, e: (_BINS,)
    powers    (POWERS,) float64, written
    """
    for k in range(_OCTAVES):
        octaves[k] = 2.0 ** (k + (_LOWEST - 126))
    power(octaves, exponent, m[:_OCTAVES], e[:_OCTAVES])
    for j in range(_BINS):
        bins[j] = _CENTRES[j]
    power(bins, exponent, m, e)
    for k in range(_OCTAVES):
        part = powers[k * _BINS : (k + 1) * _BINS]
        for j in range(_BINS):
            part[j] = octaves[k] * bins[j]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def power_of_double(
    x: F32, exponent: float, powers: F64, index: I32, near: F64, inverse: F64, m: F64, out: F32
) -> None:
    """out = (2 x)**exponent, within 2e-12 relative before it is rounded to float32.

    x, out    (n,) float32, x in [0, 1]
    exponent  0 to 2; any other is done, but slowly
    powers    (POWERS,) float64 from `power_table`
    index     (n,) int32; near, inverse, m: (n,) float64; scratch

    With x = c (1 + r), c the centre of its bin, |r| < 2**-7: (2x)**a = (2c)**a (1 + r)**a, and the
    binomial series' first term left out, at r**5, is below 1e-12 for a in [0, 2].
    """
    n = x.shape[0]
    bits = x.view(np.int32)
    by_table = exponent >= 0.0 and exponent <= 2.0
    at_zero = np.float32(1.0 if exponent == 0.0 else 0.0)
    least = np.int32(0)
    for i in range(n):
        place = np.int32((bits[i] >> np.int32(_INSIDE)) - np.int32(_LOWEST * _BINS))
        place = place if bits[i] != 0 else np.int32(0)  # zeros are many, and set right at the end
        index[i] = place
        least = place if place < least else least
    if by_table and least == 0:
        for i in range(n):
            near[i] = powers[np.uint32(index[i])]
        for i in range(n):
            inverse[i] = _INVERSES[np.uint32(index[i]) & np.uint32(_BINS - 1)]
    else:  # the few values below the table
        for i in range(n):
            if index[i] >= 0 and by_table:
                near[i] = powers[np.uint32(index[i])]
                inverse[i] = _INVERSES[np.uint32(index[i]) & np.uint32(_BINS - 1)]
                continue
            inverse[i] = 0.0
            near[i] = 2.0 * np.float64(x[i])
            power(near[i : i + 1], exponent, m[:1], m[1:2])
    c1 = exponent
    c2 = c1 * (exponent - 1.0) / 2.0
    c3 = c2 * (exponent - 2.0) / 3.0
    c4 = c3 * (exponent - 3.0) / 4.0
    half_bin = np.int32(1 << (_INSIDE - 1))
    for i in range(n):
        distance = np.int32((bits[i] & np.int32((1 << _INSIDE) - 1)) - half_bin)
        r = np.float64(distance) * inverse[i]
        value = np.float32(near[i] + near[i] * (r * (c1 + r * (c2 + r * (c3 + r * c4)))))
        out[i] = value if bits[i] != 0 else at_zero


@numba.njit(cache=True, nogil=True, error_model="numpy")
def add_table(b: float, out: F32) -> None:
    """out[v] = b * (2 v / 255 - 1): what `add` takes from a byte of the picture mixed in."""
    weight = np.float32(b)
    for v in range(256):
        out[v] = weight * (np.float32(v) / np.float32(255) * np.float32(2) - np.float32(1))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def multiply_table(b: float, inverted: bool, base: F64, m: F64, e: F64, out: F32) -> None:
    """out[v] = clip(2 v / 255, 1e-37) ** b: what `multiply` takes from a byte mixed in.

    inverted    take 1 - v / 255 for v / 255, as `screen` does
    base, m, e  (256,) float64, scratch
    """
    for v in range(256):
        x = np.float32(v) / np.float32(255)
        x = (np.float32(1) - x if inverted else x) * np.float32(2)
        base[v] = np.float64(max(x, np.float32(1e-37)))
    power(base, b, m, e)
    for v in range(256):
        out[v] = np.float32(base[v])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(flat: U8, tables: F32 | U8, out: F32 | U8) -> None:
    """out[i] = tables[channel of i, flat[i]]; flat, out (n,), whole pixels; tables (3, 256).

    tables, out  of one type: float32, or uint8 where the result is a picture again
    """
    red, green, blue = tables[0], tables[1], tables[2]
    for i in range(flat.shape[0] // 3):
        out[3 * i] = red[flat[3 * i]]
        out[3 * i + 1] = green[flat[3 * i + 1]]
        out[3 * i + 2] = blue[flat[3 * i + 2]]


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


class Workspace(NamedTuple):
    """Scratch memory for pictures of `n` = h * w * 3 values."""

    x: F32  # (n,) the picture so far
    start: U8  # (n,) augmented copies
    other: U8  # (n,)
    counts: I32  # (3, 256)
    byte_tables: U8  # (3, 256)
    state: F32  # (3, 256) the picture so far as a function of `source` bytes
    weighed: F32  # (3, 256)
    mixed_in: F32  # (3, 256)
    table: F32  # (256,)
    powers: F64  # (POWERS,)
    bins: F64  # (4, _BINS)
    floats: F64  # (3, BLOCK)
    gathered: F32  # (4, BLOCK)
    screen_powers: F64  # (POWERS,)
    screened: F32  # (3, 256)
    places: I32  # (BLOCK,)
    wholes: I32  # (w,)
    scaled: I32  # (w * 3,)
    shares: F64  # (4, w)


def workspace(height: int, width: int) -> Workspace:
    """Scratch memory for pictures of one size."""
    n = height * width * 3
    return Workspace(
        x=np.empty(n, np.float32),
        start=np.empty(n, np.uint8),
        other=np.empty(n, np.uint8),
        counts=np.empty((3, 256), np.int32),
        byte_tables=np.empty((3, 256), np.uint8),
        state=np.empty((3, 256), np.float32),
        weighed=np.empty((3, 256), np.float32),
        mixed_in=np.empty((3, 256), np.float32),
        table=np.empty(256, np.float32),
        powers=np.empty(POWERS, np.float64),
        bins=np.empty((4, _BINS), np.float64),
        floats=np.empty((3, BLOCK), np.float64),
        gathered=np.empty((4, BLOCK), np.float32),
        screen_powers=np.empty(POWERS, np.float64),
        screened=np.empty((3, 256), np.float32),
        places=np.empty(BLOCK, np.int32),
        wholes=np.empty(width, np.int32),
        scaled=np.empty(width * 3, np.int32),
        shares=np.empty((4, width), np.float64),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def weigh(operation: int, x: F32, a: float, work: Workspace, out: F32) -> None:
    """What an operation makes of the picture so far: a (2x - 1) to add, (2x)**a to multiply.

    x, out  (n,) float32, n <= BLOCK; x in [0, 1]
    work    whose `powers` are those of a, to multiply
    """
    if operation == ADD:
        weight = np.float32(a)
        for i in range(x.shape[0]):
            out[i] = weight * (x[i] * np.float32(2) - np.float32(1))
    else:
        n = x.shape[0]
        near, inverse, m = work.floats[0][:n], work.floats[1][:n], work.floats[2]
        power_of_double(x, a, work.powers, work.places[:n], near, inverse, m, out)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def combine(operation: int, first: F32, second: F32, out: F32) -> None:
    """The two halves of an operation put together, clipped to [0, 1]. All (n,) float32."""
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    if operation == ADD:
        for i in range(out.shape[0]):
            value = (first[i] + second[i] + one) * half
            value = value if value > zero else zero
            out[i] = value if value < one else one
    else:
        for i in range(out.shape[0]):
            value = first[i] * second[i] * half
            out[i] = value if value < one else one


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _augmented(
    row: F64, original: U8, prepared: U8, height: int, width: int, work: Workspace, out: U8
) -> U8:
    """The bytes that a row's augmentation makes, before its byte tables: a picture of (n,)."""
    code = int(row[CODE])
    if augment_kernels.is_pointwise(code):
        return original
    if code == augment_kernels.PREPARED:
        return prepared
    value, matrix = row[VALUE], row[MATRIX:]
    augment_kernels.augment(
        code, value, matrix, original, height, width, work.wholes, work.scaled, work.shares, out
    )
    return out


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _fill_byte_tables(row: F64, original: U8, work: Workspace) -> bool:
    """Fill work.byte_tables with a row's; returns whether the three channels' are equal."""
    code = int(row[CODE])
    if not augment_kernels.is_pointwise(code):
        code = augment_kernels.NOTHING
    return augment_kernels.byte_tables(code, row[VALUE], original, work.counts, work.byte_tables)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _products(
    a: float, b: float, inverted: bool, powers: F64, tables: F32, work: Workspace
) -> None:
    """Write the tables of a product: of (2 x)**a, and of the bytes mixed in, to the power b.

    inverted  whether it is the product of a screen
    powers    (POWERS,) float64, written
    tables    (3, 256) float32, written, from work.byte_tables
    """
    base, m, e = work.floats[0][:256], work.floats[1][:256], work.floats[2][:256]
    multiply_table(b, inverted, base, m, e, work.table)
    bins = work.bins
    power_table(a, bins[0][:_OCTAVES], bins[1], bins[2], bins[3], powers)
    for c in range(3):
        for v in range(256):
            tables[c, v] = work.table[work.byte_tables[c, v]]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _product(
    x: F32, a: float, powers: F64, tables: F32, other: U8, work: Workspace, out: F32
) -> None:
    """out = (2 x)**a times what the table gives for the bytes of `other`, halved. All (n,)."""
    n = x.shape[0]
    near, inverse, m = work.floats[0][:n], work.floats[1][:n], work.floats[2]
    power_of_double(x, a, powers, work.places[:n], near, inverse, m, out)
    second = work.gathered[3][:n]
    gather(other, tables, second)
    for i in range(n):
        out[i] = out[i] * second[i] * np.float32(0.5)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _experimental(row: F64, other: U8, work: Workspace) -> None:
    """One round of an operation that is in the published code and not in the paper, on work.x.

    row    whose OPERATION is SCREEN, OVERLAY, DARKEN_LIGHTEN or SWAP_CHANNEL
    other  (n,) uint8, what is mixed in, before work.byte_tables
    """
    operation, choice = int(row[OPERATION]), int(row[CHOICE])
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    screen_a = row[A] if operation == SCREEN else row[SCREEN_A]
    if operation == SCREEN:
        _products(row[A], row[B], True, work.screen_powers, work.screened, work)
    elif operation == OVERLAY:
        _products(row[A], row[B], False, work.powers, work.mixed_in, work)
        _products(screen_a, row[SCREEN_B], True, work.screen_powers, work.screened, work)
    else:
        for c in range(3):
            load(work.byte_tables[c], work.mixed_in[c])
    for begin in range(0, other.shape[0], BLOCK):
        x, part = work.x[begin : begin + BLOCK], other[begin : begin + BLOCK]
        n = x.shape[0]
        first, second, inverted = work.gathered[0][:n], work.gathered[1][:n], work.gathered[2][:n]
        if operation in (DARKEN_LIGHTEN, SWAP_CHANNEL):
            gather(part, work.mixed_in, second)
            if operation == SWAP_CHANNEL:
                for i in range(choice, n, 3):
                    x[i] = second[i]
            else:
                for i in range(n):
                    smaller = x[i] < second[i]
                    x[i] = x[i] if smaller == (choice == 0) else second[i]
            continue
        for i in range(n):
            inverted[i] = one - x[i]
        _product(inverted, screen_a, work.screen_powers, work.screened, part, work, second)
        for i in range(n):
            second[i] = one - second[i]
        if operation == OVERLAY:
            _product(x, row[A], work.powers, work.mixed_in, part, work, first)
            for i in range(n):
                multiplied = x[i] < half if choice == 0 else x[i] > half
                second[i] = first[i] if multiplied else second[i]
        for i in range(n):
            value = second[i]
            value = value if value > zero else zero
            x[i] = value if value < one else one


@numba.njit(cache=True, nogil=True, error_model="numpy")
def render(
    record: F64,
    original: U8,
    mixing: U8,
    prepared: U8,
    height: int,
    width: int,
    work: Workspace,
    out: U8,
) -> None:
    """Mix one sample.

    record    (1 + rounds, COLUMNS) float64: the start, then each round; see `CODE` to `MATRIX`
    original  (n,) uint8, the plain crop, n = height * width * 3
    mixing    (n,) uint8, the mixing picture's crop; anything where no round uses it
    prepared  (1 + rounds, n) uint8: what rows with the code PREPARED use; else it may be (0, 0)
    out       (n,) uint8, written; no other argument's memory
    source    PixMix (2022), figure 4; operations in section 3.2
    """
    rounds = record.shape[0] - 1
    n = original.shape[0]
    ready = prepared.shape[0] > 0
    source = _augmented(
        record[0], original, prepared[0] if ready else original, height, width, work, work.start
    )
    start_is_original = augment_kernels.is_pointwise(int(record[0, CODE]))
    alike = _fill_byte_tables(record[0], original, work)
    if rounds == 0:
        gather(source, work.byte_tables, out)
        return
    for c in range(3):
        load(work.byte_tables[c], work.state[c])
    tabled = True  # the picture so far is work.state of source's bytes, else it is work.x
    for step in range(1, rounds + 1):
        row = record[step]
        operation = int(row[OPERATION])
        from_mixing = int(row[CODE]) == augment_kernels.NOTHING
        if from_mixing:
            other = mixing
        else:
            other = _augmented(
                row,
                original,
                prepared[step] if ready else original,
                height,
                width,
                work,
                work.other,
            )
        other_alike = _fill_byte_tables(row, original, work)
        if operation > MULTIPLY:
            if tabled:
                gather(source, work.state, work.x)
                tabled = False
            _experimental(row, other, work)
            continue
        octaves, bins, m, e = work.bins[0], work.bins[1], work.bins[2], work.bins[3]
        if operation == ADD:
            add_table(row[B], work.table)
        else:
            floats = work.floats
            base, m256, e256 = floats[0][:256], floats[1][:256], floats[2][:256]
            multiply_table(row[B], False, base, m256, e256, work.table)
            power_table(row[A], octaves[:_OCTAVES], bins, m, e, work.powers)
        for c in range(3):
            for v in range(256):
                work.mixed_in[c, v] = work.table[work.byte_tables[c, v]]
        if tabled:
            for c in range(1 if alike else 3):
                weigh(operation, work.state[c], row[A], work, work.weighed[c])
            if alike:
                for c in range(1, 3):
                    for v in range(256):
                        work.weighed[c, v] = work.weighed[0, v]
            same_source = (
                not from_mixing
                and start_is_original
                and augment_kernels.is_pointwise(int(row[CODE]))
            )
            if same_source:
                for c in range(3):
                    combine(operation, work.weighed[c], work.mixed_in[c], work.state[c])
                alike = alike and other_alike
                continue
            tabled = False
            for begin in range(0, n, BLOCK):
                end = min(begin + BLOCK, n)
                first, second = work.gathered[0][: end - begin], work.gathered[1][: end - begin]
                gather(source[begin:end], work.weighed, first)
                gather(other[begin:end], work.mixed_in, second)
                combine(operation, first, second, work.x[begin:end])
            continue
        for begin in range(0, n, BLOCK):
            end = min(begin + BLOCK, n)
            first, second = work.gathered[0][: end - begin], work.gathered[1][: end - begin]
            x = work.x[begin:end]
            weigh(operation, x, row[A], work, first)
            gather(other[begin:end], work.mixed_in, second)
            combine(operation, first, second, x)
    if tabled:
        for c in range(3):
            store(work.state[c], work.byte_tables[c])
        gather(source, work.byte_tables, out)
    else:
        store(work.x, out)
