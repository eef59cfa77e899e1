"""A family of kernels that compiles in two seconds: one argument of every kind."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pixmix_kernels import entry, kernel, record
from pixmix_kernels.arrays import F32, F64, I32, I64, U8, U64, F32x2, F64x3, U8x2


@record
class Two(NamedTuple):
    """Two arrays by address."""

    first: F64
    second: U8x2


@kernel
def twice(x: float) -> float:
    """An inner kernel."""
    return x * 2.0


@entry
def add_up(
    a: U8, b: I32, c: I64, d: U64, e: F32, f: F64, wide: F32x2, deep: F64x3, pair: tuple[int, int],
    two: Two, number: int, real: float, small: np.float32, large: np.uint64, flag: bool, out: F64,
) -> None:  # fmt: skip
    """out[i] = what the arguments say, one after the other."""
    out[0] = a[a.shape[0] - 1]
    out[1] = b[b.shape[0] - 1]
    out[2] = c[c.shape[0] - 1]
    out[3] = d[d.shape[0] - 1] >> np.uint64(40)
    out[4] = e[e.shape[0] - 1]
    out[5] = f[f.shape[0] - 1]
    out[6] = wide[1, 2] + wide.shape[1]
    out[7] = deep[1, 0, 2] + deep.shape[2]
    out[8] = pair[0] - pair[1]
    out[9] = two.first[1] + two.second[1, 0]
    out[10] = number
    out[11] = twice(real)
    out[12] = small
    out[13] = large >> np.uint64(60)
    out[14] = 1.0 if flag else 0.0


@entry
def fill(value: float, out: F64) -> None:
    """out[i] = value."""
    for i in range(out.shape[0]):
        out[i] = value
