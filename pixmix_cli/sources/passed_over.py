"""What is missing or passed over: files that are no pictures, parts that are not there."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from pixmix_cli.sources.pictures import Warn
from pixmix_cli.storage.images import EXTENSIONS

# Of pictures that are not read, as torchvision does not
UNREAD = (
    ".gif", ".avif", ".jfif", ".jp2", ".tga", ".heic", ".heif", ".jxl", ".ico", ".svg", ".eps",
)  # fmt: skip
_PART = re.compile(r"(.*?)(\d+)-of-(\d+)(.*)", re.DOTALL)
_NUMBERED = re.compile(r"(.*?)(\d+)(\.[^/]*)", re.DOTALL)
_MOST_PARTS = 1_000_000


def ending_of(name: str) -> str:
    """A file's ending in lower case, `.jpg`; "" for none."""
    return os.path.splitext(name)[1].lower()


def told(endings: Counter[str]) -> str:
    """Files by ending, for a warning: `2 .gif, 1 .txt`."""
    found = [f"{count} {ending or 'without ending'}" for ending, count in endings.most_common(5)]
    rest = endings.total() - sum(count for _, count in endings.most_common(5))
    return ", ".join(found) + (f" and {rest} others" if rest else "")


def warn_of_loose_pictures(folder: object, names: Iterable[str], warn: Warn) -> None:
    """Tell of pictures in a folder of archives, which are not read."""
    found = Counter(
        ending_of(n) for n in names if n[0] != "." and n.lower().endswith((*EXTENSIONS, *UNREAD))
    )
    if found:
        warn(f"{told(found)} in SOURCE {folder} lie outside its archives; passed over")


def missing_parts(names: Iterable[str]) -> tuple[int, int, str] | None:
    """What is missing among files named `x-00000-of-00002.parquet`.

    returns  (how many are missing, of how many, the name of the first); None for a whole set
    """
    parts: dict[tuple[str, int], dict[int, tuple[str, str]]] = {}
    for name in names:
        part = _PART.fullmatch(name)
        if part is not None and 0 < int(part[3][:9]) <= _MOST_PARTS:
            found = parts.setdefault((part[1], int(part[3][:9])), {})
            found[int(part[2][:18])] = part[2], f"-of-{part[3]}{part[4]}"
    for (before, total), found in parts.items():
        first = 1 if 0 not in found and total in found else 0
        missing = [number for number in range(first, first + total) if number not in found]
        if missing:
            digits, after = next(iter(found.values()))
            return len(missing), total, f"{before}{missing[0]:0{len(digits)}d}{after}"
    return None


def gap_in(names: Sequence[str]) -> tuple[int, str] | None:
    """What is missing among files that are numbered one after the other, `000000.tar` and so on.

    returns  (how many, the name of the first); None where there is no gap, or they are not so named
    """
    numbered = [_NUMBERED.fullmatch(name) for name in names]
    found = {int(one[2][:18]): one for one in numbered if one is not None}
    ends = {(one[1], len(one[2]), one[3]) for one in found.values()}
    if len(found) < len(names) or len(ends) != 1 or not found:
        return None
    first, last = min(found), max(found)
    if last - first + 1 == len(found) or last - first > 2 * len(found):
        return None
    before, width, after = next(iter(ends))
    missing = next(number for number in range(first, last) if number not in found)
    return last - first + 1 - len(found), f"{before}{missing:0{width}d}{after}"
