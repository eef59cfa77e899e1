"""A labelled dataset, whatever its kind, and how labels are numbered."""

from __future__ import annotations

import array
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.pictures import Pictures, Warn, encoded
from pixmix_cli.storage.remote import AnyPath

MAX_CLASSES = 1_000_000  # beyond it a label is surely something else, an identifier or a hash


@dataclass(frozen=True, slots=True)
class Source:
    """A labelled dataset.

    path      as the user gave it
    kind      a name of registry.KINDS
    classes   names; a label is an index into them
    pictures  every picture, in a fixed order; `name` is the sample key
    labels    one a picture
    digest    SHA-256 over class names, labels, picture names and lengths
    split     which part of the dataset, where it has several
    runs      where pictures that are only quick to read together begin (Parquet's row groups)
    """

    path: str
    kind: str
    classes: tuple[str, ...]
    pictures: Pictures
    labels: array.array[int]
    digest: str
    split: str | None = None
    runs: tuple[int, ...] = ()


class Labels:
    """Collects labels, numbers or names, one a picture, and numbers the classes at the end."""

    def __init__(self) -> None:
        """Start empty."""
        self._numbers: dict[str, int] = {}  # text: order of first appearance
        self._found = array.array("i")

    def __len__(self) -> int:
        """How many were added."""
        return len(self._found)

    def add(self, label: str) -> None:
        """One picture's label: a class name, or a number in decimal."""
        self._found.append(self._numbers.setdefault(label, len(self._numbers)))

    def extend(self, labels: Iterable[str]) -> None:
        """Several pictures' labels."""
        for label in labels:
            self.add(label)

    def finish(
        self, where: str, names: Sequence[str] | None = None
    ) -> tuple[tuple[str, ...], array.array[int]]:
        """The classes and each picture's label.

        Labels that are all whole numbers stay as they are, and classes are called by the number
        unless `names` are known. Any other labels are names: those of `names`, else sorted.

        where   for the error message
        raises  InputError: a label below 0 or absurdly large, or not among the names
        """
        if all(_is_number(text) for text in self._numbers):
            labels = [int(text) for text in self._numbers]
            highest = max(labels, default=-1)
            if min(labels, default=0) < 0 or highest >= MAX_CLASSES:
                wrong = min(labels) if min(labels) < 0 else highest
                raise InputError(f"{where}: label {wrong} is not one of 0 to {MAX_CLASSES - 1}")
            if names is None:
                names = [str(number) for number in range(highest + 1)]
            elif highest >= len(names):
                raise InputError(
                    f"{where}: label {highest} has no name, there are {len(names)} class names"
                )
        else:
            if names is None:
                names = sorted(self._numbers)
            place = {name: number for number, name in reversed(list(enumerate(names)))}
            for text in self._numbers:
                if text not in place:
                    raise InputError(f"{where}: label {text!r} is not one of the class names")
            labels = [place[text] for text in self._numbers]
        return tuple(names), array.array("i", (labels[number] for number in self._found))


def _is_number(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii() and len(text) < 20


def digest_of_source(
    kind: str,
    classes: Sequence[str],
    pictures: Pictures,
    labels: array.array[int],
    content: bytes = b"",
) -> str:
    """SHA-256 over all that decides which pictures there are and how they are labelled.

    content  more to hash, of kinds whose pictures' lengths say nothing
    """
    digest = hashlib.sha256(encoded(f"{kind}\0"))
    for name in classes:
        digest.update(encoded(f"{name}\0class\n"))
    pictures.add_to(digest)
    digest.update(array.array("i", labels).tobytes())
    digest.update(content)
    return digest.hexdigest()


def label_text(value: object) -> str | None:
    """A label as text; None for what is none (a fraction, a list, nothing)."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None


def names_beside(folder: AnyPath, warn: Warn) -> list[str] | None:
    """The class names in classes.json of a folder or of the one above it; None without one.

    warn  called when there is one that is no list of names
    """
    for place in (folder, folder.parent):
        file = place / "classes.json"
        if file.is_file():
            try:
                names = json.loads(file.read_bytes())
            except (OSError, StorageError, ValueError, RecursionError):
                names = None
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
            warn(f"{file} is no JSON list of class names; not used")
    return None
