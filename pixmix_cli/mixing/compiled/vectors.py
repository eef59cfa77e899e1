"""Several pixels or channels at once: sums and blends of bytes, each as a plain function.

LLVM turns long loops into vector instructions, but not the work on one pixel inside a loop over
pixels that lie anywhere. Where kernels are compiled, `llvm` takes the place of the functions here
that name it, in a third of their time or less. They are the same to the byte (tested).

Pixels are written as four bytes: one byte must lie behind the last pixel of a row, and a pixel must
be written before its right neighbour.
"""

from __future__ import annotations

import numpy as np

from pixmix_cli.mixing.compiled.constants import LOWER_BITS
from pixmix_kernels import kernel, llvm
from pixmix_kernels.arrays import I16, I32, U8

SLACK = 16  # bytes read at once along a row, hence at most so many behind its last pixel
BLOCK = 32  # bytes weighed at once along columns

_LLVM = "pixmix_cli.mixing.compiled.llvm"


def _weight(weights: I16, first: int, k: int) -> int:
    """Weight k of those from `first` on, put together from its two parts."""
    at = first + 4 * (k // 2) + k % 2
    return (int(weights[at]) << LOWER_BITS) + int(weights[at + 2])


def _weigh_four(
    source: U8, place: int, stride: int, weights: I16, first: int, pairs: int, out: U8, to: int,
    out_stride: int,
) -> None:  # fmt: skip
    """One pixel in each of four rows: `along_four_rows` for one x."""
    parts = [_weight(weights, first, k) for k in range(2 * pairs)]
    for row in range(4):
        for c in range(3):
            total = 1 << 23
            for k, weight in enumerate(parts):
                total += weight * int(source[place + row * stride + 3 * k + c])
            out[to + row * out_stride + c] = total >> 24


# for any number of pairs of weights, and for 1, 2 and 3, which most resizing needs
_four_pixels = llvm(f"{_LLVM}:four_pixels")(_weigh_four)
_four_pixels_1 = llvm(f"{_LLVM}:four_pixels_1")(_weigh_four)
_four_pixels_2 = llvm(f"{_LLVM}:four_pixels_2")(_weigh_four)
_four_pixels_3 = llvm(f"{_LLVM}:four_pixels_3")(_weigh_four)


@kernel
def along_four_rows(
    source: U8, begin: int, stride: int, firsts: I32, weights: I16, pairs: int, out: U8,
    out_stride: int,
) -> None:  # fmt: skip
    """Weighted sums of neighbouring pixels, in four rows at a time.

    out[r * out_stride + 3 x + c] is the sum over k of weight k of x times
    source[begin + r * stride + 3 (firsts[x] + k) + c], rounded; c in 0, 1, 2 and r in 0 to 3.

    source   (m,) uint8; up to SLACK bytes behind the last pixel weighed are read, too
    firsts   (n,) int32
    weights  (n * pairs * 4,) int16
    pairs    half the number of weights of each x
    out      uint8; the byte behind each row's n pixels is overwritten with anything
    """
    n = firsts.shape[0]
    if pairs == 1:
        for x in range(n):
            at = begin + 3 * int(firsts[x])
            _four_pixels_1(source, at, stride, weights, 4 * x, 1, out, 3 * x, out_stride)
    elif pairs == 2:
        for x in range(n):
            at = begin + 3 * int(firsts[x])
            _four_pixels_2(source, at, stride, weights, 8 * x, 2, out, 3 * x, out_stride)
    elif pairs == 3:
        for x in range(n):
            at = begin + 3 * int(firsts[x])
            _four_pixels_3(source, at, stride, weights, 12 * x, 3, out, 3 * x, out_stride)
    else:
        for x in range(n):
            at, first = begin + 3 * int(firsts[x]), 4 * pairs * x
            _four_pixels(source, at, stride, weights, first, pairs, out, 3 * x, out_stride)


def _weigh_block(
    source: U8, place: int, stride: int, weights: I16, first: int, pairs: int, out: U8, to: int
) -> None:
    """BLOCK bytes of `along_columns`."""
    total = np.full(BLOCK, 1 << 23, np.int64)
    for k in range(2 * pairs):
        begin = place + k * stride
        total += _weight(weights, first, k) * source[begin : begin + BLOCK].astype(np.int64)
    out[to : to + BLOCK] = total >> 24


_block = llvm(f"{_LLVM}:block")(_weigh_block)
_block_1 = llvm(f"{_LLVM}:block_1")(_weigh_block)
_block_2 = llvm(f"{_LLVM}:block_2")(_weigh_block)
_block_3 = llvm(f"{_LLVM}:block_3")(_weigh_block)


@kernel
def along_columns(
    source: U8, begin: int, stride: int, weights: I16, first: int, pairs: int, out: U8, to: int,
    n: int,
) -> None:  # fmt: skip
    """out[to + j] is the sum over k of weight k times source[begin + k * stride + j], rounded.

    n        j is in 0 to n - 1; at least BLOCK
    weights  (w,) int16, those from `first` on
    """
    for block in range(0, n, BLOCK):
        j = min(block, n - BLOCK)
        if pairs == 1:
            _block_1(source, begin + j, stride, weights, first, pairs, out, to + j)
        elif pairs == 2:
            _block_2(source, begin + j, stride, weights, first, pairs, out, to + j)
        elif pairs == 3:
            _block_3(source, begin + j, stride, weights, first, pairs, out, to + j)
        else:
            _block(source, begin + j, stride, weights, first, pairs, out, to + j)


@llvm(f"{_LLVM}:between")
def _between(
    source: U8, upper: int, lower: int, right: float, down: float, out: U8, to: int
) -> None:
    for c in range(3):
        above = _along(source, upper + c, right)
        out[to + c] = int(above + (_along(source, lower + c, right) - above) * down)


def _along(source: U8, place: int, share: float) -> float:
    first = int(source[place])
    return first + (int(source[place + 3]) - first) * share


@kernel
def between(
    source: U8, upper: int, lower: int, right: float, down: float, out: U8, to: int
) -> None:
    """The pixel at out[to] between four pixels, bilinear in float64 and cut off.

    upper, lower  where the two left ones begin in source; their right neighbours follow
    right, down   shares of the right and of the lower ones, 0 to 1
    source        (m,) uint8, upper + 6 < m and lower + 6 < m
    out           (n,) uint8, to + 3 < n; out[to + 3] is overwritten with anything
    """
    _between(source, upper, lower, right, down, out, to)


def _share(
    source: U8, first: int, second: int, shares: I32, number: int, bits: np.int32, out: U8, to: int,
    count: int,
) -> None:  # fmt: skip
    for i in range(count):
        step = (int(source[second + i]) - int(source[first + i])) * int(shares[number + i])
        # a share of a line that is done again in float64 is -1: what comes of it does not matter
        out[to + i] = (int(source[first + i]) + (step >> int(bits))) & 255


@llvm(f"{_LLVM}:shared_4")
def _shared_4(
    source: U8, first: int, second: int, shares: I32, number: int, bits: np.int32, out: U8, to: int
) -> None:
    _share(source, first, second, shares, number, bits, out, to, 3)


@llvm(f"{_LLVM}:shared_16")
def _shared_16(
    source: U8, first: int, second: int, shares: I32, number: int, bits: np.int32, out: U8, to: int
) -> None:
    _share(source, first, second, shares, number, bits, out, to, 12)


@kernel
def shared(
    source: U8, first: int, second: int, shares: I32, number: int, bits: np.int32, out: U8, to: int,
    four: bool,
) -> None:  # fmt: skip
    """A pixel, or four, at out[to]: another, and a share of its difference to a third, cut off.

    first, second  where those two begin in source, (m,) uint8
    shares         (w,) int32, those of the bytes from `number` on, in 2**-bits; bits at most 23
    out            (n,) uint8
    four           16 bytes are read of all, and written, the last four of them anything; else 4,
                   the last of them anything
    """
    if four:
        _shared_16(source, first, second, shares, number, bits, out, to)
    else:
        _shared_4(source, first, second, shares, number, bits, out, to)
