"""LLVM's vector operations, emitted by hand: what the compiler does not make of a loop on its own.

Each function here is the body of a Numba intrinsic; beside its use, in `vectors`, `lookups` and
`powers`, stands the Python twin that says what it computes and runs without a compiler. The
operations exist on every processor (LLVM splits those that are too long for it): whole numbers, and
strict IEEE doubles, neither fused nor reordered. So they give the bytes of the twins (tested).
Where bytes are seen as parts of numbers the lowest comes first, as on all processors that Numba
supports.

docs/design/mixing-mix.md draws which bytes lie in which lane. Imported only to compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from pixmix_cli.mixing.compiled.constants import BIN_HALF, LOWER_BITS, SEVERAL, TOGETHER

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)
_BYTES = ir.VectorType(ir.IntType(8), 4)
_WHOLES = ir.VectorType(_I32, 4)
_FLOATS = ir.VectorType(ir.DoubleType(), 4)


class Code:
    """Emits loads and stores, most of four values."""

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def pointer(self, array_type: Any, array: Any, place: Any) -> Any:
        """The address of array[place]."""
        return self.builder.gep(self.data(array_type, array), [place])

    def data(self, array_type: Any, array: Any) -> Any:
        """The address of an array's first value."""
        return self.context.make_array(array_type)(self.context, self.builder, array).data

    def vector(self, pointer: Any, kind: ir.VectorType) -> Any:
        """A vector from any address."""
        return self.builder.load(self.builder.bitcast(pointer, kind.as_pointer()), align=1)

    def load(self, pointer: Any) -> Any:
        """Four bytes as int32."""
        return self.builder.zext(self.vector(pointer, _BYTES), _WHOLES)

    def store(self, values: Any, pointer: Any) -> None:
        """Four int32 from 0 to 255 as bytes."""
        pointer = self.builder.bitcast(pointer, _BYTES.as_pointer())
        self.builder.store(self.builder.trunc(values, _BYTES), pointer, align=1)

    def spread(self, value: Any, kind: ir.VectorType) -> Any:
        """One value in all lanes."""
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, value, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, kind.count), [0] * kind.count)
        return self.builder.shuffle_vector(first, empty, zeros)


class _Pairs:
    """Emits weighted sums of bytes, two bytes and two weights at a time, in whole numbers.

    A weight has 24 bits and is split into an upper part of 13 and a lower one of 11, so that every
    product of two bytes with two parts and their sum fit a 32-bit number: LLVM knows sixteen-bit
    products added in pairs as one instruction on x86 (pmaddwd) and as two on ARM. The sums of upper
    and of lower parts meet at the end; the result is the topmost byte. Eight sums are done at a
    time; bytes move between vectors only inside 16 of them, since more is slow on x86.
    """

    sums = ir.VectorType(_I32, 8)
    words = ir.VectorType(ir.IntType(16), 16)
    wide = ir.VectorType(_I32, 16)
    bytes = ir.VectorType(_I8, 32)

    def __init__(self, context: Any, builder: Any) -> None:
        self.code, self.builder = Code(context, builder), builder
        self.upper_start = ir.Constant(self.sums, [0] * 8)
        self.lower_start = ir.Constant(self.sums, [1 << 23] * 8)  # half of what one byte is

    def shuffle(self, first: Any, second: Any, order: Sequence[int]) -> Any:
        """Lanes of two vectors in another order."""
        indices = ir.Constant(ir.VectorType(_I32, len(order)), list(order))
        return self.builder.shuffle_vector(first, second, indices)

    def parts(self, weights: Any, number: Any) -> tuple[Any, Any]:
        """Pair `number` of the weights at a pointer: the upper parts and the lower ones, spread."""
        both = []
        for part in (0, 2):
            at = self.builder.add(self.builder.mul(number, _long(4)), _long(part))
            pair = self.code.vector(
                self.builder.gep(weights, [at]), ir.VectorType(ir.IntType(16), 2)
            )
            both.append(self.shuffle(pair, pair, [0, 1] * 8))
        return both[0], both[1]

    def pairs(self, pixels: Any, order: Sequence[int]) -> Any:
        """Sixteen of 32 bytes as 16-bit numbers, to be weighed in pairs."""
        none = ir.Constant(self.bytes, [0] * 32)
        widened = [place for number in order for place in (number, 32)]
        return self.builder.bitcast(self.shuffle(pixels, none, widened), self.words)

    def weighed(self, pairs: Any, weights: Any) -> Any:
        """The sums of two products each."""
        pairs = self.builder.sext(pairs, self.wide)
        products = self.builder.mul(pairs, self.builder.sext(weights, self.wide))
        even = self.shuffle(products, products, range(0, 16, 2))
        odd = self.shuffle(products, products, range(1, 16, 2))
        return self.builder.add(even, odd)

    def added(self, sums: Any, pairs: Any, parts: tuple[Any, Any]) -> tuple[Any, Any]:
        """Upper and lower sums with a pair more."""
        upper, lower = (
            self.builder.add(s, self.weighed(pairs, p)) for s, p in zip(sums, parts, strict=True)
        )
        return upper, lower

    def value(self, sums: tuple[Any, Any]) -> Any:
        """What the sums say, 0 to 255."""
        upper = self.builder.shl(sums[0], ir.Constant(self.sums, [LOWER_BITS] * 8))
        total = self.builder.add(upper, sums[1])
        return self.builder.lshr(total, ir.Constant(self.sums, [24] * 8))

    def packed(self, first: Any, second: Any, bits: int) -> Any:
        """Two vectors of numbers of twice so many bits, halved; those of 16 bytes stay there."""
        count = 256 // bits
        kind = ir.VectorType(ir.IntType(bits), count)
        quarter = range(0, count // 2, 2)
        order = [
            place + side + half
            for half in (0, count // 2)
            for side in (0, count)
            for place in quarter
        ]
        first, second = (self.builder.bitcast(v, kind) for v in (first, second))
        return self.shuffle(first, second, order)

    def summed(self, known: int, count: Any, start: list[Any], more: Any) -> list[Any]:
        """All pairs added: known ones unrolled, or so many as `count` says if none are known.

        start  (upper, lower) of each sum
        more   makes of (sums, number) the sums with that pair
        """
        if known:
            for number in range(known):
                start = more(start, _long(number))
            return start
        kept = [[cgutils.alloca_once_value(self.builder, part) for part in s] for s in start]
        for pointers, values in zip(kept, start, strict=True):
            for pointer, value in zip(pointers, values, strict=True):
                self.builder.store(value, pointer)
        with cgutils.for_range(self.builder, count, intp=_I64) as loop:
            sums = more([[self.builder.load(p) for p in ps] for ps in kept], loop.index)
            for pointers, values in zip(kept, sums, strict=True):
                for pointer, value in zip(pointers, values, strict=True):
                    self.builder.store(value, pointer)
        return [[self.builder.load(p) for p in ps] for ps in kept]


def _long(value: int) -> Any:
    return ir.Constant(_I64, value)


def _four_pixels_code(known: int) -> Any:
    """Code for a known number of pairs, or for any number: 0."""

    def typed(
        typing: Any, source: Any, place: Any, stride: Any, weights: Any, first: Any, pairs: Any,
        out: Any, to: Any, out_stride: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            source, place, stride, weights, first, pairs, out, to, out_stride = values
            emit = _Pairs(context, builder)
            row = emit.code.pointer(signature.args[0], source, place)
            rows = [builder.gep(row, [builder.mul(stride, _long(k))]) for k in range(4)]
            weights = emit.code.pointer(signature.args[3], weights, first)
            # neighbours' channels in turn, of two rows; and of the next pair of neighbours
            order = [half + k for half in (0, 16) for k in (0, 3, 1, 4, 2, 5, 2, 5)]
            orders = order, [k + 6 for k in order]

            def read(number: Any) -> list[Any]:
                """16 bytes of each row, from that pair on; two rows in one vector."""
                at = builder.mul(number, _long(6))
                each = [
                    emit.code.vector(builder.gep(r, [at]), ir.VectorType(_I8, 16)) for r in rows
                ]
                return [emit.shuffle(each[k], each[k + 1], range(32)) for k in (0, 2)]

            windows: list[Any] = []

            def more(sums: list[Any], number: Any) -> list[Any]:
                odd = number.constant % 2 if known else 0
                if not odd:
                    windows[:] = read(number)
                parts = emit.parts(weights, number)
                return [
                    emit.added(s, emit.pairs(window, orders[odd]), parts)
                    for s, window in zip(sums, windows, strict=True)
                ]

            start = [(emit.upper_start, emit.lower_start)] * 2
            done = [emit.value(s) for s in emit.summed(known, pairs, start, more)]
            packed = emit.packed(done[0], done[1], 16)
            packed = builder.bitcast(emit.packed(packed, packed, 8), emit.sums)
            target = emit.code.pointer(signature.args[6], out, to)
            for lane in (0, 4, 1, 5):
                pixel = builder.extract_element(packed, ir.Constant(_I32, lane))
                builder.store(pixel, builder.bitcast(target, _I32.as_pointer()), align=1)
                target = builder.gep(target, [out_stride])
            return context.get_dummy_value()

        i64 = types.int64
        arguments = (source, i64, i64, weights, i64, i64, out, i64, i64)
        return types.void(*arguments), generate

    return typed


four_pixels = _four_pixels_code(0)
four_pixels_1 = _four_pixels_code(1)
four_pixels_2 = _four_pixels_code(2)
four_pixels_3 = _four_pixels_code(3)


def _block_code(known: int) -> Any:
    """Code for a known number of pairs, or for any number: 0."""

    def typed(
        typing: Any, source: Any, place: Any, stride: Any, weights: Any, first: Any, pairs: Any,
        out: Any, to: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            source, place, stride, weights, first, pairs, out, to = values
            emit = _Pairs(context, builder)
            weights = emit.code.pointer(signature.args[3], weights, first)
            row = emit.code.pointer(signature.args[0], source, place)
            # in turn the first, and the last, eight bytes of 16 in one row and in the next
            low = [k + side for half in (0, 16) for k in range(half, half + 8) for side in (0, 32)]
            high = [k + 8 for k in low]
            first_half = [k for half in (0, 16) for k in range(half, half + 8)]
            last_half = [k + 8 for k in first_half]

            def more(sums: list[Any], number: Any) -> list[Any]:
                at = builder.mul(builder.mul(number, _long(2)), stride)
                upper = builder.gep(row, [at])
                lower = builder.gep(upper, [stride])
                read = emit.code.vector(upper, emit.bytes), emit.code.vector(lower, emit.bytes)
                parts = emit.parts(weights, number)
                turns = [emit.shuffle(*read, order) for order in (low, high)]
                pairs = [emit.pairs(t, half) for t in turns for half in (first_half, last_half)]
                return [emit.added(s, p, parts) for s, p in zip(sums, pairs, strict=True)]

            start = [(emit.upper_start, emit.lower_start)] * 4
            done = [emit.value(s) for s in emit.summed(known, pairs, start, more)]
            words = [emit.packed(done[k], done[k + 1], 16) for k in (0, 2)]
            target = emit.code.pointer(signature.args[6], out, to)
            target = builder.bitcast(target, emit.bytes.as_pointer())
            builder.store(emit.packed(words[0], words[1], 8), target, align=1)
            return context.get_dummy_value()

        i64 = types.int64
        return types.void(source, i64, i64, weights, i64, i64, out, i64), generate

    return typed


block = _block_code(0)
block_1 = _block_code(1)
block_2 = _block_code(2)
block_3 = _block_code(3)


def between(
    typing: Any, source: Any, upper: Any, lower: Any, right: Any, down: Any, out: Any, to: Any
) -> Any:
    """`vectors.between`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, upper, lower, right, down, out, to = values
        code = Code(context, builder)
        three = ir.Constant(_I64, 3)
        right, down = code.spread(right, _FLOATS), code.spread(down, _FLOATS)

        def along(place: Any) -> Any:
            first = code.load(code.pointer(signature.args[0], source, place))
            place = builder.add(place, three)
            second = code.load(code.pointer(signature.args[0], source, place))
            step = builder.sitofp(builder.sub(second, first), _FLOATS)
            return builder.fadd(builder.sitofp(first, _FLOATS), builder.fmul(step, right))

        above, below = along(upper), along(lower)
        value = builder.fadd(above, builder.fmul(builder.fsub(below, above), down))
        pixel = builder.fptosi(value, _WHOLES)
        code.store(pixel, code.pointer(signature.args[5], out, to))
        return context.get_dummy_value()

    i64, f64 = types.int64, types.float64
    return types.void(source, i64, i64, f64, f64, out, i64), generate


def _shared_code(lanes: int) -> Any:
    """Code for so many neighbouring bytes at once."""
    some = ir.VectorType(_I8, lanes)
    wholes = ir.VectorType(_I32, lanes)

    def typed(
        typing: Any, source: Any, first: Any, second: Any, shares: Any, number: Any, bits: Any,
        out: Any, to: Any,
    ) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            source, first, second, shares, number, bits, out, to = values
            code = Code(context, builder)

            first, second = (
                builder.zext(
                    code.vector(code.pointer(signature.args[0], source, place), some), wholes
                )
                for place in (first, second)
            )
            share = code.vector(code.pointer(signature.args[3], shares, number), wholes)
            step = builder.mul(builder.sub(second, first), share)
            step = builder.ashr(step, code.spread(bits, wholes))
            target = code.pointer(signature.args[6], out, to)
            target = builder.bitcast(target, some.as_pointer())
            builder.store(builder.trunc(builder.add(first, step), some), target, align=1)
            return context.get_dummy_value()

        i64, i32 = types.int64, types.int32
        return types.void(source, i64, i64, shares, i64, i32, out, i64), generate

    return typed


shared_4 = _shared_code(4)
shared_16 = _shared_code(16)


def together(typing: Any, flat: Any, at: Any, red: Any, green: Any, blue: Any, out: Any) -> Any:
    """`lookups._together`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        flat, at, *tables, out = values
        word = ir.IntType(64)
        bits = signature.args[5].dtype.bitwidth
        entry = ir.IntType(bits)

        code = Code(context, builder)
        flat, out = code.data(signature.args[0], flat), code.data(signature.args[5], out)
        channels = [
            builder.bitcast(code.data(signature.args[2 + c], table), entry.as_pointer())
            for c, table in enumerate(tables)
        ]
        for begin in range(0, TOGETHER, 64 // bits):
            together = ir.Constant(word, 0)
            for i in range(begin, begin + 64 // bits):
                place = builder.add(at, ir.Constant(word, i))
                byte = builder.zext(builder.load(builder.gep(flat, [place])), word)
                value = builder.zext(builder.load(builder.gep(channels[i % 3], [byte])), word)
                shifted = builder.shl(value, ir.Constant(word, bits * (i - begin)))
                together = builder.or_(together, shifted)
            target = builder.gep(out, [builder.add(at, ir.Constant(word, begin))])
            builder.store(together, builder.bitcast(target, word.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(flat, types.int64, red, green, blue, out), generate


def several(
    typing: Any, x: Any, places: Any, at: Any, table: Any, c1: Any, c2: Any, c3: Any, c4: Any,
    out: Any,
) -> Any:  # fmt: skip
    """`powers._several`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        i32, i64, double = ir.IntType(32), ir.IntType(64), ir.DoubleType()
        wholes, doubles = ir.VectorType(i32, 4), ir.VectorType(double, 4)
        floats, pair = ir.VectorType(ir.FloatType(), 4), ir.VectorType(double, 2)
        x, places, at, table, *factors, out = values

        code = Code(context, builder)

        def four(pointer: Any, kind: ir.VectorType) -> Any:
            return builder.bitcast(pointer, kind.as_pointer())

        def whole(value: int) -> Any:
            return ir.Constant(wholes, [value] * 4)

        def pick(first: Any, second: Any, *numbers: int) -> Any:
            return builder.shuffle_vector(first, second, ir.Constant(wholes, numbers))

        x, places, table, out = (
            code.data(signature.args[number], array)
            for number, array in ((0, x), (1, places), (3, table), (8, out))
        )
        c1, c2, c3, c4 = (code.spread(factor, doubles) for factor in factors)
        for begin in range(0, SEVERAL, 4):
            here = builder.add(at, ir.Constant(i64, begin))
            pairs = []
            for i in range(4):
                number = builder.gep(places, [builder.add(here, ir.Constant(i64, i))])
                row = builder.gep(table, [builder.zext(builder.load(number), i64)])
                pairs.append(builder.load(four(row, pair), align=8))
            even, odd = pick(pairs[0], pairs[2], 0, 1, 2, 3), pick(pairs[1], pairs[3], 0, 1, 2, 3)
            near, inverse = pick(even, odd, 0, 4, 2, 6), pick(even, odd, 1, 5, 3, 7)
            bits = builder.load(four(builder.gep(x, [here]), wholes), align=4)
            distance = builder.sub(builder.and_(bits, whole(2 * BIN_HALF - 1)), whole(BIN_HALF))
            r = builder.fmul(builder.sitofp(distance, doubles), inverse)
            series = builder.fadd(c3, builder.fmul(r, c4))
            series = builder.fadd(c2, builder.fmul(r, series))
            series = builder.fadd(c1, builder.fmul(r, series))
            value = builder.fadd(near, builder.fmul(near, builder.fmul(r, series)))
            target = four(builder.gep(out, [here]), floats)
            builder.store(builder.fptrunc(value, floats), target, align=4)
        return context.get_dummy_value()

    i64, f64 = types.int64, types.float64
    return types.void(x, places, i64, table, f64, f64, f64, f64, out), generate
