"""What a listing follows from, so that it can be used again as long as nothing of it changed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from pixmix_cli.storage import remote

Stamp = list[int] | None  # mtime, ctime (ns), bytes; None where nothing is there

SETTLED_NS = 2_000_000_000  # the coarsest clock of a common file system (FAT's)
_TOGETHER = 256  # files that a thread looks at in turn


class Watched:
    """The folders and files that were read to list a source, as they were just before.

    A file that is added, removed or renamed changes the time of its folder, so 14 million files in
    21,841 folders take 21,841 looks. A file that is written in place does not: see `KnownRef`.

    stamps   of each path
    settled  False where something was changed so shortly before that one more change might leave
             the same time
    matched  the files that SOURCE stands for, where it is a pattern: any folder may get one more
    """

    def __init__(self) -> None:
        """Start empty."""
        self.stamps: dict[str, Stamp] = {}
        self.settled = True
        self.matched: list[str] | None = None

    def look(self, path: str, status: os.stat_result | None = None) -> None:
        """Note how a path is now. Call it before the path is read.

        status  where it is known already
        """
        stamp = stamp_of(path) if status is None else _stamp(status)
        self.stamps[path] = stamp
        if stamp is not None and time.time_ns() - stamp[0] < SETTLED_NS:
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
