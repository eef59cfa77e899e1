"""A kind of dataset: everything that opening a SOURCE asks of it.

A file of this folder reads a kind, and `registry` is the list of them. A new one is a class made
from `Kind`, and a line there.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Protocol

from pixmix_cli.errors import InputError
from pixmix_cli.sources.pictures import Warn
from pixmix_cli.sources.source import Source
from pixmix_cli.storage.remote import AnyPath, Url

LISTED = 100_000  # entries of a folder that are looked at to tell its kind


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of several things in a source to take; None where the user did not say.

    split        part of the dataset
    label_field  column, field or array of the label
    path_field   column or field of the path, of lists
    """

    split: str | None = None
    label_field: str | None = None
    path_field: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The names in a folder, of LISTED entries at most, without those that begin with a dot.

    endings  how many files there are of each ending, in lower case, ".jpg"
    """

    path: AnyPath
    names: frozenset[str]
    folders: tuple[str, ...]
    endings: Counter[str]

    @classmethod
    def of(cls, path: AnyPath) -> Listing:
        """Look into a folder. Raises InputError when that is not allowed."""
        try:
            found = [pair for pair in islice(_names_in(path), LISTED) if pair[0][0] != "."]
        except OSError as error:
            raise InputError(
                f"SOURCE {path} cannot be listed ({error.strerror})", "its permissions"
            ) from None
        names = frozenset(name for name, _ in found)
        folders = tuple(sorted(name for name, is_folder in found if is_folder))
        files = names - set(folders)
        return cls(path, names, folders, cls.endings_of(sorted(files)))

    @staticmethod
    def endings_of(files: Iterable[str]) -> Counter[str]:
        """How many files there are of each ending."""
        return Counter(os.path.splitext(name)[1].lower() for name in files)

    def below(self, folder: str, ending: str) -> bool:
        """Whether a folder in it holds a file with this ending."""
        there = self.path / folder
        return there.is_dir() and any(p.name.lower().endswith(ending) for p in there.iterdir())


def _names_in(path: AnyPath) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of what lies in a folder."""
    if isinstance(path, Url):
        yield from ((child.name, child.is_dir()) for child in path.iterdir())
        return
    with os.scandir(path) as entries:
        yield from ((entry.name, entry.is_dir()) for entry in entries)


class Kind(Protocol):
    """A kind of dataset.

    name     as --source-format and manifests have it
    endings  of files of this kind, in lower case
    takes    fields of `Choice` that it has a use for
    spooled  where it is remote it is copied whole before it is read
    """

    name: str
    endings: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    spooled: bool = False

    def is_file(self, path: AnyPath) -> bool:
        """Whether a file, going by its name, is of this kind."""
        return path.name.lower().endswith(self.endings)

    def is_folder(self, listing: Listing) -> bool:
        """Whether a folder is, going by the names in it."""
        return False

    def holds_pictures(self, listing: Listing) -> bool:
        """Whether a folder of this kind, going by names, holds pictures, as far as a look tells."""
        return True

    def is_pattern(self, path: AnyPath) -> bool:
        """Whether what is no file's or folder's name stands for several of this kind."""
        return False

    def is_stream(self, head: bytes) -> bool:
        """Whether what stdin begins with is of this kind."""
        return False

    def is_watched(self, path: AnyPath) -> bool:
        """Whether `open` notes what its listing follows from; True where names do not tell."""
        return False

    def fetch(self, path: AnyPath) -> Path | None:
        """A local copy of what `path` is only a name of; None when it is none."""
        return None

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """List it. Raises InputError, StorageError."""

    def open_stream(self, stream: BinaryIO, head: bytes, warn: Warn, choice: Choice) -> Source:
        """List what comes on stdin, after its `head`. Raises InputError, StorageError."""
        raise InputError(f"SOURCE - cannot be {self.name}", "a file or folder")
