"""Uniform numbers of many keyed streams at once: those of Generator.random(), without generators.

A NumPy generator takes as long to make as a sample's decisions take to draw.

source  Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3 (Philox4x64-10)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing.compiled import philox

AT_ONCE = 64  # numbers; most samples need fewer


class Uniforms:
    """What `draws.draw` asks of a generator: `random()`, the numbers of Philox(key=...)."""

    def __init__(self, key: bytes, first: Sequence[float]) -> None:
        """key: 16 bytes, little-endian; first: the stream's first numbers, a multiple of four."""
        self.random = _numbers(key, first).__next__


def _numbers(key: bytes, first: Sequence[float]) -> Iterator[float]:
    yield from first
    done = len(first)
    while True:
        yield from _fill([key], done // 4)[0].tolist()
        done += AT_ONCE


def uniforms_for(keys: Sequence[bytes]) -> list[Uniforms]:
    """A stream for each 128-bit Philox key, 16 bytes, little-endian."""
    return [Uniforms(key, first) for key, first in zip(keys, _fill(keys, 0).tolist())]


def as_numbers(keys: Sequence[bytes]) -> NDArray[np.uint64]:
    """Keys as (m, 2) uint64, the low half first."""
    return np.frombuffer(b"".join(keys), "<u8").reshape(-1, 2).astype(np.uint64)


def _fill(keys: Sequence[bytes], first_block: int) -> NDArray[np.float64]:
    """(m, AT_ONCE) float64 in [0, 1): numbers of each stream from the block `first_block` on."""
    out = np.empty((len(keys), AT_ONCE))
    stream = np.empty(philox.STREAM, np.uint64)
    philox.fill_uniforms(as_numbers(keys), first_block, stream, out)
    return out
