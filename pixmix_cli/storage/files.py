"""Files written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.storage import remote
from pixmix_cli.storage.inside import TmpFolder

Tmp = Path | TmpFolder | remote.Upload  # where partial files are


def canonical_json(value: Any) -> str:
    """One line of JSON with sorted keys: equal values give equal text."""
    return _CANONICAL.encode(value)


# a text as canonical JSON has it, in quotes, without an encoder
json_text = json.encoder.encode_basestring_ascii

# made once: json.dumps makes an encoder a call, which takes as long as a short record
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_hex(data: bytes) -> str:
    """The SHA-256 of some bytes, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class PartialFile:
    """A file under a temporary name that becomes `final` on commit and nothing on failure.

    The temporary name is like no other, so that a worker that outlives its parent for a moment
    never writes into a file of the run that comes after it, nor one machine into another's.
    """

    def __init__(self, final: Path, tmp: Tmp, gathered: int = -1) -> None:
        """Open the temporary file.

        final     the name it will have
        tmp       folder for the temporary name, on the same file system; a TmpFolder where no link
                  is to be followed on the way to the final name; an Upload where the file's real
                  place is elsewhere
        gathered  bytes that are gathered before they are written; by default few
        raises StorageError
        """
        self.final = final
        self._upload = tmp if isinstance(tmp, remote.Upload) else None
        self._tmp_folder = tmp if isinstance(tmp, TmpFolder) else None
        self._partial = tmp / f"{os.getpid()}-{os.urandom(6).hex()}"
        self._hash = hashlib.sha256()
        self.bytes = 0
        try:
            self._file: BinaryIO = self._partial.open("wb", gathered)
        except OSError as error:
            raise StorageError.from_os_error(error, str(final)) from error

    def write(self, data: bytes | memoryview) -> None:
        """Append bytes, or a view of them. Raises StorageError, after removing the partial file."""
        try:
            self._file.write(data)
        except OSError as error:
            self.discard()
            raise StorageError.from_os_error(error, str(self.final)) from error
        self._hash.update(data)
        self.bytes += len(data)

    @property
    def sha256(self) -> str:
        """The SHA-256 of what was written so far."""
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close it for now, under its temporary name: many can wait without a descriptor each."""
        try:
            self._file.close()
        except OSError as error:
            self.discard()
            raise StorageError.from_os_error(error, str(self.final)) from error

    def flush_to_disk(self) -> None:
        """Make the bytes durable; the file keeps its temporary name."""
        try:
            if self._file.closed:
                self._file = self._partial.open("rb")
            else:
                self._file.flush()
            if self._upload is None:
                os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            self.discard()
            raise StorageError.from_os_error(error, str(self.final)) from error

    def rename(self) -> None:
        """Give the file its final name, which replaces a file of that name at once.

        raises  InputError where a link leads there; StorageError
        """
        try:
            if self._upload is not None:
                self._upload.send(self._partial, self.final, self.sha256)
                return
            if self._tmp_folder is not None:
                self._tmp_folder.rename(self._partial, self.final)
                return
            self.final.parent.mkdir(parents=True, exist_ok=True)
            self._partial.replace(self.final)
        except InputError:
            self.discard()
            raise
        except OSError as error:
            self.discard()
            raise StorageError.from_os_error(error, str(self.final)) from error

    @property
    def is_elsewhere(self) -> bool:
        """Whether its real place is elsewhere."""
        return self._upload is not None

    def commit(self) -> None:
        """Durable bytes, then the final name, then the durable name."""
        commit_all([self])

    def discard(self) -> None:
        """Remove the temporary file; safe to call at any time."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._partial.unlink(missing_ok=True)


@contextlib.contextmanager
def partial_files(finals: Iterable[Path], tmp: Tmp) -> Iterator[list[PartialFile]]:
    """Several files that are committed together at the end of the block, or not at all."""
    files: list[PartialFile] = []
    try:
        for final in finals:
            files.append(PartialFile(final, tmp))
        yield files
        commit_all(files)
    except BaseException:
        for file in files:
            file.discard()
        raise


def commit_all(files: list[PartialFile]) -> None:
    """Commit several files: all made durable first, so that the disk can gather the work."""
    for file in files:
        file.flush_to_disk()
    if any(file.is_elsewhere for file in files):
        for _ in remote.ahead(PartialFile.rename, files):
            pass
        return
    for file in files:
        file.rename()
    for folder in {file.final.parent for file in files}:
        sync_directory(folder)


def write_whole(path: Path, data: bytes, tmp: Tmp | None = None) -> None:
    """Write one file whole or not at all.

    tmp     folder for the temporary name; the file's own folder when not given
    raises  StorageError
    """
    with partial_files([path], tmp or path.parent) as (file,):
        file.write(data)


def read_bytes(path: Path) -> bytes:
    """A file's bytes. Raises StorageError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error
