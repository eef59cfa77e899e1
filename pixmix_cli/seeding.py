"""Random generators that depend on what is drawn, never on who draws it or when."""

from __future__ import annotations

import enum
import functools
import hashlib
import numbers
from collections.abc import Iterable

import numpy as np


class Stream(enum.Enum):
    """What a generator is for: streams of different purposes never meet."""

    FRACTALS = "fractals"
    FEATVIS = "featvis"
    FEATVIS_PLAN = "featvis-plan"
    BAKE = "bake"
    SHUFFLE = "shuffle"
    VERIFY = "verify"


def rng_for(seed: int, stream: Stream, *path: int | str) -> np.random.Generator:
    """The generator of one item: a function of its arguments alone.

    seed     >= 0, the user's --seed
    stream   what the numbers are for
    path     what names the item inside its stream: a picture's index, or a copy and a sample key
    returns  a generator on Philox4x64-10, a counter-based bit generator, whose 128-bit key is the
             BLAKE2b hash of the arguments: any item's numbers can be had without the others'
    source   Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3
    """
    key = int.from_bytes(key_for(seed, stream, *path), "little")
    return np.random.Generator(np.random.Philox(key=key))


def key_for(seed: int, stream: Stream, *path: int | str) -> bytes:
    """The Philox key of an item's generator, 16 bytes, little-endian; arguments as `rng_for`'s."""
    digest = _begun(seed, stream, *path[:-1]).copy()
    if path:
        digest.update(_bytes_of(path[-1]))
    return digest.digest()


def keys_for(
    seed: int, stream: Stream, firsts: Iterable[int | str], names: Iterable[int | str]
) -> list[bytes]:
    """key_for(seed, stream, first, name) for each of `firsts`, and for it each of `names`."""
    parts = [_bytes_of(name) for name in names]
    keys = []
    for first in firsts:
        begun = _begun(seed, stream, first)
        for part in parts:
            digest = begun.copy()
            digest.update(part)
            keys.append(digest.digest())
    return keys


@functools.lru_cache(maxsize=256, typed=True)
def _begun(seed: int, stream: Stream, *path: int | str) -> hashlib.blake2b:
    """The hash of a key's first parts; to be copied, not changed."""
    digest = hashlib.blake2b(digest_size=16, person=b"pixmix")
    for part in (seed, stream.value, *path):
        digest.update(_bytes_of(part))
    return digest


def _bytes_of(part: int | str) -> bytes:
    text = str(part).encode("utf-8", "surrogateescape")
    kind = b"i" if isinstance(part, numbers.Integral) else b"s"
    return kind + len(text).to_bytes(8, "little") + text
