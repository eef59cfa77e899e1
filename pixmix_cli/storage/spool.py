"""Temporary files of this run: streams, archives and remote files, made into files to seek in."""

from __future__ import annotations

import atexit
import bz2
import contextlib
import fcntl
import functools
import lzma
import os
import shutil
import socket
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from gzip import GzipFile
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
UNNAMED_LOCK = f"{LOCK}-new"  # before it is locked
UNLOCKED_SECONDS = 3600  # old enough for a folder without a lock: a run locks its own at once

_folders: dict[str, int] = {}  # each with the descriptor of its lock


def new_file(name: str) -> Path:
    """A path in a folder of this run's own, which is removed when the process ends.

    A run that was killed leaves its folder; the first call of a later run removes it.

    raises  StorageError when no temporary folder can be made
    """
    place = temporary_folder()
    if place is None:
        raise StorageError(
            "there is no folder for temporary files that can be written to", "TMPDIR=/a/folder"
        )
    _begin(place)
    try:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        _folders[folder] = _locked(Path(folder))
    except OSError as error:
        raise StorageError.from_os_error(error, place) from error
    return Path(folder) / name


def temporary_folder() -> str | None:
    """Where temporary files go; None where no such folder can be written to."""
    try:
        return tempfile.gettempdir()
    except OSError:  # none can be written to
        return None


def is_temporary(path: str) -> bool:
    """Whether a path lies in a folder that `new_file` has made."""
    return any(path.startswith(f"{folder}{os.sep}") for folder in _folders)


def sweep() -> None:
    """Remove what runs on this machine left that were killed. Never fails."""
    place = temporary_folder()
    if place is not None:
        _begin(place)


@functools.cache
def _begin(place: str) -> None:
    """Once a run: see to the end, and remove what others left."""
    atexit.register(remove_all)
    _remove_orphans(Path(place))


def _locked(folder: Path) -> int:
    """Lock a folder for as long as this process lives; the lock has its name once it is held."""
    unnamed = folder / UNNAMED_LOCK
    descriptor = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(descriptor, socket.gethostname().encode())
    with contextlib.suppress(OSError):  # a file system without locks: the folder is never swept
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        unnamed.rename(folder / LOCK)
    return descriptor


def _remove_orphans(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            if time.time() - status.st_mtime > UNLOCKED_SECONDS and _never_locked(folder):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                if os.read(descriptor, 256) == socket.gethostname().encode():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while it lives
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _never_locked(folder: Path) -> bool:
    """Whether a run was killed between making the folder and locking it."""
    return {path.name for path in folder.iterdir()} <= {UNNAMED_LOCK}


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


@dataclass(frozen=True, slots=True)
class Packing:
    """A way of compression.

    name    as people call it
    start   what its files begin with
    tool    unpacks one, and is named in the mend
    opener  reads one; None where Python has nothing for it
    """

    name: str
    start: bytes
    tool: str
    opener: Callable[[BinaryIO], GzipFile | bz2.BZ2File | lzma.LZMAFile] | None = None

    def mend(self, name: str) -> str:
        """What to do with a file that is packed so."""
        return f"{self.tool} {name}"


_PACKINGS = (
    Packing("gzip", b"\x1f\x8b", "gunzip", lambda raw: GzipFile(fileobj=raw)),
    Packing("bzip2", b"BZh", "bunzip2", bz2.BZ2File),
    Packing("xz", b"\xfd7zXZ\0", "unxz", lzma.LZMAFile),
    Packing("zstd", b"\x28\xb5\x2f\xfd", "unzstd"),
    Packing("lz4", b"\x04\x22\x4d\x18", "unlz4"),
    Packing("lzip", b"LZIP", "lzip -d"),
    Packing("compress", b"\x1f\x9d", "uncompress"),
    Packing("zip", b"PK\3\4", "unzip"),
    Packing("7z", b"7z\xbc\xaf\x27\x1c", "7z x"),
    Packing("rar", b"Rar!", "unrar x"),
)
HEAD = 8  # bytes of a file that tell how it is packed


def packing_of(head: bytes) -> Packing | None:
    """How a file is packed that begins with these bytes; None for one that is not."""
    return next((one for one in _PACKINGS if head.startswith(one.start)), None)


def unpacked(path: Path) -> Path:
    """A file itself, or where it is compressed what is in it, as a temporary file.

    raises  InputError: packed in a way that is not read, damaged, or it grows more than pictures
            can; StorageError
    """
    packing = None
    try:
        with path.open("rb") as raw:
            packing = packing_of(raw.read(HEAD))
            if packing is None:
                return path
            if packing.opener is None:
                raise InputError(f"{path} is packed by {packing.name}", packing.mend(path.name))
            raw.seek(0)
            limit = MAX_GROWTH_FREE + MAX_GROWTH * os.fstat(raw.fileno()).st_size
            with packing.opener(raw) as content:
                return unpack(content.read, path.stem, limit, str(path))
    except OSError as error:
        if error.errno is not None:
            raise StorageError.from_os_error(error, str(path), "reading") from error
        raise _damaged(path, packing, error) from None  # as BadGzipFile
    except (EOFError, zlib.error, lzma.LZMAError, ValueError) as error:
        raise _damaged(path, packing, error) from None


def _damaged(path: Path, packing: Packing | None, error: Exception) -> InputError:
    name = "compressed" if packing is None else packing.name
    return InputError(f"{path} is not whole {name} data: {error}")


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
