"""An output in a folder: flock, fsync, and a journal that is appended to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from pixmix_cli.errors import StorageError
from pixmix_cli.outputs.file_names import META, TRASH
from pixmix_cli.outputs.locks import acquire, acquire_part
from pixmix_cli.outputs.part import Part
from pixmix_cli.outputs.row_files import open_journal
from pixmix_cli.storage import inside
from pixmix_cli.storage.files import Tmp
from pixmix_cli.storage.inside import TmpFolder

SYNC_SECONDS = 0.5  # how much finished work a power loss may cost; kill -9 costs none of it
WAIT_SECONDS = 30  # that a part waits while another one starts or finishes


class Journal:
    """The rows of one run's finished work, in a file that is appended to."""

    def __init__(self, path: Path) -> None:
        """Nothing is opened before the first row."""
        self._path = path
        self._descriptor: int | None = None
        self._synced = time.monotonic()

    def append(self, lines: bytes, *, durable: bool = False) -> None:
        """Write whole lines, durable when this returns if need be. Raises OSError."""
        if self._descriptor is None:
            self._descriptor = open_journal(self._path)
        view = memoryview(lines)
        while view:
            view = view[os.write(self._descriptor, view) :]
        if durable or time.monotonic() - self._synced > SYNC_SECONDS:
            os.fsync(self._descriptor)
            self._synced = time.monotonic()

    def close(self) -> None:
        """Make it durable and close it; the next row opens it again. Raises OSError."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


class LocalStore:
    """A folder of this machine, or one that several machines see. As Store."""

    def __init__(self, path: Path, part: Part | None = None) -> None:
        """Nothing is made or locked yet.

        part  which part of the output this run fills
        """
        self.path = path
        self._part = part
        self._meta = path / META
        suffix = "" if part is None else f"-{part.name}"
        self.local_tmp = self._meta / f"tmp{suffix}"
        self.tmp: Tmp = TmpFolder(self.local_tmp, path)
        self._journal = Journal(self._meta / f"journal{suffix}.jsonl")
        self._handed_out = Journal(self._meta / f"handed-out{suffix}.jsonl")
        self._lock: int | None = None
        self._part_lock: int | None = None

    @contextlib.contextmanager
    def beginning(self) -> Iterator[None]:
        """As Store's. The locks go when this process ends, however it ends."""
        made = not self.path.exists()
        try:
            self._meta.mkdir(parents=True, exist_ok=True)
            inside.check_real(self._meta)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error
        part, lock = self._part, self._meta / "lock"
        starting = None
        try:
            if part is None:
                self._lock = acquire(lock, self.path)
            else:
                self._lock = acquire(lock, self.path, WAIT_SECONDS, shared=True)
                starting = acquire(self._meta / "starting", self.path, WAIT_SECONDS)
                self._part_lock = acquire_part(self._meta, part, self.path)
            yield
        except BaseException:
            self.release()
            if made:
                with contextlib.suppress(OSError):
                    self.path.rmdir()
            raise
        finally:
            if starting is not None:
                os.close(starting)

    def hold_alone(self) -> bool:
        """As Store's. The last part to end succeeds: each gives up its share, then asks for all."""
        assert self._lock is not None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """As Store's."""
        if self._lock is None:
            return
        # A folder that says nothing (neither plan nor trash) is only this run's lock: away with it.
        with contextlib.suppress(OSError):
            if not any((self._meta / name).exists() for name in ("plan.json", TRASH)):
                if self._part is not None:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or others are there
                # or another part has finished it all, and this is the folder of the run after it
                if os.fstat(self._lock).st_ino == (self._meta / "lock").stat().st_ino:
                    self.remove_folder(self._meta)
        if self._part_lock is not None:
            os.close(self._part_lock)
        os.close(self._lock)
        self._lock = self._part_lock = None

    def record(self, lines: bytes) -> None:
        """As Store's."""
        self._journal.append(lines)

    def hand_out(self, lines: bytes) -> None:
        """As Store's."""
        self._handed_out.append(lines, durable=True)

    def flush(self) -> None:
        """As Store's."""
        self._handed_out.close()
        self._journal.close()

    def refresh(self) -> None:
        """A folder shows what is there."""

    def at_hand(self, file: Path) -> Path:
        """The file itself."""
        return file

    def remove(self, files: Iterable[Path]) -> None:
        """As Store's."""
        for file in files:
            inside.unlink(self.path, file)

    def remove_folder(self, folder: Path) -> None:
        """As Store's."""
        shutil.rmtree(folder, ignore_errors=True)
