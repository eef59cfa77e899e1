"""Tables of bytes looked up.

A look-up is a load of the byte, a load of the entry and a store, and memory is what it waits for.
Where kernels are compiled, entries are put together in a register and stored eight bytes at a time.
"""

from __future__ import annotations

import sys

import numpy as np

from pixmix_cli.mixing.compiled.constants import TOGETHER
from pixmix_kernels import kernel, llvm
from pixmix_kernels.arrays import F32, U8, F32x2, U8x2

_IS_LITTLE = sys.byteorder == "little"


@llvm("pixmix_cli.mixing.compiled.llvm:together")
def _together(
    flat: U8, at: int, red: F32 | U8, green: F32 | U8, blue: F32 | U8, out: F32 | U8
) -> None:
    """out[i] = the table of i's channel at flat[i], for i in `at`, a red value, to TOGETHER on."""
    for c, table in enumerate((red, green, blue)):
        places = flat[at + c : at + TOGETHER : 3]
        out[at + c : at + TOGETHER : 3] = np.take(table, places)


@kernel
def gather(flat: U8, tables: F32x2 | U8x2, alike: bool, out: F32 | U8) -> None:
    """out[i] = tables[channel of i, flat[i]]; flat, out (n,), whole pixels; tables (3, 256).

    alike        whether to take tables[0] for every channel
    tables, out  of one type: float32, or uint8 where the result is a picture again
    """
    red = tables[0]
    green, blue = tables[0 if alike else 1], tables[0 if alike else 2]
    n = flat.shape[0]
    whole = n - n % TOGETHER if _IS_LITTLE else 0
    for i in range(0, whole, TOGETHER):
        _together(flat, i, red, green, blue, out)
    for i in range(whole // 3, n // 3):
        out[3 * i] = red[flat[3 * i]]
        out[3 * i + 1] = green[flat[3 * i + 1]]
        out[3 * i + 2] = blue[flat[3 * i + 2]]
