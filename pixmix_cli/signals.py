"""Signals that end a run: the first is a tidy end, another an end at once; never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

AFTER_SECONDS = 0.01  # until a signal that was dropped comes again
AGAIN_SECONDS = 1  # within it a second signal is the first one said twice, as `timeout` does

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up", "SIGQUIT": "quit"}


class Stopped(BaseException):
    """A signal arrived: clean up and stop.

    Python and libraries drop exceptions in some places: in destructors, in imports that go on
    without an optional part. One that is dropped before it is told calls `dropped`.
    """

    def __init__(self, number: int, dropped: Callable[[int], None] = lambda number: None) -> None:
        """number: of the signal."""
        super().__init__(number)
        self.number = number
        self._dropped = dropped
        self._told = False

    def tell(self) -> tuple[str, int]:
        """What happened, for the user, and the exit code, as shells have it."""
        self._told = True
        return WORDS[signal.Signals(self.number).name], 128 + self.number

    def __del__(self) -> None:
        """Nobody holds it any more."""
        if not self._told:
            self._dropped(self.number)


def behind(error: BaseException | None) -> Stopped | None:
    """The signal that another error came of: a library made it an error of its own."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__cause__ or error.__context__
    return error


class Endings:
    """Turns signals into `Stopped` while a command runs."""

    def __init__(self) -> None:
        """Nothing is changed yet."""
        self._first: float | None = None
        self._resting = False

    def watch(self) -> None:
        """Handle the signals that are not ignored, as nohup and background jobs have them."""
        for number in _numbers():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on)
        sys.unraisablehook = _say_nothing_of_signals

    def rest(self) -> None:
        """Let signals end the process by themselves: all is tidied up."""
        self._resting = True
        for number in _numbers():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)

    def _on(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            raise Stopped(number, self._again)
        if now - self._first > AGAIN_SECONDS:
            os._exit(128 + number)  # workers end with us; a later run sweeps what is left

    def _again(self, number: int) -> None:
        """Have the signal come once more, outside of what has dropped it."""
        if not self._resting:
            self._first = None
            again = threading.Timer(AFTER_SECONDS, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()


def _say_nothing_of_signals(lost: Any) -> None:
    """What Python calls with an exception that it drops."""
    if not isinstance(lost.exc_value, Stopped):
        sys.__unraisablehook__(lost)


def _numbers() -> list[int]:
    found = []
    for name in WORDS:
        with contextlib.suppress(AttributeError):  # Windows has not all
            found.append(getattr(signal, name))
    return found
