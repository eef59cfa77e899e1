"""Workers out of one interpreter: it imports what they need once, then forks each of them.

A worker that is forked costs milliseconds where an interpreter of its own costs what it imports,
0.4 s for a bake and seconds with torch, and it shares the memory of that.

The server is a clean interpreter of its own: it has run no task, opened no file and started no
thread of ours, and nothing in it has used torch or OpenMP yet. It only ever forks. A worker is made
by a process between that ends at once, so that it becomes a child of the parent, which is made to
take such orphans in for as long as the pool lives: the parent sees how each worker ends, and a
server that is killed takes nothing with it. Whatever goes wrong here, the pool goes on with
interpreters of their own.

Linux only: elsewhere a fork without a new program is not safe, or there is no such adoption.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from pixmix_cli.pipelines.engines import worker

try:
    import ctypes
except ImportError:  # a Python that was built without it
    ctypes = None  # type: ignore[assignment]

# Some Pythons are built for a C library that is too old for memfd_create.
POSSIBLE = sys.platform == "linux" and hasattr(os, "memfd_create") and ctypes is not None
PLACE = struct.Struct("<I")  # a request: the place of the worker that is wanted
LOOK_SECONDS = 0.001  # between looks whether a process has ended, or has another parent
# of prctl(2)
SET_DEATH_SIGNAL, SET_ADOPTS, GETS_ADOPTS = 1, 36, 37
GONE = 1 << 16  # the exit code of a process whose own one somebody else has taken


class Forked:
    """As much of `subprocess.Popen` as the pool needs, of a worker that the server made.

    pid  None until the worker has said it
    """

    def __init__(self) -> None:
        self.pid: int | None = None
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or minus the signal that ended it, or GONE, once it has ended."""
        if self.pid is not None and self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.returncode = os.waitstatus_to_exitcode(status)
            except ChildProcessError:  # SIGCHLD is ignored, or a handler waits for all children
                if not _lives(self.pid):
                    self.returncode = GONE
        return self.returncode

    def kill(self) -> None:
        """End it. Without a pid it sees that nobody holds the other end of its socket."""
        if self.pid is not None and self.poll() is None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float) -> None:
        """Until it has ended, but no longer than that many seconds."""
        end = time.monotonic() + timeout
        while self.pid is not None and self.poll() is None and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)


class ForkServer:
    """The parent's side.

    start      the argv of an interpreter that calls `main` with arguments given as text
    beginning  the pickle of a runner's maker and its context
    life       as for `worker.main`
    stderr     as for `worker.main`
    raises     OSError where the system does not give what is needed
    """

    def __init__(
        self, start: Callable[[str], list[str]], beginning: bytes, life: int, stderr: int
    ) -> None:
        _adopt()
        with contextlib.ExitStack() as stack:
            stack.callback(_adopt_no_more)
            self._requests, theirs = socket.socketpair()
            stack.callback(self._requests.close)
            with theirs:
                memory = os.memfd_create("pixmix")
                try:
                    with open(memory, "wb", closefd=False) as file:
                        file.write(beginning)
                    arguments = f"{theirs.fileno()}, {memory}, {life}, {stderr}, {os.getpid()}"
                    self.process = subprocess.Popen(
                        start(arguments),
                        stdin=subprocess.DEVNULL,
                        stdout=stderr,
                        stderr=subprocess.DEVNULL,  # what goes wrong is told by the next worker
                        pass_fds=(theirs.fileno(), memory, life, stderr),
                    )
                finally:
                    os.close(memory)
            self._requests.setblocking(False)
            stack.pop_all()

    def fork(self, place: int, channel: int, words: int) -> Forked | None:
        """A worker, that begins once the server is ready; None where the server is gone.

        place, channel  as for `worker.main`
        words           descriptor of what is the worker's stderr until it has begun
        """
        try:
            socket.send_fds(self._requests, [PLACE.pack(place)], [channel, words])
        except OSError:
            return None
        return Forked()

    def close(self) -> None:
        """End the server; workers are left as they are."""
        self.process.kill()
        self._requests.close()
        self.process.wait()
        with contextlib.suppress(OSError):
            _adopt_no_more()


def main(requests: int, memory: int, life: int, stderr: int, parent: int) -> None:
    """Import what the runner needs, then fork workers until the parent ends. Never returns.

    requests  descriptor of the socket to the parent
    memory    of a file that holds the pickle of the runner's maker and its context
    parent    the parent's number
    """
    worker.settle((requests, life, stderr))
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, it would leave nothing to wait for
    _control(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    os.lseek(memory, 0, os.SEEK_SET)
    with open(memory, "rb") as file:
        make_runner, context = pickle.load(file)
    preload = getattr(make_runner, "preload", None)
    if preload is not None:
        preload(*context)
    gc.collect()
    gc.freeze()  # so that looking for garbage writes to no page that is shared
    channel = socket.socket(fileno=requests)
    while True:
        data, descriptors, _, _ = socket.recv_fds(channel, PLACE.size, 2)
        if len(data) < PLACE.size:
            os._exit(0)
        between = os.fork()
        if between == 0:
            _between(
                channel, PLACE.unpack(data)[0], descriptors, life, stderr, make_runner, context
            )
        os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)


def _between(
    requests: socket.socket,
    place: int,
    descriptors: list[int],
    life: int,
    stderr: int,
    make_runner: Callable[..., Callable[[Any], Any]],
    context: tuple[Any, ...],
) -> None:
    """Make a worker an orphan, which the parent takes in. Never returns."""
    try:
        between = os.getpid()
        if os.fork() == 0:
            requests.close()
            channel, words = descriptors
            os.dup2(words, 2)
            os.close(words)
            while os.getppid() == between:
                time.sleep(LOOK_SECONDS)
            worker.serve(place, channel, life, stderr, make_runner, context)
    finally:
        os._exit(1)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # there, and not ours to signal
        pass
    return True


class _Adopting:
    """How many pools of this process have it take orphans in, and whether it did before them."""

    lock = threading.Lock()
    pools = 0
    before = 0


def _adopt() -> None:
    """From now on this process takes orphans in. Raises OSError."""
    with _Adopting.lock:
        if _Adopting.pools == 0:
            _Adopting.before = _adopts()
            _control(SET_ADOPTS, 1)
        _Adopting.pools += 1


def _adopt_no_more() -> None:
    """The last pool leaves it as the first has found it. Raises OSError."""
    with _Adopting.lock:
        _Adopting.pools -= 1
        if _Adopting.pools == 0:
            _control(SET_ADOPTS, _Adopting.before)


def _adopts() -> int:
    """Whether orphans of this process's descendants become its children."""
    value = ctypes.c_int()
    _control(GETS_ADOPTS, ctypes.byref(value))
    return value.value


def _control(operation: int, argument: Any) -> None:
    """prctl(2), which Python does not know. Raises OSError."""
    call = ctypes.CDLL(None, use_errno=True).prctl
    # variadic: all four arguments are unsigned long
    rest = [ctypes.c_ulong(0)] * 3
    first = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    if call(ctypes.c_int(operation), first, *rest) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
