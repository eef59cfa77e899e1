"""Signals that end a run: the first is a tidy end, another an end at once; never a traceback."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

AGAIN_SECONDS = 1  # within it a second signal is the first one said twice, as `timeout` does

WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up", "SIGQUIT": "quit"}


class Stopped(BaseException):
    """A signal arrived: clean up and stop."""

    def __init__(self, number: int) -> None:
        """number: of the signal."""
        super().__init__(number)
        self.number = number

    @property
    def word(self) -> str:
        """What happened, for the user."""
        return WORDS[signal.Signals(self.number).name]

    @property
    def exit_code(self) -> int:
        """As shells have it."""
        return 128 + self.number


class Endings:
    """Turns signals into `Stopped` while a command runs."""

    def __init__(self) -> None:
        """Nothing is changed yet."""
        self._first: float | None = None

    def watch(self) -> None:
        """Handle the signals that are not ignored, as nohup and background jobs have them."""
        for number in _numbers():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on)
        sys.unraisablehook = self._on_lost

    def rest(self) -> None:
        """Let signals end the process by themselves: all is tidied up."""
        for number in _numbers():
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)

    def _on(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._first is None:
            self._first = now
            raise Stopped(number)
        if now - self._first > AGAIN_SECONDS:
            os._exit(128 + number)  # workers end with us; a later run sweeps what is left

    def _on_lost(self, lost: Any) -> None:
        """Python drops what is raised in a destructor: have the signal come again, after it."""
        if not isinstance(lost.exc_value, Stopped):
            sys.__unraisablehook__(lost)
            return
        self._first = None
        again = threading.Timer(0.01, os.kill, (os.getpid(), lost.exc_value.number))
        again.daemon = True
        again.start()


def _numbers() -> list[int]:
    found = []
    for name in WORDS:
        with contextlib.suppress(AttributeError):  # Windows has not all
            found.append(getattr(signal, name))
    return found
