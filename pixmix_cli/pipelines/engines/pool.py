"""The local engine's processes: tasks out, results in, and no wait for one that is dead.

Each worker (`worker.py`) is a process with a socket of its own, forked from one interpreter where
that is safe (`fork_server.py`), else an interpreter of its own. The parent alone reads and writes,
a piece at a time, whatever is ready: a worker that is stopped, or that dies in the middle of a
message, keeps nobody waiting. No thread, semaphore, file or folder is needed.
"""

from __future__ import annotations

import collections
import contextlib
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from pixmix_cli.errors import StorageError, WorkerDiedError
from pixmix_cli.limits import memory_limit
from pixmix_cli.own_packages import ROOT
from pixmix_cli.pipelines.engines import fork_server
from pixmix_cli.pipelines.engines.fork_server import GONE, Forked, ForkServer
from pixmix_cli.pipelines.engines.worker import BEGIN, BLOCK, HEAD, Failure

ATTEMPTS = 3  # how often a task may take its worker down before the run gives up
AHEAD = (
    2  # tasks a worker, with the one it does: enough to keep it busy, few enough to bound memory
)
SOCKET_BYTES = 4 << 20  # of a socket's buffer, as far as the system allows
LOOK_SECONDS = 1  # between looks for a dead worker whose socket a child of it keeps open
END_SECONDS = 5  # that killed workers may take to end
LAST_WORDS = 1 << 16  # bytes of a worker's stderr that are kept until it has begun

START = (
    "import sys; sys.path[:] = {path}; "
    "from pixmix_cli.pipelines.engines import {module}; {module}.main({arguments})"
)


class WorkerTraceback(Exception):
    """Where in the worker an error was raised; --debug shows it."""

    def __str__(self) -> str:
        """The traceback, set off from the one around it."""
        return f"\n\n{self.args[0]}"


class Pool:
    """Workers that do numbered tasks.

    make_runner, context  as for `local.run_tasks`
    size                  workers at most; each is started when there is a task for it
    describe              names a task in an error message
    """

    def __init__(
        self,
        make_runner: Callable[..., Callable[[Any], Any]],
        context: tuple[Any, ...],
        size: int,
        describe: Callable[[Any], str],
    ) -> None:
        """No process is started yet."""
        self._beginning = pickle.dumps((make_runner, context), pickle.HIGHEST_PROTOCOL)
        self._size = size
        self._describe = describe
        self._tasks: dict[int, Any] = {}  # not yet done
        self._pending: collections.deque[int] = collections.deque()  # of these, with no worker
        self._results: dict[int, Any] = {}
        self._deaths: collections.Counter[int] = collections.Counter()  # around a task
        self._stillborn: collections.Counter[int] = collections.Counter()  # in a place, in a row
        self._alone: int | None = None  # the task that is being tried with no other beside it
        self._workers: dict[int, _Worker] = {}  # by place
        self._looked = time.monotonic()
        self._forks = fork_server.POSSIBLE  # unless that has failed
        self._server: ForkServer | None = None
        self._selector = selectors.DefaultSelector()
        self._life, self._kept_open = os.pipe()
        try:
            self._stderr = os.dup(2)
        except OSError:  # it was closed
            self._stderr = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def processes(self) -> list[int]:
        """Numbers of the processes of the pool, as far as they are known yet."""
        server = [] if self._server is None else [self._server.process.pid]
        pids = (worker.process.pid for worker in self._workers.values())
        return [*server, *(pid for pid in pids if pid is not None)]

    def busy(self, seconds: float) -> None:
        """Hand out tasks and take results for some time, as `result` does while it waits."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._step(left)

    def add(self, number: int, task: Any) -> None:
        """Have a task done."""
        self._tasks[number] = task
        self._pending.append(number)

    def result(self, number: int) -> Any:
        """What the task gave, once that is there.

        raises  what the task raised; WorkerDiedError where workers died of it, or do not start
        """
        self._step(0)  # keep workers busy although this result may be here already
        while number not in self._results:
            self._step(LOOK_SECONDS)
        return _value(self._results.pop(number))

    def close(self) -> None:
        """End the workers at once; what they had not sent is worth nothing."""
        workers = list(self._workers.values())
        self._workers.clear()
        for worker in workers:
            worker.process.kill()
        self._end_server()
        deadline = time.monotonic() + END_SECONDS
        for worker in workers:
            self._selector.unregister(worker.channel)
            worker.close(deadline)
        self._selector.close()
        for descriptor in (self._life, self._kept_open, self._stderr):
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _step(self, seconds: float) -> None:
        """Hand out what can be, and take what comes within some time."""
        self._hand_out()
        for key, events in self._selector.select(seconds):
            worker: _Worker = key.data
            if events & selectors.EVENT_WRITE:
                worker.write()
            if events & selectors.EVENT_READ:
                self._take(worker)
            if worker.dead:
                self._bury(worker)
            else:
                self._watch(worker)
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            for worker in list(self._workers.values()):
                if worker.process.poll() is not None:
                    self._take(worker)  # what it sent before
                    self._bury(worker)

    def _hand_out(self) -> None:
        while self._pending:
            number = self._pending[0]
            if self._alone is not None:
                return
            worker = self._free_worker()
            if self._deaths[number] == ATTEMPTS - 1:
                # The last try is alone: then memory is its own, and nobody else is to blame.
                if any(other.tasks for other in self._workers.values()):
                    return
                self._alone = number
            if worker is None:
                return
            self._pending.popleft()
            worker.give(number, pickle.dumps(self._tasks[number], pickle.HIGHEST_PROTOCOL))
            worker.write()
            self._watch(worker)

    def _free_worker(self) -> _Worker | None:
        """One with nothing to do, or a new one, or the least busy, unless all have enough."""
        least = min(self._workers.values(), key=lambda worker: len(worker.tasks), default=None)
        if least is not None and not least.tasks:
            return least
        if len(self._workers) < self._size:
            return self._start()
        return least if least is not None and len(least.tasks) < AHEAD else None

    def _start(self) -> _Worker:
        place = next(i for i in range(self._size) if i not in self._workers)
        try:
            worker = _Worker(place, self._life, self._stderr, self._fork)
        except OSError as error:
            raise StorageError.from_os_error(error, "a worker process", "starting") from None
        if not isinstance(worker.process, Forked):
            worker.give(BEGIN, self._beginning)
        self._workers[place] = worker
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        return worker

    def _fork(self, place: int, channel: int, words: int) -> Forked | None:
        """A worker forked by the server, which is started with the first; None without one."""
        if self._forks and self._server is None:
            try:
                self._server = ForkServer(_fork_server, self._beginning, self._life, self._stderr)
            except (OSError, AttributeError):  # the latter of a C library without prctl
                self._forks = False
        made = None if self._server is None else self._server.fork(place, channel, words)
        if made is None:
            self._end_server()
        return made

    def _end_server(self) -> None:
        """From now on workers are interpreters of their own."""
        self._forks = False
        if self._server is not None:
            self._server.close()
            self._server = None

    def _watch(self, worker: _Worker) -> None:
        """Have the selector tell what this worker is waited for."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.outgoing else 0)
        if self._selector.get_key(worker.channel).events != events:
            self._selector.modify(worker.channel, events, worker)

    def _take(self, worker: _Worker) -> None:
        """Read what has come from a worker."""
        for number, value in worker.read():
            if number != BEGIN:
                worker.tasks.remove(number)
                self._finish(number, value)
                continue
            if isinstance(value, int):
                worker.process.pid = value
                continue
            _value(value)
            worker.begin()
            self._stillborn[worker.place] = 0

    def _finish(self, number: int, value: Any) -> None:
        del self._tasks[number]
        self._results[number] = value
        if self._alone == number:
            self._alone = None

    def _bury(self, worker: _Worker) -> None:
        """See to a dead worker's tasks; the first is what it was doing."""
        del self._workers[worker.place]
        self._selector.unregister(worker.channel)
        worker.process.kill()
        worker.close(time.monotonic() + END_SECONDS)
        self._pending.extendleft(reversed(worker.tasks))
        if self._alone in worker.tasks:
            self._alone = None
        if not worker.begun:
            self._end_server()  # whatever it is, an interpreter of its own can tell
            self._stillborn[worker.place] += 1
            if self._stillborn[worker.place] >= ATTEMPTS:
                limit = memory_limit()
                why = worker.fate() + (f" ({limit})" if limit else "")
                raise WorkerDiedError(
                    f"worker processes do not start: {why}",
                    "ulimit -v unlimited" if limit else "pixmix doctor, or -j 1",
                )
        elif worker.tasks:
            number = worker.tasks[0]
            self._deaths[number] += 1
            if self._deaths[number] >= ATTEMPTS:
                self._pending.remove(number)
                error = WorkerDiedError(
                    f"a worker process died {ATTEMPTS} times around "
                    f"{self._describe(self._tasks[number])} ({worker.fate()})",
                    "fewer workers (-j) or without that item, then again with --resume",
                )
                self._finish(number, Failure(error, ""))  # told when it is this task's turn


class _Worker:
    """A process, and the parent's end of the socket to it.

    tasks     numbers of those it has, in order
    outgoing  what is still to be sent to it
    begun     whether it has made its runner
    dead      whether its end of the socket is closed
    """

    def __init__(
        self,
        place: int,
        life: int,
        stderr: int,
        fork: Callable[[int, int, int], Forked | None],
    ) -> None:
        self.place = place
        self.tasks: collections.deque[int] = collections.deque()
        self.outgoing: collections.deque[memoryview] = collections.deque()
        self.begun = self.dead = False
        self._incoming = bytearray()
        self._last_words = b""
        with contextlib.ExitStack() as stack:
            self.channel, theirs = socket.socketpair()
            stack.callback(theirs.close)
            for side in (self.channel, theirs):  # a result that fits lets its worker go on
                side.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
            with contextlib.ExitStack() as on_error:
                on_error.callback(self.channel.close)
                self.channel.setblocking(False)
                self._words, words = os.pipe()
                stack.callback(os.close, words)
                on_error.callback(os.close, self._words)
                for end in (self._words, words):  # who says more than fits is not listened to
                    os.set_blocking(end, False)
                self.process: Forked | subprocess.Popen[bytes]
                forked = fork(place, theirs.fileno(), words)
                if forked is not None:
                    self.process = forked
                else:
                    arguments = f"{place}, {theirs.fileno()}, {life}, {stderr}"
                    self.process = subprocess.Popen(
                        _interpreter("worker", arguments),
                        stdin=subprocess.DEVNULL,
                        stdout=stderr,  # stdout is data, and not a worker's
                        stderr=words,
                        pass_fds=(theirs.fileno(), life, stderr),
                    )
                on_error.pop_all()

    def begin(self) -> None:
        """It has made its runner; from now on its stderr is the parent's."""
        self.begun = True
        os.close(self._words)

    def give(self, number: int, data: bytes) -> None:
        """Put a message in the queue."""
        if number != BEGIN:
            self.tasks.append(number)
        self.outgoing += (memoryview(HEAD.pack(len(data), number)), memoryview(data))

    def write(self) -> None:
        """Send as much of the queue as the socket takes now."""
        try:
            while self.outgoing:
                rest = self.outgoing[0][self.channel.send(self.outgoing[0]) :]
                if rest:
                    self.outgoing[0] = rest
                else:
                    self.outgoing.popleft()
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # it is dead; what it sent before may still be read
            self.outgoing.clear()

    def read(self) -> list[tuple[int, Any]]:
        """The messages that are whole by now; sets `dead` at the socket's end."""
        messages: list[tuple[int, Any]] = []
        while not self.dead:
            try:
                block = self.channel.recv(BLOCK)
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                block = b""
            self.dead = not block
            self._incoming += block
            messages += self._whole()
        return messages

    def _whole(self) -> list[tuple[int, Any]]:
        found = []
        while len(self._incoming) >= HEAD.size:
            length, number = HEAD.unpack_from(self._incoming)
            end = HEAD.size + length
            if len(self._incoming) < end:
                break
            with memoryview(self._incoming) as view, view[HEAD.size : end] as data:
                found.append((number, pickle.loads(data)))
            del self._incoming[:end]
        return found

    def close(self, deadline: float) -> None:
        """Let go of a killed process."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.1, deadline - time.monotonic()))
        if not self.begun:
            with contextlib.suppress(OSError):
                self._last_words = os.read(self._words, LAST_WORDS)
            os.close(self._words)
        self.channel.close()

    def fate(self) -> str:
        """Why it ended, as far as that can be known. After `close`."""
        lines = self._last_words.decode(errors="replace").split("\n")
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return said[:300] or _fate(self.process.returncode)


def _value(value: Any) -> Any:
    if isinstance(value, Failure):
        if value.text:
            raise value.error from WorkerTraceback(value.text)
        raise value.error
    return value


def _fork_server(arguments: str) -> list[str]:
    return _interpreter("fork_server", arguments)


def _interpreter(module: str, arguments: str) -> list[str]:
    """The argv of an interpreter that runs a module's `main`, with our path and options.

    Not on its path is the current folder, which Python puts first for -c: nothing is imported
    before that is undone.
    """
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # -W, -X ...
    path = ascii([folder for folder in sys.path if is_code_folder(folder)])
    program = START.format(path=path, module=module, arguments=arguments)
    return [sys.executable, *flags, "-c", program]


def is_code_folder(folder: object) -> bool:
    """Whether workers may import from it: not from the current one, unless we are there.

    A dataset may hold a random.py. What is no text on the path Python passes over.
    """
    if not folder or not isinstance(folder, str):
        return False
    try:
        here = os.getcwd()
    except OSError:  # it was deleted
        return True
    return folder not in (here, ".") or here == os.path.realpath(ROOT)


def _fate(code: int | None) -> str:
    """A process's end in words. A negative code is a signal's number."""
    if code is None:
        return "it does not end"
    if code == GONE:
        return "it has ended, how is not known"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
    if name == "SIGKILL":
        return "SIGKILL: out of memory, or killed by hand"
    if name == "SIGXCPU":
        return "SIGXCPU: it used the CPU time that `ulimit -t` allows"
    if name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"):
        limit = memory_limit()
        return f"{name}: a crash in a library" + (f", or {limit}" if limit else "")
    return name
