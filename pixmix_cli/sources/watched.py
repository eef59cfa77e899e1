"""What a listing follows from, so that it can be used again as long as nothing of it changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from pixmix_cli.storage import remote

Stamp = list[int] | None  # mtime, ctime (ns), bytes; None where nothing is there

SETTLED_NS = 2_000_000_000  # the coarsest clock of a common file system (FAT's)
_TOGETHER = 256  # files that a thread looks at in turn


class Look(NamedTuple):
    """How a path was, and at which time (ns since 1970)."""

    when: int
    status: os.stat_result


def look_at(path: str) -> Look:
    """Look at a path. Raises OSError."""
    return Look(now(), os.stat(path))


def now() -> int:
    """The time, in ns since 1970."""
    return time.time_ns()


class Watched:
    """The folders and files that were read to list a source, as they were just before.

    A file that is added, removed or renamed changes the time of its folder, so 14 million files in
    21,841 folders take 21,841 looks. A file that is written in place does not: see `KnownRef`.

    stamps   of each path
    settled  False where something was changed so shortly before it was looked at that one more
             change might leave the same time
    matched  the files that SOURCE stands for, where it is a pattern: any folder may get one more
    """

    def __init__(self) -> None:
        """Start empty."""
        self.stamps: dict[str, Stamp] = {}
        self.settled = True
        self.matched: list[str] | None = None

    def look(self, path: str, look: Look | None = None) -> None:
        """Note how a path is now. Call it before the path is read.

        look  where it was looked at already
        """
        when, stamp = (now(), stamp_of(path)) if look is None else (look.when, _stamp(look.status))
        self.stamps[path] = stamp
        if stamp is not None and when - _last_change(stamp, when) < SETTLED_NS:
            self.settled = False

    def look_at_names(self, folder: str) -> None:
        """Note where class names may stand beside a list or tars: see `labels.names_beside`."""
        for above in (folder, os.path.dirname(folder)):
            self.look(os.path.join(above, "classes.json"))


def unchanged(stamps: Iterable[tuple[str, Stamp]]) -> bool:
    """Whether all these paths are as they were; asked for many at a time."""
    todo = list(stamps)
    pieces = [todo[start : start + _TOGETHER] for start in range(0, len(todo), _TOGETHER)]
    return all(remote.ahead(_all_equal, pieces))


def _all_equal(pairs: list[tuple[str, Stamp]]) -> bool:
    return all(stamp_of(path) == stamp for path, stamp in pairs)


def stamp_of(path: str) -> Stamp:
    """How a path is now."""
    try:
        return _stamp(os.stat(path))
    except (OSError, ValueError):
        return None


def _stamp(status: os.stat_result) -> list[int]:
    return [status.st_mtime_ns, status.st_ctime_ns, status.st_size]


def _last_change(stamp: list[int], when: int) -> int:
    """The time of the last change, in ns since 1970.

    Who copies a folder may give it any mtime, and a computer keeps ctime itself. So a time in the
    future is nobody's last change, unless ctime says so too, as where a server's clock is ahead.
    """
    mtime, ctime, _ = stamp
    return ctime if mtime > when else max(mtime, ctime)
