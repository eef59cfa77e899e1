"""Random generators that depend on what is drawn, never on who draws it or when."""

from __future__ import annotations

import enum
import hashlib
import numbers

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
    digest = hashlib.blake2b(digest_size=16, person=b"pixmix")
    for part in (seed, stream.value, *path):
        text = str(part).encode("utf-8", "surrogateescape")
        kind = b"i" if isinstance(part, numbers.Integral) else b"s"
        digest.update(kind + len(text).to_bytes(8, "little") + text)
    key = int.from_bytes(digest.digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))
