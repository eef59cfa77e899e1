"""One of several parts does something that serves all of them, while the others wait."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pixmix_cli.errors import PixMixError
from pixmix_cli.outputs.file_names import META
from pixmix_cli.storage.inside import TmpFolder, check_real, open_file

BEAT_SECONDS = 2.0  # after which who is at work shows that he still is
DEAD_SECONDS = 120.0  # without a beat: stopped, or its machine is gone; network disks tell late
TOLD_SECONDS = 5.0  # after which a wait is told of
_POLL_SECONDS = 0.1


@contextlib.contextmanager
def turn(output: Path, name: str, waiting: Callable[[], None]) -> Iterator[TmpFolder | None]:
    """Take one's turn at something in OUT/.pixmix, once whoever is at it has ended or has died.

    name     of the lock, and of a folder for partial files, which is empty
    waiting  called once when that takes long
    yields   the folder; None where turns cannot be taken: in a place without locks or permission,
             or where the one at work neither ends nor shows that it lives
    A block that fails leaves no folder behind that this call has made.
    """
    meta = output / META
    made = not output.exists()
    held = None
    with contextlib.suppress(OSError, PixMixError):
        held = _acquire(meta, meta / f"{name}-lock", waiting)
    if held is None:
        yield None
        return
    tmp = meta / f"{name}-tmp"
    try:
        shutil.rmtree(tmp, ignore_errors=True)
        try:
            tmp.mkdir()
        except OSError:
            yield None
            return
        with _beating(held):
            yield TmpFolder(tmp, output)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        _remove_empty(output, meta, name, made)
        raise
    finally:
        shutil.rmtree(tmp, ignore_errors=True)
        os.close(held)


def _remove_empty(output: Path, meta: Path, name: str, made: bool) -> None:
    """Remove the lock, and the folders where nothing else is in them."""
    with contextlib.suppress(OSError):
        if [entry.name for entry in os.scandir(meta)] == [f"{name}-lock"]:
            (meta / f"{name}-lock").unlink()
            meta.rmdir()
            if made:
                output.rmdir()


def _acquire(meta: Path, lock: Path, waiting: Callable[[], None]) -> int | None:
    """The lock's descriptor; None where its holder shows no life. Raises OSError, InputError."""
    begun = alive = time.monotonic()
    beat, told = None, False
    while True:
        meta.mkdir(parents=True, exist_ok=True)
        check_real(meta)
        try:
            held = open_file(lock, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # the run before has just removed the folder
            continue
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if lock.exists() and lock.stat().st_ino == os.fstat(held).st_ino:
                return held
        except BlockingIOError:
            status, now = os.fstat(held), time.monotonic()
            if status.st_mtime_ns != beat:
                beat, alive = status.st_mtime_ns, now
            if now - alive > DEAD_SECONDS:
                os.close(held)
                return None
            if now - begun > TOLD_SECONDS and not told:
                waiting()
                told = True
            time.sleep(_POLL_SECONDS)
        except BaseException:
            os.close(held)
            raise
        os.close(held)  # held by another, or removed between our open and our lock: once more


@contextlib.contextmanager
def _beating(held: int) -> Iterator[None]:
    """Touch the lock file again and again, so that those who wait see that this process lives."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(held)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
