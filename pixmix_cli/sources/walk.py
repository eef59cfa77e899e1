"""Folders listed in a fixed order, here or elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from pixmix_cli.errors import StorageError
from pixmix_cli.sources.pictures import Warn
from pixmix_cli.storage import remote
from pixmix_cli.storage.remote import AnyPath, Url

Files = list[os.DirEntry[str]] | list[remote.Entry]


def walk(root: AnyPath, warn: Warn) -> Iterator[tuple[str, Files]]:
    """Every folder below root in sorted order, links followed, loops not: (relative path, files).

    Hidden files and folders are passed over.

    raises  StorageError for a folder that cannot be listed
    """
    if isinstance(root, Url):
        return remote.walk(root)
    return _walk(str(root), "", frozenset(), warn)


def walk_each(roots: Sequence[AnyPath], warn: Warn) -> Iterator[Iterable[tuple[str, Files]]]:
    """`walk` of each of several folders; remote ones are listed several at a time."""
    if any(isinstance(root, Url) for root in roots):
        return remote.ahead(lambda root: list(walk(root, warn)), roots)
    return (walk(root, warn) for root in roots)


def _walk(
    folder: str, relative: str, above: frozenset[tuple[int, int]], warn: Warn
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be listed ({error.strerror})", "its permissions, or without it"
        ) from None
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        warn(f"{folder} is a link to a folder above it; not followed")
        return
    above = above | {identity}
    files: list[os.DirEntry[str]] = []
    folders: list[os.DirEntry[str]] = []
    for entry in listing:
        if entry.name.startswith("."):
            continue
        try:
            kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
        except OSError:  # a link to itself
            kind = "other"
        if kind == "folder":
            folders.append(entry)
        elif kind == "file" or entry.is_symlink():  # a dangling link is reported when it is read
            files.append(entry)
        else:
            warn(f"{entry.path} is no regular file; left out")
    yield relative, files
    for entry in folders:
        yield from _walk(entry.path, f"{relative}{entry.name}/", above, warn)


def length_at(path: AnyPath) -> int:
    """A file's bytes. Raises StorageError, OSError."""
    return path.length if isinstance(path, Url) else path.stat().st_size


def length_of(entry: os.DirEntry[str] | remote.Entry) -> int:
    """A file's bytes; 0 for a link that leads nowhere, which is reported when it is read."""
    if isinstance(entry, remote.Entry):
        return entry.length
    try:
        return entry.stat().st_size
    except OSError:
        return 0
