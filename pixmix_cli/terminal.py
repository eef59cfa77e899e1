"""What the user sees: records on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from pixmix_cli.errors import StorageError


class ClosedPipe(BaseException):
    """Whoever read our stdout has gone away (`| head -1`): stop quietly, exit code 141."""


class Meter(Protocol):
    """Where a pipeline's progress goes."""

    def update(self, n: int, size: int = 0, shards: int = 0, errors: int = 0) -> object:
        """Say that n more items are done: `size` bytes of output, some shards, some skipped."""


class Terminal:
    """The one place that writes to stdout and stderr.

    quiet     0 everything, 1 no progress bar, 2 errors only
    progress  "auto" (a bar when stderr is a terminal), "bar", "json" (a line of JSON a second on
              stderr) or "none"
    as_json   stdout gets one JSON record an artefact instead of one path
    """

    def __init__(
        self, quiet: int = 0, verbose: int = 0, progress: str = "auto", as_json: bool = False
    ) -> None:
        """Settle how much is said; nothing is written yet."""
        self.quiet = quiet
        self.verbose = verbose
        self.as_json = as_json
        if progress == "auto":
            progress = "bar" if sys.stderr.isatty() else "none"
        self._progress = "none" if quiet else progress

    @property
    def shows_bar(self) -> bool:
        """Whether progress is shown as a bar on stderr."""
        return self._progress == "bar"

    @property
    def lists_artefacts(self) -> bool:
        """Whether stdout gets every artefact: a terminal would drown in them, and in its bar."""
        return self.as_json or not sys.stdout.isatty()

    def emit(self, record: dict[str, Any], root: object = None) -> None:
        """One artefact on stdout: its path (below root), or the whole record as JSON.

        A path in a pipe is exact, for the next command to open; on a terminal it is printable.

        raises  ClosedPipe when nobody reads any more
        """
        if self.as_json:  # JSON escapes all control characters but this one
            self._write(json.dumps(record, sort_keys=True).replace("\x7f", "\\u007f"))
            return
        path = record["path"]
        text = path if root is None else os.path.join(str(root), path)
        self._write(printable(text) if sys.stdout.isatty() else text)

    def line(self, text: str) -> None:
        """One line for people on stdout. Raises ClosedPipe when nobody reads any more."""
        self._write(printable(text))

    def _write(self, text: str) -> None:
        line = f"{text}\n"
        with stdout_errors():
            if isinstance(sys.stdout, io.TextIOWrapper):
                _put(line.encode(sys.stdout.encoding, sys.stdout.errors or "strict"))
            else:  # of a program that shows our text in its own way, as a notebook does
                sys.stdout.write(line)
                sys.stdout.flush()

    def info(self, text: str) -> None:
        """A message, unless -qq."""
        if self.quiet < 2:
            say(text)

    def detail(self, text: str) -> None:
        """A message that only -v shows."""
        if self.verbose and self.quiet < 2:
            say(text)

    def warn(self, text: str) -> None:
        """A warning, unless -qq."""
        if self.quiet < 2:
            say(f"pixmix: warning: {text}")

    def advise(self, text: str) -> None:
        """A warning of something that may well be wanted, unless -q."""
        if self.quiet < 1:
            say(f"pixmix: warning: {text}")

    @contextlib.contextmanager
    def meter(self, total: int, unit: str, done: int = 0, shards: int = 0) -> Iterator[Meter]:
        """Progress over `total` items, of which `done` were there before.

        shards  how many this run makes, where the output has any
        """
        if self._progress == "bar":
            from tqdm import tqdm

            tqdm.set_lock(threading.RLock())  # its own is one between processes, a file of /dev/shm
            with tqdm(
                total=total, initial=done, unit=unit, file=sys.stderr, dynamic_ncols=True
            ) as bar:
                yield _BarMeter(bar, shards)
        elif self._progress == "json":
            meter = _JsonMeter(total, done, shards)
            yield meter
            meter.finish()
        else:
            yield _NoMeter()


class StdoutSink:
    """stdout as a stream of bytes, for `-o -`."""

    def write(self, data: bytes) -> None:
        """All of the bytes. Raises ClosedPipe when nobody reads any more."""
        with stdout_errors():
            _put(data)


def _put(data: bytes) -> None:
    """All of the bytes to stdout.

    Python's own stream may take fewer without a word: after `python -u` it is a raw file, and what
    is behind it may be a pipe that does not block.
    """
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
    except OSError:  # a stream in memory
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            room.poll()


class _NoMeter:
    def update(self, n: int, size: int = 0, shards: int = 0, errors: int = 0) -> None:
        """Say nothing."""


@dataclass(slots=True)
class _Counts:
    """What a run has made so far, beside items."""

    all_shards: int
    size: int = 0
    shards: int = 0
    errors: int = 0
    start: float = field(default_factory=time.monotonic)

    def add(self, size: int, shards: int, errors: int) -> None:
        self.size += size
        self.shards += shards
        self.errors += errors

    @property
    def bytes_per_second(self) -> float:
        return self.size / max(time.monotonic() - self.start, 1e-9)


class _BarMeter:
    def __init__(self, bar: Any, shards: int) -> None:
        self._bar, self._counts = bar, _Counts(shards)

    def update(self, n: int, size: int = 0, shards: int = 0, errors: int = 0) -> None:
        counts = self._counts
        counts.add(size, shards, errors)
        parts = [f"{counts.bytes_per_second / 1e6:.1f} MB/s"] if counts.size else []
        if counts.all_shards:
            parts.append(f"{counts.shards}/{counts.all_shards} shards")
        if counts.errors:
            parts.append(f"{counts.errors} skipped")
        self._bar.set_postfix_str(", ".join(parts), refresh=False)
        self._bar.update(n)


class _JsonMeter:
    def __init__(self, total: int, done: int, shards: int) -> None:
        self._total, self._done, self._before = total, done, done
        self._counts = _Counts(shards)
        self._reported = -1
        self._start = self._last = time.monotonic()

    def update(self, n: int, size: int = 0, shards: int = 0, errors: int = 0) -> None:
        self._done += n
        self._counts.add(size, shards, errors)
        if time.monotonic() - self._last >= 1:
            self.report()

    def finish(self) -> None:
        if self._reported != self._done:
            self.report()

    def report(self) -> None:
        self._reported = self._done
        self._last = time.monotonic()
        rate = (self._done - self._before) / max(self._last - self._start, 1e-9)
        left = (self._total - self._done) / rate if rate else None
        counts = self._counts
        record = {
            "done": self._done,
            "total": self._total,
            "rate": round(rate, 3),
            "eta_s": None if left is None else round(left, 1),
            "bytes_per_s": round(counts.bytes_per_second),
            "errors": counts.errors,
        }
        if counts.all_shards:
            record |= {"shards_done": counts.shards, "shards": counts.all_shards}
        say(json.dumps(record))


@contextlib.contextmanager
def stdout_errors() -> Iterator[None]:
    """A reader that has gone away becomes ClosedPipe, a full disk a StorageError."""
    try:
        yield
    except BrokenPipeError:
        abandon_stdout()
        raise ClosedPipe from None
    except OSError as error:
        abandon_stdout()
        raise StorageError.from_os_error(error, "stdout") from None


def nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader has gone away."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)  # errors are always told
        return any(event & select.POLLERR for _, event in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # no poll here, or no stdout
        return False


# What a terminal obeys instead of showing it, in names of files and classes: control characters
# (C0, DEL, C1), those that turn the direction of writing (Unicode's Bidi_Control) or end a line,
# and bytes of names that are no UTF-8, of which 0x80 to 0x9f are C1 again.
_OBEYED = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""The text with everything that a terminal would obey as an escape, ESC as \x1b."""
    return _OBEYED.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # how Python keeps a byte that is no UTF-8
        code -= 0xDC00
    return {9: r"\t", 10: r"\n", 13: r"\r"}.get(
        code, f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    )


def say(text: str) -> None:
    """One line on stderr, printable; a closed stderr is no reason to fail."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(printable(" ".join(text.split("\n"))) + "\n")
        sys.stderr.flush()


def say_traceback(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """A traceback on stderr, as sys.excepthook; what an error quotes is made printable, too."""
    for text in traceback.format_exception(kind, error, trace):
        for line in text.rstrip("\n").split("\n"):
            say(line)


def abandon_stdout() -> None:
    """Point stdout at nothing, so that the interpreter's last flush has nobody to disappoint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(OSError, ValueError):
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
