"""Tables of bytes looked up: what the compiler does not make of a loop on its own.

A look-up is a load of the byte, a load of the entry and a store, and memory is what it waits for.
Here entries are put together in a register, and stored eight bytes at a time: LLVM's own whole
numbers, little-endian as they are put together, so the same bytes as one by one (tested).
"""

from __future__ import annotations

import sys
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from pixmix_cli.mixing.vectors import Code

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

_TOGETHER = 24  # bytes: whole pixels, and whole words of their entries
_IS_LITTLE = sys.byteorder == "little"


def _together_code(
    typing: Any, flat: Any, at: Any, red: Any, green: Any, blue: Any, out: Any
) -> Any:
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
        for begin in range(0, _TOGETHER, 64 // bits):
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


# out[i] = the table of i's channel at flat[i], for i in `at`, of a red value, to at + _TOGETHER - 1
_together: Any = intrinsic(_together_code)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(flat: U8, tables: F32 | U8, alike: bool, out: F32 | U8) -> None:
    """out[i] = tables[channel of i, flat[i]]; flat, out (n,), whole pixels; tables (3, 256).

    alike        whether to take tables[0] for every channel
    tables, out  of one type: float32, or uint8 where the result is a picture again
    """
    red = tables[0]
    green, blue = tables[0 if alike else 1], tables[0 if alike else 2]
    n = flat.shape[0]
    whole = n - n % _TOGETHER if _IS_LITTLE else 0
    for i in range(0, whole, _TOGETHER):
        _together(flat, i, red, green, blue, out)
    for i in range(whole // 3, n // 3):
        out[3 * i] = red[flat[3 * i]]
        out[3 * i + 1] = green[flat[3 * i + 1]]
        out[3 * i + 2] = blue[flat[3 * i + 2]]
