"""Sizes that a user may give in samples or in bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_UNITS = {
    **{"": 0, "kb": 10**3, "mb": 10**6, "gb": 10**9},
    **{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30},
}


@dataclass(frozen=True, slots=True)
class Bytes:
    """A length in bytes, where a plain number would count something else."""

    count: int


def read_size(text: str) -> int | Bytes:
    """A number of samples, 1000, or of bytes, 256MB or 1GiB. Raises ValueError, one line."""
    match = re.fullmatch(r"([0-9]{1,12}) ?([a-z]*)", text.strip().lower())
    if match is None or int(match[1]) == 0 or match[2] not in _UNITS:
        raise ValueError(f"{text!r} is neither a number of samples nor of bytes, as 1000 or 256MB")
    number, unit = int(match[1]), _UNITS[match[2]]
    return Bytes(number * unit) if unit else number
