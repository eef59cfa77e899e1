"""What lies in a tar that is in memory as a whole, found in one go: of many small files."""

from __future__ import annotations

import numpy as np

from pixmix_cli.storage.tar import BLOCK


def members_of(data: bytes) -> list[tuple[str, int, int]] | None:
    """The files of a plain tar, in order.

    data     of the whole archive
    returns  (name, offset, length) of each, as `tar.members` has it; None for an archive that has
             anything but regular files with short ASCII names, or that is not as it should be
    source   POSIX.1-1988, ustar
    """
    if len(data) % BLOCK or len(data) < 3 * BLOCK:
        return None
    blocks = np.frombuffer(data, np.uint8).reshape(-1, BLOCK)
    # a block that looks like a header is one if each begins where the one before says it ends
    places = np.flatnonzero((blocks[:, 257:265] == _MAGIC).all(axis=1))
    heads = blocks[places]
    if not len(heads) or not _are_plain(heads):
        return None
    lengths = _octal(heads[:, 124:135])
    ends = places + 1 + -(-lengths // BLOCK)
    if lengths.min() < 0 or places[0] != 0 or (ends[:-1] != places[1:]).any():
        return None
    rest = blocks[ends[-1] :]
    if len(rest) < 2 or rest.any():
        return None
    told = heads[:, 148:154].copy()
    heads[:, 148:156] = ord(" ")
    if (heads.sum(axis=1, dtype=np.int64) != _octal(told)).any():
        return None
    names = b"\0".join(np.ascontiguousarray(heads[:, :100]).view("S100")[:, 0].tolist())
    offsets = ((places + 1) * BLOCK).tolist()
    return list(zip(names.decode("ascii").split("\0"), offsets, lengths.tolist()))


_MAGIC = np.frombuffer(b"ustar\x0000", np.uint8)
_EIGHTS = 8 ** np.arange(11, dtype=np.int64)[::-1]


def _are_plain(heads: np.ndarray) -> bool:
    """Whether all are headers of regular files, with names that go without a second field.

    heads  (n, BLOCK) uint8
    """
    regular = (heads[:, 156] == ord("0")).all()
    names = heads[:, :100]
    whole = (names[:, 1:] != 0) <= (names[:, :-1] != 0)  # no byte behind the end of a name
    ascii_ = (names < 128).all() and (names[:, 0] != 0).all() and whole.all()
    fields_end = (heads[:, 135] == 0).all() and (heads[:, 154] == 0).all()
    return bool(regular and ascii_ and fields_end and not heads[:, 345:500].any())


def _octal(digits: np.ndarray) -> np.ndarray:
    """(n,) int64 of (n, up to 11) octal digits; below 0 where one is none."""
    values = digits.astype(np.int64) - ord("0")
    wrong = ((values < 0) | (values > 7)).any(axis=1)
    return np.where(wrong, -1, values @ _EIGHTS[-digits.shape[1] :])
