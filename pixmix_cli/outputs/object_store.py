"""An output in an object store: each step is made in a local mirror and repeated in the store.

An object store has no rename, no appending and no flock. What a `LocalStore` does with them is done
in the mirror (see mirror.py), which all decisions read as they would read a local output. Every
step that counts is repeated in the store:

    an artefact       stored as one object, looked at, then stood in for
    rows              gathered for FLUSH_SECONDS, then stored as OUT/.pixmix/journal-<unique>.jsonl
    manifest and co.  stored in the same order; the objects below .pixmix are removed last
    the lock          an object OUT/.pixmix/lock-..., written again and again, see object_lock.py
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pixmix_cli.errors import OutputBusyError, StorageError
from pixmix_cli.outputs.file_names import META, PLAN, TRASH
from pixmix_cli.outputs.local_store import Journal
from pixmix_cli.outputs.mirror import is_private, refresh
from pixmix_cli.outputs.object_lock import Lock
from pixmix_cli.outputs.part import Part
from pixmix_cli.storage import remote
from pixmix_cli.storage.files import Tmp
from pixmix_cli.storage.remote import Upload, Url

FLUSH_SECONDS = 5  # of finished work that a kill may cost; a request each


class ObjectStore:
    """An output elsewhere, and its mirror here. As Store."""

    def __init__(self, mirror: Path, url: Url, part: Part | None = None) -> None:
        """Nothing is written or locked yet.

        part  which part of the output this run fills
        """
        self.path = mirror
        self._url = url
        self._part = part
        self._meta = mirror / META
        self.local_tmp = self._meta / "tmp"
        self.tmp: Tmp = Upload(self.local_tmp, mirror, str(url))
        self._journal = Journal(self._meta / "journal.jsonl")
        self._unsent = b""
        self._sent = frozenset[str]()
        self._flushed = float("-inf")
        self._lock: Lock | None = None

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """As Store's. A lock that is not written again grows stale."""
        self._meta.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self._url, "alone" if self._part is None else self._part.name)
        try:
            self.refresh()
            yield
        except BaseException:
            self.release()
            raise

    def hold_alone(self) -> bool:
        """As Store's.

        Each part gives its lock up before it looks for others', so the last one finds none. Of two
        that end at the same moment one or both find that they are the last; both would then write
        the same bytes.
        """
        self._unlock()
        try:
            self._lock = Lock(self._url, "ending")
        except OutputBusyError:
            return False
        self.refresh()
        return True

    def release(self) -> None:
        """As Store's."""
        with contextlib.suppress(OSError, StorageError):
            if not any((self._meta / name).exists() for name in ("plan.json", TRASH)):
                self.remove_folder(self._meta)
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def record(self, lines: bytes) -> None:
        """As Store's: at once in the mirror, every FLUSH_SECONDS in the store."""
        self._journal.append(lines)
        self._unsent += lines
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._send_rows()

    def hand_out(self, lines: bytes) -> None:
        """As Store's: an object each time."""
        name = self._new_name("handed-out")
        remote.write(f"{self._url}/{META}/{name}", lines)
        (self._meta / name).write_bytes(lines)
        self._sent |= {name}

    def flush(self) -> None:
        """As Store's."""
        self._journal.close()
        self._send_rows()

    def _send_rows(self) -> None:
        if not self._unsent:
            return
        name = self._new_name("journal")
        remote.write(f"{self._url}/{META}/{name}", self._unsent)
        self._sent |= {name}
        self._unsent = b""
        self._flushed = time.monotonic()

    def _new_name(self, kind: str) -> str:
        """Named by the time, since later rows count; and like no other run's."""
        suffix = "" if self._part is None else f"-{self._part.name}"
        return f"{kind}-{time.time_ns():020d}{suffix}-{os.urandom(4).hex()}.jsonl"

    def refresh(self) -> None:
        """As Store's: the mirror shows it then."""
        refresh(self.path, self._url, self._sent)

    def at_hand(self, file: Path) -> Path:
        """A copy of the file, good until the next one."""
        copy = self.local_tmp / "copy"
        try:
            remote.fetch(f"{self._url}/{file.relative_to(self.path).as_posix()}", copy)
        except FileNotFoundError:
            raise StorageError(f"{file} is gone") from None
        return copy

    def remove(self, files: Iterable[Path]) -> None:
        """As Store's."""
        there = [file for file in files if file.exists()]
        names = [file.relative_to(self.path).as_posix() for file in there]
        remote.remove(f"{self._url}/{name}" for name in names if not is_private(name))
        for file in there:
            file.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove what the mirror knows; the plan first, without which the rest says nothing."""
        if folder == self._meta:
            self.remove([self.path / PLAN])
            remote.remove(f"{self._url}/{META}/{name}" for name in self._sent)
            self._sent = frozenset()
        self.remove(path for path in list(folder.rglob("*")) if path.is_file())
        shutil.rmtree(folder, ignore_errors=True)
