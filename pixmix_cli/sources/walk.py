"""Folders listed in a fixed order, here or elsewhere."""

from __future__ import annotations

import heapq
import os
import resource
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple, overload

from pixmix_cli.errors import StorageError
from pixmix_cli.sources.pictures import Warn
from pixmix_cli.sources.watched import Look, look_at
from pixmix_cli.storage import remote
from pixmix_cli.storage.images import is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url


class LocalFile(NamedTuple):
    """A file in a folder here."""

    name: str
    path: str

    @property
    def length(self) -> int:
        """Its bytes; 0 for a link that leads nowhere, which is reported when it is read."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0


class LocalFiles(Sequence[LocalFile]):
    """The files of one folder, made when asked for: a million os.DirEntry would take 1 GB."""

    def __init__(self, folder: str, names: Sequence[str]) -> None:
        """The files `names` in a folder."""
        self._folder = folder
        self._names = names

    def __len__(self) -> int:
        """How many."""
        return len(self._names)

    def __iter__(self) -> Iterator[LocalFile]:
        """Each of them, in half the time that asking by number takes."""
        start = os.path.join(self._folder, "")
        return (LocalFile(name, start + name) for name in self._names)

    @overload
    def __getitem__(self, index: int) -> LocalFile: ...

    @overload
    def __getitem__(self, index: slice) -> LocalFiles: ...

    def __getitem__(self, index: int | slice) -> LocalFile | LocalFiles:
        """One of them, or some."""
        if isinstance(index, slice):
            return LocalFiles(self._folder, self._names[index])
        name = self._names[index]
        return LocalFile(name, os.path.join(self._folder, name))


class ListedFile(NamedTuple):
    """A file whose length is known already."""

    name: str
    path: str
    length: int


Files = LocalFiles | list[ListedFile] | list[remote.Entry]


Seen = Callable[[str, Look], None]


def _ignored(folder: str, look: Look) -> None:
    pass


def walk(
    root: AnyPath, warn: Warn, whole: bool = False, seen: Seen = _ignored
) -> Iterator[tuple[str, Files]]:
    """Every folder below root, links followed, loops not: (relative path, files by name).

    In the order of torchvision's ImageFolder: each folder of root on its own, and below it folders
    in the order of their paths as text, by which `b-c` is before `b/d`. Hidden files and folders
    are passed over.

    whole   root is itself such a folder, a class of an ImageFolder
    seen    called with each local folder, and what it was before it was listed
    raises  StorageError for a folder that cannot be listed
    """
    if isinstance(root, Url):
        found = list(remote.walk(root))
        return iter(sorted(found, key=lambda pair: _order(pair[0], whole)))
    return _walk(str(root), warn, whole, seen)


def _order(relative: str, whole: bool) -> tuple[str, str]:
    """What folders are sorted by. relative: with a slash at its end, or empty."""
    return "" if whole else relative.partition("/")[0], relative.removesuffix("/")


def walk_each(
    roots: Sequence[AnyPath], warn: Warn, seen: Seen = _ignored
) -> Iterator[Iterable[tuple[str, Files]]]:
    """`walk` of each of several classes.

    Remote ones are listed several at a time, and so are those on a disk that is waited for, as a
    network's. On a quick disk threads would only be in each other's way.
    """
    if any(isinstance(root, Url) for root in roots):
        return remote.ahead(lambda root: list(walk(root, warn, whole=True)), roots)
    return _walk_each_here(roots, warn, seen)


def _walk_each_here(
    roots: Sequence[AnyPath], warn: Warn, seen: Seen
) -> Iterator[Iterable[tuple[str, Files]]]:
    left = iter(roots)
    before = _waits()
    for number, root in enumerate(left, 1):
        yield walk(root, warn, whole=True, seen=seen)  # read until the next is asked for
        if number % LOOKED_AT == 0:
            now = _waits()
            if now - before >= LOOKED_AT:
                break
            before = now
    for found, warnings, looks in remote.ahead(_walked, left):
        for line in warnings:
            warn(line)
        for folder, look in looks:
            seen(folder, look)
        yield found


LOOKED_AT = 8  # folders, after each of which it is seen whether they are waited for


def _waits() -> int:
    """How often this thread has waited for anything but its turn on the processor."""
    who = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)
    return resource.getrusage(who).ru_nvcsw


def _walked(
    root: AnyPath,
) -> tuple[list[tuple[str, Files]], list[str], list[tuple[str, Look]]]:
    """A local folder walked to its end: what `walk` gives, warnings, and what was seen."""
    warnings: list[str] = []
    looks: list[tuple[str, Look]] = []
    found: list[tuple[str, Files]] = []
    for relative, files in _walk(str(root), warnings.append, True, lambda *one: looks.append(one)):
        listed = [
            # the length of what is no picture is not asked for
            ListedFile(file.name, file.path, file.length if is_picture_name(file.name) else 0)
            for file in files
        ]
        found.append((relative, listed))
    return found, warnings, looks


def _walk(root: str, warn: Warn, whole: bool, seen: Seen) -> Iterator[tuple[str, Files]]:
    nobody: frozenset[tuple[int, int]] = frozenset()
    # A folder's path begins with those of the folders above it, so the least of those that are
    # known is the next of all.
    waiting = [(_order("", whole), "", root, nobody)]
    while waiting:
        _, relative, folder, above = heapq.heappop(waiting)
        look, files, folders = _listed(folder, warn)
        seen(folder, look)
        identity = (look.status.st_dev, look.status.st_ino)
        if identity in above:
            warn(f"{folder} is a link to a folder above it; not followed")
            continue
        yield relative, LocalFiles(folder, files)
        for name in folders:
            inside = f"{relative}{name}/"
            place = os.path.join(folder, name)
            heapq.heappush(waiting, (_order(inside, whole), inside, place, above | {identity}))


def _listed(folder: str, warn: Warn) -> tuple[Look, list[str], list[str]]:
    """What a folder is, and the names of the files and folders in it, sorted."""
    files: list[str] = []
    folders: list[str] = []
    strange: list[str] = []
    try:
        look = look_at(folder)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                try:
                    kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
                except OSError:  # a link to itself
                    kind = "other"
                if kind == "folder":
                    folders.append(entry.name)
                elif kind == "file" or entry.is_symlink():  # a dangling one is reported when read
                    files.append(entry.name)
                else:
                    strange.append(entry.name)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be listed ({error.strerror})", "its permissions, or without it"
        ) from None
    for name in sorted(strange):
        warn(f"{os.path.join(folder, name)} is no regular file; left out")
    return look, sorted(files), sorted(folders)


def length_at(path: AnyPath) -> int:
    """A file's bytes. Raises StorageError, OSError."""
    return path.length if isinstance(path, Url) else path.stat().st_size


def has_picture(folder: AnyPath, entries: int) -> bool:
    """Whether a folder holds a picture at any depth; True where it takes more entries to tell."""
    left = entries
    level: list[AnyPath] = [folder]
    while level:
        deeper: list[AnyPath] = []
        for place in level:
            try:
                some: Iterable[AnyPath] = islice(place.iterdir(), left)
                inside = sorted(some, key=lambda entry: entry.name)
            except OSError:
                continue
            left -= len(inside)
            for entry in inside:
                if entry.name.startswith("."):
                    continue
                if is_picture_name(entry.name):
                    return True
                if entry.is_dir():
                    deeper.append(entry)
            if left <= 0:
                return True
        level = deeper
    return False
