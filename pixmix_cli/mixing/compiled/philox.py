"""The random numbers of numpy.random.Philox, in kernels.

source  Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox4x64-10)
"""

from __future__ import annotations

import numpy as np

from pixmix_kernels import entry, kernel
from pixmix_kernels.arrays import U64, F64x2, U64x2

_KEY0, _KEY1, _BLOCK, _PLACE, _WORDS = 0, 1, 2, 3, 4
STREAM = 8  # uint64s of a stream's state: key, number of the block, place in it, its four words
_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


@kernel
def _high(a: np.uint64, b: np.uint64) -> np.uint64:
    """The upper 64 of the 128 bits of a product."""
    a0, a1 = a & _LOW, a >> _32
    b0, b1 = b & _LOW, b >> _32
    middle = a1 * b0 + ((a0 * b0) >> _32)
    other = a0 * b1 + (middle & _LOW)
    return a1 * b1 + (middle >> _32) + (other >> _32)


@kernel
def _next_block(stream: U64) -> None:
    """The next four words of Philox4x64-10, as numpy.random.Philox(key=...) orders them."""
    stream[_BLOCK] += np.uint64(1)
    c0, c1, c2, c3 = stream[_BLOCK], np.uint64(0), np.uint64(0), np.uint64(0)
    k0, k1 = stream[_KEY0], stream[_KEY1]
    m0, m1 = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
    for _ in range(10):
        high0, low0 = _high(m0, c0), m0 * c0
        high1, low1 = _high(m1, c2), m1 * c2
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0 += np.uint64(0x9E3779B97F4A7C15)
        k1 += np.uint64(0xBB67AE8584CAA73B)
    stream[_WORDS], stream[_WORDS + 1] = c0, c1
    stream[_WORDS + 2], stream[_WORDS + 3] = c2, c3


@kernel
def begin(stream: U64, key0: np.uint64, key1: np.uint64) -> None:
    """Set a stream to its start; key: the low and the high half of the 128 bits."""
    stream[_KEY0], stream[_KEY1] = key0, key1
    stream[_BLOCK] = np.uint64(0)
    stream[_PLACE] = np.uint64(4)


@kernel
def uniform(stream: U64) -> float:
    """The next number of Generator.random(): 53 bits in [0, 1)."""
    place = np.int64(stream[_PLACE])
    if place == 4:
        _next_block(stream)
        place = np.int64(0)
    stream[_PLACE] = np.uint64(place + 1)
    return np.float64(stream[_WORDS + place] >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@entry
def fill_uniforms(keys: U64x2, first_block: int, stream: U64, out: F64x2) -> None:
    """out[i] = numbers of stream i, from its block of four `first_block` on.

    keys    (m, 2) uint64, low half first
    stream  (STREAM,) uint64, scratch
    out     (m, n) float64, written
    """
    for i in range(keys.shape[0]):
        begin(stream, keys[i, 0], keys[i, 1])
        stream[_BLOCK] = np.uint64(first_block)
        for j in range(out.shape[1]):
            out[i, j] = uniform(stream)
