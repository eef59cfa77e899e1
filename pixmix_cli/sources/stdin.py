"""stdin as a stream of bytes that is read to its end."""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class _Patient(io.RawIOBase):
    """What a descriptor gives, waited for.

    A pipe may be set not to block, by us or by any process that shares it. Python's stream takes
    "nothing yet" for less than was asked for, and so for the end.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Some bytes; none at the end alone. Raises OSError."""
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                more = select.poll()
                more.register(self._descriptor, select.POLLIN)
                more.poll()


def stream() -> BinaryIO:
    """stdin, whose `read` gives less than was asked for at the end alone."""
    try:
        return io.BufferedReader(_Patient(sys.stdin.fileno()))
    except OSError:  # a stream in memory
        return sys.stdin.buffer
