"""Runners for tests that start many workers: a module that imports next to nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

LARGE = 3 << 20  # bytes: many times what a socket takes at once

Task = tuple[int, bytes]


def make_echo(seconds: float) -> Callable[[Task], bytes]:
    """A runner that gives LARGE bytes, other ones for each task."""

    def echo(task: Task) -> bytes:
        time.sleep(seconds)
        return bytes([task[0]]) * LARGE

    return echo
