"""What an output asks of the place where it lies: a folder here, or an object store."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from pixmix_cli.storage.files import Tmp


class Store(Protocol):
    """The place of an output, held by one run. Every method raises StorageError or OSError.

    path       folder in which the output is read: itself, or the mirror of one elsewhere
    local_tmp  folder for files of this run alone
    tmp        where partial files are written, on this machine or on another
    """

    path: Path
    local_tmp: Path
    tmp: Tmp

    def beginning(self) -> AbstractContextManager[None]:
        """Hold the output, or a part of it, from here to `release`.

        While the block runs no other part of the output begins. An exception in it releases.

        raises  OutputBusyError
        """

    def hold_alone(self) -> bool:
        """Of a part: hold the whole output, if no other part is at work."""

    def release(self) -> None:
        """Let the next run in."""

    def record(self, lines: bytes) -> None:
        """Append rows to this run's journal. A kill costs none or few of them; see `flush`."""

    def hand_out(self, lines: bytes) -> None:
        """Append to the list of what workers were given to write; durable when this returns."""

    def flush(self) -> None:
        """Make the rows durable."""

    def refresh(self) -> None:
        """See what others have written."""

    def at_hand(self, file: Path) -> Path:
        """A file of the output, to read."""

    def remove(self, files: Iterable[Path]) -> None:
        """Remove files of the output that may be there."""

    def remove_folder(self, folder: Path) -> None:
        """Remove a folder below .pixmix, or .pixmix itself, and what is in it."""
