"""Temporary files of this run: streams, archives and remote files, made into files to seek in."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import socket
import tempfile
import zlib
from collections.abc import Callable, Iterator
from gzip import BadGzipFile, GzipFile
from pathlib import Path
from typing import BinaryIO

from pixmix_cli.errors import InputError, PixMixError, StorageError
from pixmix_cli.storage import remote
from pixmix_cli.storage.remote import Url

BLOCK = 1 << 20
# Archives of pictures shrink by a few percent, arrays of them by a third. What grows more than this
# when it is unpacked is a bomb, or no dataset.
MAX_GROWTH = 20
MAX_GROWTH_FREE = 64 << 20  # bytes that may always be unpacked

PREFIX = "pixmix-"  # of folders' names
LOCK = "lock"  # file in a folder, locked as long as its run lives: it says on which machine

_folders: dict[str, int] = {}  # each with the descriptor of its lock


def new_file(name: str) -> Path:
    """A path in a folder of this run's own, which is removed when the process ends.

    A run that was killed leaves its folder; the first call of a later run removes it.

    raises  StorageError when no temporary folder can be made
    """
    _begin(tempfile.gettempdir())
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        _folders[folder] = _locked(Path(folder))
    except OSError as error:
        raise StorageError.from_os_error(error, tempfile.gettempdir()) from error
    return Path(folder) / name


@functools.cache
def _begin(place: str) -> None:
    """Once a run: see to the end, and remove what others left."""
    atexit.register(remove_all)
    _remove_orphans(Path(place))


def _locked(folder: Path) -> int:
    """Lock a folder for as long as this process lives; the lock has its name once it is held."""
    unnamed = folder / f"{LOCK}-new"
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(descriptor, socket.gethostname().encode())
    with contextlib.suppress(OSError):  # a file system without locks: the folder is never swept
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unnamed.rename(folder / LOCK)
    return descriptor


def _remove_orphans(place: Path) -> None:
    """Remove the folders of runs on this machine that ended without doing so. Never fails."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.read(descriptor, 256) == socket.gethostname().encode():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while it lives
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def remove_all() -> None:
    """Remove every temporary file of this run."""
    while _folders:
        folder, descriptor = _folders.popitem()
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def discard(path: Path) -> None:
    """Remove a file from `new_file` before the run ends, and its folder."""
    shutil.rmtree(path.parent, ignore_errors=True)
    descriptor = _folders.pop(str(path.parent), None)
    if descriptor is not None:
        os.close(descriptor)


def fetch(url: Url) -> Path:
    """Copy a remote file, or all of a remote folder, into a temporary one.

    raises  StorageError
    """
    target = new_file(url.name)
    if not url.is_dir():
        remote.fetch(str(url), target)
        return target
    _make_folder(target)
    wanted = []
    for relative, entries in remote.walk(url):
        _make_folder(target / relative)
        wanted += [(entry.path, target / relative / entry.name) for entry in entries]
    for _ in remote.ahead(lambda pair: remote.fetch(*pair), wanted):
        pass
    return target


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError.from_os_error(error, str(path)) from error


@contextlib.contextmanager
def errors_about(copy: Path, original: Url | str) -> Iterator[None]:
    """Errors that name a temporary copy name what it is a copy of instead."""
    try:
        yield
    except PixMixError as error:
        error.message = error.message.replace(str(copy), str(original))
        raise


def gunzip(path: Path) -> Path:
    """Unpack a .gz file into a temporary one.

    raises  InputError: not whole gzip data, or it grows more than pictures can; StorageError
    """
    try:
        limit = MAX_GROWTH_FREE + MAX_GROWTH * path.stat().st_size
        with path.open("rb") as raw, GzipFile(fileobj=raw) as unpacked:
            return unpack(unpacked.read, path.stem, limit, str(path))
    except (BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path} is not whole gzip data: {error}") from None
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error


def keep(stream: BinaryIO, name: str, head: bytes = b"") -> Path:
    """Copy a stream to its end into a temporary file, after `head`. Raises StorageError."""
    heads = [head] if head else []
    return unpack(lambda size: heads.pop() if heads else stream.read(size), name, None, "stdin")


def unpack(read: Callable[[int], bytes], name: str, limit: int | None, where: str) -> Path:
    """Copy what `read` gives, block by block, into a temporary file.

    limit   bytes beyond which it is refused
    raises  InputError, StorageError
    """
    target = new_file(name)
    total = 0
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(target.open("wb"))
        except OSError as error:
            raise StorageError.from_os_error(error, str(target)) from error
        while block := read(BLOCK):
            total += len(block)
            if limit is not None and total > limit:
                raise InputError(
                    f"{where} grows more than {MAX_GROWTH}-fold when it is unpacked",
                    "gunzip it first, if it is no gzip bomb",
                )
            try:
                file.write(block)
            except OSError as error:
                raise StorageError.from_os_error(error, str(target)) from error
    return target
