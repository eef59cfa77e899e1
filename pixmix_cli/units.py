"""Sizes that a user may give in samples, pixels or bytes; sizes and times as people read them."""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_PIXELS = 1 << 26  # of a picture that is read, by default: 8192 x 8192
MAX_TONE = 10  # of --contrast and --saturation

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


def size_text(count: float) -> str:
    """A length in bytes as people read it: 512 bytes, 58.7 MB, 4.4 TB (powers of 1000)."""
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while count >= 999.5 and len(units) > 1:
        count /= 1000
        del units[0]
    return f"{count:.3g} {units[0]}"


def time_text(seconds: float) -> str:
    """A time as people read it: 2.4 s, 12 min, 3 h 20 min, 5 days 2 h."""
    if seconds < 99.5:
        return f"{seconds:.2g} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h" if hours else f"{days} days"
