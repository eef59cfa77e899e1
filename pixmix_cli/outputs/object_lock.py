"""The lock of an output in an object store: an object that says who is at work.

A run writes its own, then lists; it gives way to any other that is alive. Two that start
at the same moment may both give way, and never both go on, as long as the store lists what was
written (S3 does, since 2020). A lock that was not written again for STALE seconds is of a run that
died; of a run that died on this machine that is known at once. A run that is slow to claim it
writes and looks again. One that is paused later, for longer, may find another beside it: both then
write the same bytes under the same names.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import threading
import time
from typing import Any

from pixmix_cli.errors import InputError, OutputBusyError, StorageError
from pixmix_cli.outputs.file_names import META
from pixmix_cli.storage import remote
from pixmix_cli.storage.remote import Url

HEARTBEAT, STALE = 20, 120  # seconds
SLOW = 60  # seconds that claiming a lock may take, well before others call it stale

_LOCK = re.compile(r"lock-(alone|ending|([0-9]+)-of-([0-9]+))-[0-9a-f]+")


class Lock:
    """An object that says who is at work on an output, written again and again."""

    def __init__(self, url: Url, role: str) -> None:
        """Claim it.

        role    "alone", "ending", or a part's name
        raises  OutputBusyError, StorageError
        """
        self._url = url
        self._role = role
        self._name = f"lock-{role}-{os.urandom(6).hex()}"
        self._ended = threading.Event()
        try:
            self._claim()
        except BaseException:
            self.release()
            raise
        threading.Thread(target=self._beat, daemon=True).start()

    def _claim(self) -> None:
        while True:
            begin = time.monotonic()
            self._write()
            self._give_way()
            # nothing beats yet: a look that took this long may have been overtaken by a run to
            # which this lock seemed stale
            if time.monotonic() - begin < SLOW:
                return

    @property
    def _text(self) -> str:
        return f"{self._url}/{META}/{self._name}"

    def _write(self) -> None:
        holder = {"host": platform.node(), "process": os.getpid()}
        remote.write(self._text, json.dumps(holder).encode())

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT):
            with contextlib.suppress(StorageError, InputError):
                self._write()

    def release(self) -> None:
        """Let go of it; what cannot be removed grows stale."""
        self._ended.set()
        with contextlib.suppress(StorageError):
            remote.remove([self._text])

    def _give_way(self) -> None:
        """Raise OutputBusyError where a lock is held that excludes this one."""
        system, _ = remote.opened(self._url)
        now = _modified(system, self._text)
        for child in remote.Url(f"{self._url}/{META}").iterdir():
            match = _LOCK.fullmatch(child.name)
            if match is None or child.name == self._name or not self._excludes(match):
                continue
            age = now - _modified(system, str(child))
            holder = _holder(child)
            if age > STALE or _is_dead_here(holder):
                remote.remove([str(child)])
                continue
            who = f"process {holder.get('process')} on {holder.get('host')}"
            if match[3] is not None and self._role not in ("alone", "ending"):
                count = int(match[3])
                what = f"part {match[2].lstrip('0') or 0}/{count} of output {self._url}"
                raise OutputBusyError(
                    f"{what} is being written by another pixmix run ({who})",
                    f"another part, of {count}",
                )
            raise OutputBusyError(
                f"output {self._url} is being written by another pixmix run ({who}, last heard of "
                f"{max(age, 0):.0f} s ago)",
                f"wait for it (a run that died counts for {STALE} s), or another --output",
            )

    def _excludes(self, other: re.Match[str]) -> bool:
        """Whether another lock cannot be held beside this one."""
        mine, others = self._role, other[1]
        if mine == "ending":  # of two the one of the smaller name goes on
            return others != "ending" or other[0] < self._name
        if others == "ending":
            return mine == "alone"
        if "alone" in (mine, others):
            return True
        return mine == others or int(mine.rpartition("-")[2]) != int(other[3])


def _modified(system: Any, text: str) -> float:
    """When an object was written, by the store's clock; long ago where it is gone."""
    name = system._strip_protocol(text)
    try:
        when = remote.attempt("looking at", text, lambda: system.modified(name))
    except FileNotFoundError:
        return float("-inf")
    seconds: float = when.timestamp()
    return seconds


def _holder(lock: Url) -> dict[str, Any]:
    try:
        holder = json.loads(lock.read_bytes())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _is_dead_here(holder: dict[str, Any]) -> bool:
    """Whether a lock is of a process of this machine that is no more."""
    process = holder.get("process")
    if holder.get("host") != platform.node() or type(process) is not int or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False
