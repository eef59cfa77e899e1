"""Locks of a local output, held by flock."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

from pixmix_cli.errors import OutputBusyError, StorageError
from pixmix_cli.outputs.part import Part
from pixmix_cli.storage.inside import open_file


def acquire(lock: Path, output: Path, seconds: float = 0, *, shared: bool = False) -> int:
    """Hold the lock file; the kernel lets go of it when this process ends, however it ends.

    seconds  to wait for it
    shared   together with others that say so
    raises   OutputBusyError; InputError for a link in its place; StorageError
    """
    until = time.monotonic() + seconds
    while True:
        try:
            descriptor = open_file(lock, os.O_RDWR | os.O_CREAT)
        except FileNotFoundError:  # the run before us has just removed the folder
            lock.parent.mkdir(parents=True, exist_ok=True)
            continue
        except OSError as error:
            raise StorageError.from_os_error(error, str(output)) from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise OutputBusyError(
                f"output {output} is being written by another pixmix run (process {holder})",
                "wait for it, or another --output",
            ) from None
        except OSError as error:
            os.close(descriptor)
            failed = StorageError.from_os_error(error, str(lock), "locking")
            failed.hint = failed.hint or "an --output on a file system that has locks (flock)"
            raise failed from error
        try:
            same = os.fstat(descriptor).st_ino == lock.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)  # that file was removed between our open and our lock: once more


_PART_LOCK = re.compile(r"lock-([0-9]+)-of-([0-9]+)")


def acquire_part(meta: Path, part: Part, output: Path) -> int:
    """Hold a part's lock, provided that nobody else does and that all others cut the work alike."""
    for file in sorted(meta.glob("lock-*")):
        match = _PART_LOCK.fullmatch(file.name)
        if match is None or int(match[2]) == part.count:
            continue
        try:
            os.close(acquire(file, output))
        except OutputBusyError:
            raise OutputBusyError(
                f"output {output} is being written in {int(match[2])} parts, not in {part.count}",
                f"--shard i/{int(match[2])}, or wait for them",
            ) from None
    try:
        return acquire(meta / f"lock-{part.name}", output)
    except OutputBusyError as error:
        raise OutputBusyError(f"part {part}: {error.message}", "another part") from None
