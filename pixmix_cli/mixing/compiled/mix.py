"""The arithmetic of the two mixing operations, compiled. Strict IEEE: the same bytes on any CPU.

No fused multiply-add, no reassociation, no libm (see `powers`): nothing depends on the processor or
the C library.
The float32 order of `add` is the published code's: a re-ordered version drifted by up to 6 levels,
because a later multiply with a negative weight amplifies residue near zero.

As long as a picture is a function of one picture's bytes, a channel at a time, it is a table of 256
values a channel and no pixel is touched: the start, an augmentation that maps bytes to bytes, and
their mixtures. Only where another picture comes in are there floats a pixel; from there on all
rounds are done on one block of pixels before the next block's turn, so that floats stay in L1.

Numba widens int32 sums to int64, which AVX2 can neither multiply nor convert: hence the many
np.int32. Its min and max ask about NaN, and keep a loop from being vectorised: hence the
conditional expressions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pixmix_cli.mixing.compiled import augment as augment_kernels
from pixmix_cli.mixing.compiled import powers
from pixmix_cli.mixing.compiled.lookups import gather
from pixmix_kernels import kernel, record
from pixmix_kernels.arrays import (
    F32,
    F64,
    I32,
    I64,
    U8,
    F32x2,
    F32x3,
    F64x2,
    F64x3,
    I32x2,
    I64x2,
    U8x2,
)

BLOCK = 2016  # values a block, whole pixels: 8 KiB of float32, so that the passes stay in L1

# A record of one sample as numbers: a row for the start and one a round.
# Columns; the last is the first of six.
CODE, OPERATION, A, B, VALUE, CHOICE, SCREEN_A, SCREEN_B, MATRIX = range(9)
COLUMNS = MATRIX + 6
# Codes of the operations: their places in config.OPERATIONS.
ADD, MULTIPLY, SCREEN, OVERLAY, DARKEN_LIGHTEN, SWAP_CHANNEL = range(6)

AT_ONCE = 4  # rounds that are done together, a block at a time: as many as the recipes' default
# How a round comes from the bytes mixed in to numbers: by arithmetic, or by tables of 256.
BY_BYTES, BY_ONE_TABLE, BY_THREE_TABLES = range(3)

_LEVELS = np.arange(256, dtype=np.float32) / np.float32(255)
# 1 / 255 in two parts: a byte times the first is exact, and with a byte times the second added it
# rounds to what the division gives, for every byte (tested), in less time.
_HIGH = np.float32(0.003921508789062500)
_LOW = np.float32(1 / 255 - 0.003921508789062500)
_TWICE_HIGH, _TWICE_LOW = np.float32(2) * _HIGH, np.float32(2) * _LOW


@kernel
def add_table(b: float, out: F32) -> None:
    """out[v] = b * (2 v / 255 - 1): what `add` takes from a byte of the picture mixed in."""
    weight, one = np.float32(b), np.float32(1)
    for v in range(256):
        out[v] = weight * (_LEVELS[v] * np.float32(2) - one)


@kernel
def multiply_table(b: float, inverted: bool, base: F64, m: F64, e: F64, out: F32) -> None:
    """out[v] = clip(2 v / 255, 1e-37) ** b: what `multiply` takes from a byte mixed in.

    inverted    take 1 - v / 255 for v / 255, as `screen` does
    base, m, e  (256,) float64, scratch
    """
    sign, offset = np.float32(-1 if inverted else 1), np.float32(1 if inverted else 0)
    least = np.float32(1e-37)
    for v in range(256):
        x = (offset + sign * _LEVELS[v]) * np.float32(2)
        base[v] = np.float64(x if x > least else least)
    powers.power(base, b, m, e)
    for v in range(256):
        out[v] = np.float32(base[v])


@kernel
def load(picture: U8, out: F32) -> None:
    """Bytes to [0, 1]: out = picture / 255. Both (n,)."""
    for i in range(picture.shape[0]):
        value = np.float32(picture[i])
        out[i] = value * _HIGH + value * _LOW


@kernel
def copy(source: F32, target: F32) -> None:
    """Copy float32; a loop, because Numba's slice assignment takes twenty times as long."""
    for i in range(source.shape[0]):
        target[i] = source[i]


@kernel
def store(x: F32, out: U8) -> None:
    """[0, 1] to bytes, rounded to nearest: out = floor(255 x + 1/2). Both (n,)."""
    for i in range(x.shape[0]):
        out[i] = np.uint8(np.int32(x[i] * np.float32(255) + np.float32(0.5)))


@record
class Workspace(NamedTuple):
    """Scratch memory for pictures of `n` = h * w * 3 values."""

    x: F32  # (n,) the picture so far
    start: U8  # (n,) the augmented copy that the mixing starts with
    others: U8x2  # (AT_ONCE, n) those that are mixed in
    counts: I32x2  # (3, 256)
    byte_tables: U8x2  # (3, 256)
    state: F32x2  # (3, 256) the picture so far as a function of `source` bytes
    weighed: F32x2  # (3, 256)
    table: F32  # (256,)
    mixed_in: F32x3  # (AT_ONCE, 3, 256) what a round takes from the bytes mixed in
    ways: I64  # (AT_ONCE,) how a round does so: see BY_BYTES
    sides: F64x2  # (AT_ONCE, powers.SIDES) see powers.begin_table, and the next two
    powers: F64x3  # (AT_ONCE, powers.ROWS, 2)
    filled: I64x2  # (AT_ONCE, 1)
    floats: F64x2  # (3, BLOCK)
    gathered: F32x2  # (4, BLOCK)
    places: I32  # (BLOCK,)
    wholes: I32  # (w,)
    scaled: I32  # (w * 3,)
    shares: F64x2  # (2, w)


def workspace(height: int, width: int) -> Workspace:
    """Scratch memory for pictures of one size."""
    n = height * width * 3
    return Workspace(
        x=np.empty(n, np.float32),
        start=np.empty(n, np.uint8),
        others=np.empty((AT_ONCE, n), np.uint8),
        counts=np.empty((3, 256), np.int32),
        byte_tables=np.empty((3, 256), np.uint8),
        state=np.empty((3, 256), np.float32),
        weighed=np.empty((3, 256), np.float32),
        table=np.empty(256, np.float32),
        mixed_in=np.empty((AT_ONCE, 3, 256), np.float32),
        ways=np.empty(AT_ONCE, np.int64),
        sides=np.empty((AT_ONCE, powers.SIDES), np.float64),
        powers=np.empty((AT_ONCE, powers.ROWS, 2), np.float64),
        filled=np.empty((AT_ONCE, 1), np.int64),
        floats=np.empty((3, BLOCK), np.float64),
        gathered=np.empty((4, BLOCK), np.float32),
        places=np.empty(BLOCK, np.int32),
        wholes=np.empty(width, np.int32),
        scaled=np.empty(width * 3, np.int32),
        shares=np.empty((2, width), np.float64),
    )


@kernel
def add_floats(x: F32, a: float, second: F32, out: F32) -> None:
    """out = (a (2x - 1) + second + 1) / 2, clipped to [0, 1]. All (n,) float32; x in [0, 1]."""
    weight = np.float32(a)
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    for i in range(out.shape[0]):
        value = (weight * (x[i] + x[i] - one) + second[i] + one) * half
        value = value if value > zero else zero
        out[i] = value if value < one else one


@kernel
def add_bytes(x: F32, a: float, other: U8, b: float, out: F32) -> None:
    """`add_floats` of what `add_table` has for the bytes of `other`, (n,), in the same order."""
    weight, mixed_in = np.float32(a), np.float32(b)
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    for i in range(out.shape[0]):
        byte = np.float32(other[i])
        second = mixed_in * (byte * _TWICE_HIGH + byte * _TWICE_LOW - one)
        value = (weight * (x[i] + x[i] - one) + second + one) * half
        value = value if value > zero else zero
        out[i] = value if value < one else one


@kernel
def multiply(first: F32, second: F32, out: F32) -> None:
    """out = first * second / 2, clipped to 1. All (n,) float32, none below 0."""
    half, one = np.float32(0.5), np.float32(1)
    for i in range(out.shape[0]):
        value = first[i] * second[i] * half
        out[i] = value if value < one else one


@kernel
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


@kernel
def _has_tables(code: int) -> bool:
    """Whether an augmentation is byte tables, so that what it makes is yet to be looked up."""
    return code != augment_kernels.NOTHING and augment_kernels.is_pointwise(code)


@kernel
def _fill_byte_tables(row: F64, original: U8, counts: I32x2, tables: U8x2) -> bool:
    """Fill byte tables (3, 256) with a row's; returns whether the three channels' are equal."""
    code = int(row[CODE]) if _has_tables(int(row[CODE])) else augment_kernels.NOTHING
    return augment_kernels.byte_tables(code, row[VALUE], original, counts, tables)


@kernel
def _look_up(table: F32, byte_tables: U8x2, alike: bool, out: F32x2) -> None:
    """out[c, v] = table[byte_tables[c, v]], of the first channel alone where they are alike."""
    for c in range(1 if alike else 3):
        places, values = byte_tables[c], out[c]
        for v in range(256):
            values[v] = table[places[v]]


@kernel
def _begin_power(exponent: float, slot: int, work: Workspace) -> None:
    """Make a slot's table of powers one of this exponent."""
    m, e = work.floats[1][: powers.SIDES], work.floats[2][: powers.SIDES]
    powers.begin_table(exponent, m, e, work.sides[slot], work.powers[slot], work.filled[slot])


@kernel
def _multiply_table(b: float, inverted: bool, work: Workspace) -> None:
    """Write work.table: `multiply_table`."""
    base, m, e = work.floats[0][:256], work.floats[1][:256], work.floats[2][:256]
    multiply_table(b, inverted, base, m, e, work.table)


@kernel
def _set_up(row: F64, original: U8, slot: int, work: Workspace) -> None:
    """Make ready what one round of adding or multiplying takes from its pictures, in a slot."""
    plain = not _has_tables(int(row[CODE]))
    tables = work.mixed_in[slot]
    if row[OPERATION] == ADD:
        if plain:
            work.ways[slot] = BY_BYTES
            return
        add_table(row[B], work.table)
    else:
        _multiply_table(row[B], False, work)
        _begin_power(row[A], slot, work)
    alike = True
    if plain:
        for v in range(256):
            tables[0, v] = work.table[v]
    else:
        alike = _fill_byte_tables(row, original, work.counts, work.byte_tables)
        _look_up(work.table, work.byte_tables, alike, tables)
    work.ways[slot] = BY_ONE_TABLE if alike else BY_THREE_TABLES


@kernel
def _products(a: float, b: float, inverted: bool, alike: bool, slot: int, work: Workspace) -> None:
    """Fill a slot for a product: of (2 x)**a, and of the bytes mixed in, to the power b.

    inverted  whether it is the product of a screen
    alike     whether the three of work.byte_tables, which it takes, are equal
    """
    _multiply_table(b, inverted, work)
    _begin_power(a, slot, work)
    _look_up(work.table, work.byte_tables, alike, work.mixed_in[slot])


@kernel
def _power(x: F32, exponent: float, slot: int, work: Workspace, out: F32) -> None:
    """out = (2 x)**exponent by a slot's table. Both (n,) float32."""
    powers.power_of_double(
        x, exponent, work.sides[slot], work.powers[slot], work.filled[slot], work.places,
        work.floats, out,
    )  # fmt: skip


@kernel
def _product(
    x: F32, a: float, slot: int, alike: bool, other: U8, work: Workspace, out: F32
) -> None:
    """out = (2 x)**a times what a slot's tables give for the bytes of `other`, halved. All (n,)."""
    n = x.shape[0]
    _power(x, a, slot, work, out)
    second = work.gathered[3][:n]
    gather(other, work.mixed_in[slot], alike, second)
    for i in range(n):
        out[i] = out[i] * second[i] * np.float32(0.5)


@kernel
def _experimental(row: F64, original: U8, other: U8, work: Workspace) -> None:
    """One round of an operation that is in the published code and not in the paper, on work.x.

    row    whose OPERATION is SCREEN, OVERLAY, DARKEN_LIGHTEN or SWAP_CHANNEL
    other  (n,) uint8, what is mixed in, before the row's byte tables
    """
    operation, choice = int(row[OPERATION]), int(row[CHOICE])
    zero, half, one = np.float32(0), np.float32(0.5), np.float32(1)
    screen_a = row[A] if operation == SCREEN else row[SCREEN_A]
    alike = _fill_byte_tables(row, original, work.counts, work.byte_tables)
    if operation == SCREEN:
        _products(row[A], row[B], True, alike, 1, work)
    elif operation == OVERLAY:
        _products(row[A], row[B], False, alike, 0, work)
        _products(screen_a, row[SCREEN_B], True, alike, 1, work)
    else:
        for c in range(3):
            load(work.byte_tables[c], work.mixed_in[0][c])
    for begin in range(0, other.shape[0], BLOCK):
        x, part = work.x[begin : begin + BLOCK], other[begin : begin + BLOCK]
        n = x.shape[0]
        first, second, inverted = work.gathered[0][:n], work.gathered[1][:n], work.gathered[2][:n]
        if operation in (DARKEN_LIGHTEN, SWAP_CHANNEL):
            gather(part, work.mixed_in[0], alike, second)
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
        _product(inverted, screen_a, 1, alike, part, work, second)
        for i in range(n):
            second[i] = one - second[i]
        if operation == OVERLAY:
            _product(x, row[A], 0, alike, part, work, first)
            for i in range(n):
                multiplied = x[i] < half if choice == 0 else x[i] > half
                second[i] = first[i] if multiplied else second[i]
        for i in range(n):
            value = second[i]
            value = value if value > zero else zero
            x[i] = value if value < one else one


@kernel
def _only_augment(
    row: F64, original: U8, prepared: U8, height: int, width: int, work: Workspace, out: U8
) -> None:
    """A sample without rounds."""
    if _has_tables(int(row[CODE])):
        alike = _fill_byte_tables(row, original, work.counts, work.byte_tables)
        gather(original, work.byte_tables, alike, out)
    elif int(row[CODE]) == augment_kernels.NOTHING:
        augment_kernels.copy(original, out)
    elif int(row[CODE]) == augment_kernels.PREPARED:
        augment_kernels.copy(prepared, out)
    else:
        _augmented(row, original, prepared, height, width, work, out)


@kernel
def _mix_tables(row: F64, original: U8, alike: bool, work: Workspace) -> bool:
    """One round on work.state: the picture mixed in is of the same bytes as the picture so far.

    row      whose augmentation is one of bytes, to add or to multiply
    alike    whether the three of work.state are equal; whether they then are is returned
    """
    _set_up(row, original, 0, work)
    also_alike = work.ways[0] == BY_ONE_TABLE
    tables = work.mixed_in[0]
    both = alike and also_alike
    for c in range(1 if both else 3):
        state = work.state[0 if alike else c]
        mixed_in = tables[0 if also_alike else c]
        if row[OPERATION] == ADD:
            add_floats(state, row[A], mixed_in, work.weighed[c])
        else:
            _power(state, row[A], 0, work, work.gathered[0][:256])
            multiply(work.gathered[0][:256], mixed_in, work.weighed[c])
    for c in range(1 if both else 3):
        for v in range(256):
            work.state[c, v] = work.weighed[c, v]
    return both


@kernel
def _mixed_in(code: int, original: U8, mixing: U8, prepared: U8, made: U8) -> U8:
    """The picture that a round mixes in, before the row's byte tables.

    code      of the row's augmentation
    prepared  (n,) uint8, the row's picture where the code is PREPARED
    made      (n,) uint8, by `_augmented`
    """
    if code == augment_kernels.NOTHING:
        return mixing
    if augment_kernels.is_pointwise(code):
        return original
    if code == augment_kernels.PREPARED:
        return prepared
    return made


@kernel
def _mix_blocks(
    record: F64x2,
    step: int,
    count: int,
    tabled: bool,
    plain: bool,
    alike: bool,
    source: U8,
    original: U8,
    mixing: U8,
    prepared: U8x2,
    work: Workspace,
    out: U8,
) -> None:
    """Rounds of adding and multiplying, a block at a time.

    step, count  rows of the record; slot i holds what `_set_up` made of row step + i
    tabled       whether the picture so far is work.state of the bytes of `source`, else work.x;
                 work.weighed then holds work.state's powers, where the first round multiplies
    plain        whether work.state is that of `load`
    alike        whether its channels are equal
    out          (n,) uint8, written if there are no further rounds; else work.x is written

    Every step reads one array and writes another, else it could not be vectorised. What is called
    here gets no Workspace: handing on its many arrays takes as long as a block's arithmetic.
    """
    n = original.shape[0]
    last = step + count == record.shape[0]
    buffers, whole, state, weighed = work.gathered, work.x, work.state, work.weighed
    sides, tables, filled, scratch = work.sides, work.powers, work.filled, work.floats
    mixed_in, ways, places = work.mixed_in, work.ways, work.places
    for begin in range(0, n, BLOCK):
        end = min(begin + BLOCK, n)
        first, second = buffers[0][: end - begin], buffers[1][: end - begin]
        x, after = buffers[2][: end - begin], buffers[3][: end - begin]
        if not tabled:
            copy(whole[begin:end], x)
        for slot in range(count):
            row = record[step + slot]
            made = work.others[slot]
            ready = prepared[step + slot] if prepared.shape[0] > 0 else made
            other = _mixed_in(int(row[CODE]), original, mixing, ready, made)[begin:end]
            a, adds, way = row[A], row[OPERATION] == ADD, ways[slot]
            by_table = slot == 0 and tabled
            if way != BY_BYTES:
                gather(other, mixed_in[slot], way == BY_ONE_TABLE, second)
            if not adds:
                if by_table:
                    gather(source[begin:end], weighed, alike, first)
                else:
                    powers.power_of_double(
                        x, a, sides[slot], tables[slot], filled[slot], places, scratch, first
                    )
                multiply(first, second, after)
            else:
                if by_table and plain:
                    load(source[begin:end], x)
                elif by_table:
                    gather(source[begin:end], state, alike, x)
                if way == BY_BYTES:
                    add_bytes(x, a, other, row[B], after)
                else:
                    add_floats(x, a, second, after)
            x, after = after, x
        if last:
            store(x, out[begin:end])
        else:
            copy(x, whole[begin:end])


@kernel
def render(
    record: F64x2,
    original: U8,
    mixing: U8,
    prepared: U8x2,
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
    first = prepared[0] if prepared.shape[0] > 0 else original
    if rounds == 0:
        _only_augment(record[0], original, first, height, width, work, out)
        return
    source = _augmented(record[0], original, first, height, width, work, work.start)
    plain = not _has_tables(int(record[0, CODE]))
    alike = _fill_byte_tables(record[0], original, work.counts, work.byte_tables)
    for c in range(1 if alike else 3):
        load(work.byte_tables[c], work.state[c])
    step = 1
    if augment_kernels.is_pointwise(int(record[0, CODE])):
        while (
            step <= rounds
            and record[step, OPERATION] <= MULTIPLY
            and _has_tables(int(record[step, CODE]))
        ):
            alike = _mix_tables(record[step], original, alike, work)
            plain = False
            step += 1
    if step > rounds:
        for c in range(1 if alike else 3):
            store(work.state[c], work.byte_tables[c])
        gather(source, work.byte_tables, alike, out)
        return
    tabled = True  # the picture so far is work.state of source's bytes, else it is work.x
    while step <= rounds:
        experimental = record[step, OPERATION] > MULTIPLY
        count = 0  # rounds that are done together
        while step + count <= rounds and count < (1 if experimental else AT_ONCE):
            row = record[step + count]
            if row[OPERATION] > MULTIPLY and not experimental:
                break
            if not augment_kernels.is_pointwise(int(row[CODE])):
                made = work.others[count]
                _augmented(row, original, original, height, width, work, made)
            if not experimental:
                _set_up(row, original, count, work)
            count += 1
        last = step + count > rounds
        if experimental:
            if tabled:
                gather(source, work.state, alike, work.x)
            made = work.others[0]
            ready = prepared[step] if prepared.shape[0] > 0 else made
            other = _mixed_in(int(record[step, CODE]), original, mixing, ready, made)
            _experimental(record[step], original, other, work)
            if last:
                store(work.x, out)
        else:
            if tabled and record[step, OPERATION] == MULTIPLY:
                for c in range(1 if alike else 3):
                    _power(work.state[c], record[step, A], 0, work, work.weighed[c])
            _mix_blocks(
                record, step, count, tabled, plain, alike, source, original, mixing, prepared, work,
                out,
            )  # fmt: skip
        tabled = False
        step += count
