"""A finished set read sample by sample, in any order: what training wants.

Files are read with pread: the bytes come from the page cache that all workers share, and a file
that was cut short meanwhile is an error that names it, where a mapping would kill the worker.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import StorageError

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]

OPEN_FILES = 128  # a process's own, well below the 1024 that most systems allow


class CopyReader(Protocol):
    """The samples of a set's copies, in the order of the source.

    labels   (n,) int64
    indices  (n,) int64: places of the samples in the source
    """

    labels: I64
    indices: I64

    def picture(self, copy: str, number: int) -> tuple[str, bytes | U8]:
        """Sample `number` of the copy in a folder.

        returns  a name for error messages, and the picture: (h, w, 3) uint8, or encoded
        raises   StorageError
        """


class Files:
    """Files that stay open from one read to the next, the latest used of them.

    A file has to have the length that its row records. Sent to another process it arrives closed.
    """

    def __init__(self, folder: Path, lengths: dict[str, int]) -> None:
        """folder: the set; lengths: bytes of each file in it, by its path there."""
        self.folder = folder
        self._lengths = lengths
        self._open: OrderedDict[str, int] = OrderedDict()

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes:
        """Some bytes of a file, all of them by default.

        path    inside the set
        raises  StorageError when the file is gone, or not as it was written
        """
        try:
            descriptor = self._open.get(path)
            if descriptor is None:
                descriptor = self._opened(path)
            else:
                self._open.move_to_end(path)
            wanted = self._lengths[path] if length is None else length
            data = os.pread(descriptor, wanted, offset)
        except OSError as error:
            raise self._gone(path, error) from error
        if len(data) != wanted:
            raise self.damaged(path, "it ends too soon")
        return data

    def length(self, path: str) -> int | None:
        """Bytes that a file in the set has to have, where a row tells of it."""
        return self._lengths.get(path)

    def at(self, path: str) -> Path:
        """Where a file lies, once it is known to have its length. Raises StorageError."""
        self.read(path, 0, 0)
        return self.folder / path

    def _opened(self, path: str) -> int:
        descriptor = os.open(self.folder / path, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(descriptor).st_size
        expected = self._lengths.get(path, found)
        if found != expected:
            os.close(descriptor)
            raise self.damaged(path, f"it has {found} bytes, {expected} were written")
        self._open[path] = descriptor
        if len(self._open) > OPEN_FILES:
            os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _gone(self, path: str, error: OSError) -> StorageError:
        if isinstance(error, FileNotFoundError):
            return self.damaged(path, "it is not there")
        return StorageError.from_os_error(error, str(self.folder / path), "reading")

    def damaged(self, path: str, reason: str) -> StorageError:
        """What to raise about a file that is not what was written."""
        return StorageError(
            f"{self.folder / path} is damaged: {reason}", f"pixmix verify {self.folder} --repair"
        )

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        """Close what nobody will read any more, also when Python ends and modules are gone."""
        while self._open:
            close(self._open.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        """Without the open files, which are this process's own."""
        return {**self.__dict__, "_open": OrderedDict()}
