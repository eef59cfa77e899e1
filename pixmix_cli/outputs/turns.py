"""One of several parts does something that serves all of them, while the others wait."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pixmix_cli.errors import PixMixError
from pixmix_cli.outputs.file_names import META
from pixmix_cli.storage.inside import TmpFolder, check_real, open_file

BEAT_SECONDS = 2.0  # after which who is at work shows that he still is
DEAD_SECONDS = 120.0  # without a beat: stopped, or its machine is gone; network disks tell late
TOLD_SECONDS = 5.0  # after which a wait is told of
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Turn:
    """One's turn, until the block of `turn` is over or `end` is called.

    tmp  a folder for partial files, which is empty
    end  lets the next begin; after it `tmp` is gone
    """

    tmp: TmpFolder
    end: Callable[[], None]


@contextlib.contextmanager
def turn(
    output: Path, name: str, waiting: Callable[[], None], *, wait: bool = True
) -> Iterator[Turn | None]:
    """Take one's turn at something in OUT/.pixmix, once whoever is at it has ended or has died.

    name     of the lock, and what the names of all files of this begin with
    waiting  called once when that takes long
    wait     False: yield None where somebody is at it
    yields   None too where turns cannot be taken: in a place without locks or permission, or where
             the one at work neither ends nor shows that it lives
    A block that fails leaves no folder behind that this call has made.
    """
    meta = output / META
    lock = meta / f"{name}-lock"
    tmp = meta / f"{name}-tmp"
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    with contextlib.ExitStack() as ending:
        held = None
        with contextlib.suppress(OSError, PixMixError):
            held = _acquire(meta, lock, waiting, wait)
        if held is not None:
            ending.callback(os.close, held)
            ending.callback(shutil.rmtree, tmp, ignore_errors=True)
            shutil.rmtree(tmp, ignore_errors=True)
            try:
                tmp.mkdir()
            except OSError:
                held = None
        if held is None:
            ending.close()
            yield None
            return
        ending.enter_context(_beating(held))
        try:
            yield Turn(TmpFolder(tmp, output), ending.close)
        except BaseException:
            ending.close()
            _remove_empty(meta, lock, name, made)
            raise


def _remove_empty(meta: Path, lock: Path, name: str, made: list[Path]) -> None:
    """Remove the files of a turn, and the folders where nothing else is in them.

    made  folders above them, the lowest first
    """
    with contextlib.suppress(OSError, PixMixError):
        held = _try(lock)
        if held is None:  # another is at it
            return
        try:
            names = os.listdir(meta)
            if not all(one.startswith(f"{name}-") for one in names):
                return
            for one in names:
                (meta / one).unlink()
        finally:
            os.close(held)
        for folder in (meta, *made):
            folder.rmdir()


def _try(lock: Path) -> int | None:
    """The lock's descriptor; None where it is held. Raises OSError, InputError."""
    held = open_file(lock, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if lock.exists() and lock.stat().st_ino == os.fstat(held).st_ino:
            return held
    except BlockingIOError:
        pass
    except BaseException:
        os.close(held)
        raise
    os.close(held)  # held by another, or removed between our open and our lock
    return None


def _acquire(meta: Path, lock: Path, waiting: Callable[[], None], wait: bool) -> int | None:
    """The lock's descriptor; None where its holder shows no life, or nobody wants to wait.

    raises  OSError, InputError
    """
    begun = alive = time.monotonic()
    beat, told = None, False
    while True:
        meta.mkdir(parents=True, exist_ok=True)
        check_real(meta)
        try:
            held = _try(lock)
            if held is not None or not wait:
                return held
            seen = lock.stat().st_mtime_ns
        except FileNotFoundError:  # the run before has just removed the folder
            continue
        now = time.monotonic()
        if seen != beat:
            beat, alive = seen, now
        if now - alive > DEAD_SECONDS:
            return None
        if now - begun > TOLD_SECONDS and not told:
            waiting()
            told = True
        time.sleep(_POLL_SECONDS)


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
