"""Which part of a dataset a file belongs to, going by names."""

from __future__ import annotations

import os
import re

_SPLIT = re.compile(r"(?:.*[-_])?(train|test|validation|valid|val|dev)(?:-\d+-of-\d+|-\d+|_\d+)?")

_SPLIT_WORD = re.compile(
    r"(?<![a-z])(train|training|test|testing|eval|evaluation|validation|valid|val|dev)(?![a-z])"
)


def split_of(name: str) -> str | None:
    """The split that a file belongs to, going by its name, or else by its folders' names."""
    *folders, file = name.lower().split("/")
    stem = os.path.splitext(file)[0]
    match = _SPLIT.fullmatch(stem)
    if match is not None:
        return match[1]
    for text in (stem, *reversed(folders)):
        words = _SPLIT_WORD.findall(text)
        if words:
            return str(words[-1])
    return None
