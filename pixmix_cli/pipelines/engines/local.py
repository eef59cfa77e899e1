"""Run pure tasks on this machine's cores: results in order, dead workers noticed, quick to stop.

A task is a plain value; its result depends on nothing else, so it does not matter which process
ran it, when, or whether an earlier attempt died half-way.
"""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, Protocol, TypeVar

from pixmix_cli.errors import WorkerDiedError

Task = TypeVar("Task")
Result = TypeVar("Result")

ATTEMPTS = 3  # how often a task may take its worker down before the run gives up
AHEAD = 2  # tasks a worker in the queue: enough to keep it busy, few enough to bound memory


def default_workers() -> int:
    """The number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Engine(Protocol):
    """Runs tasks somewhere; `run_tasks` is one, on this machine.

    Its generator ends the workers when it is closed. Who keeps it in a variable closes it
    (contextlib.closing): after an exception a traceback may keep that frame, and with it the
    workers, alive while the output is being tidied up.
    """

    def __call__(
        self,
        make_runner: Callable[..., Callable[[Task], Result]],
        context: tuple[Any, ...],
        tasks: Iterable[Task],
        workers: int,
        describe: Callable[[Task], str],
    ) -> Generator[Result, None, None]:
        """As `run_tasks`."""


def run_tasks(
    make_runner: Callable[..., Callable[[Task], Result]],
    context: tuple[Any, ...],
    tasks: Iterable[Task],
    workers: int,
    describe: Callable[[Task], str],
) -> Generator[Result, None, None]:
    """Run every task and yield the results in the tasks' order.

    make_runner  module-level function, called as make_runner(*context) once in each worker; returns
                 the function that does one task
    context      picklable; sent once a worker
    tasks        picklable; taken a few at a time
    workers      >= 1; with 1 everything happens in this process
    describe     names a task in an error message
    raises       whatever a task raises; WorkerDiedError after ATTEMPTS deaths on one task
    """
    if workers == 1:
        runner = make_runner(*context)
        for task in tasks:
            yield runner(task)
        return
    yield from _run_pool(make_runner, context, iter(tasks), workers, describe)


def _run_pool(
    make_runner: Callable[..., Callable[[Task], Result]],
    context: tuple[Any, ...],
    tasks: Iterator[Task],
    workers: int,
    describe: Callable[[Task], str],
) -> Generator[Result, None, None]:
    waiting: collections.deque[tuple[Task, Future[Result]]] = collections.deque()
    deaths: dict[int, int] = {}
    number = 0  # of the task at the head of `waiting`
    pool = _make_pool(make_runner, context, workers)
    try:
        while True:
            while len(waiting) < workers * AHEAD:
                try:
                    task = next(tasks)
                except StopIteration:
                    break
                waiting.append((task, _submit(pool, task)))
            if not waiting:
                return
            task, future = waiting[0]
            try:
                result = future.result()
            except BrokenProcessPool:
                # Which task killed the worker is not known, but the head of the queue has been
                # tried with it: it is charged, and if it is innocent it soon succeeds.
                deaths[number] = deaths.get(number, 0) + 1
                _kill(pool)
                if deaths[number] >= ATTEMPTS:
                    raise WorkerDiedError(
                        f"a worker process died {ATTEMPTS} times around {describe(task)} "
                        "(out of memory, or a crash in a library)",
                        "fewer workers (-j) or without that item, then again with --resume",
                    ) from None
                # Alone from the second death on, so that the guilty task is the one charged.
                alone = deaths[number] > 1
                pool = _make_pool(make_runner, context, 1 if alone else workers)
                waiting = collections.deque((t, _submit(pool, t)) for t, _ in waiting)
                continue
            waiting.popleft()
            number += 1
            yield result
    finally:
        _kill(pool)


def _make_pool(
    make_runner: Callable[..., Any], context: tuple[Any, ...], workers: int
) -> ProcessPoolExecutor:
    # forkserver: a fork of a small clean process, so no threads or locks of ours are copied
    # (fork's trouble) and no interpreter is started for each worker (spawn's price).
    return ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("forkserver"),
        initializer=_begin_worker,
        initargs=(make_runner, context),
    )


def _submit(pool: ProcessPoolExecutor, task: Any) -> Future[Any]:
    try:
        return pool.submit(_work, task)
    except BrokenProcessPool as error:  # it broke between two submissions
        future: Future[Any] = Future()
        future.set_exception(error)
        return future


def _kill(pool: ProcessPoolExecutor) -> None:
    """End the workers at once; what they had not committed is worth nothing."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        with contextlib.suppress(OSError, ValueError):
            process.kill()
    for process in processes:
        process.join(timeout=5)


_runner: Callable[[Any], Any] | None = None


def _begin_worker(make_runner: Callable[..., Callable[[Any], Any]], context: tuple) -> None:
    global _runner
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=die_with_parent, daemon=True).start()
    _runner = make_runner(*context)


def die_with_parent() -> None:
    """End this process when the parent is gone, even by kill -9: nobody wants its work then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(task: Any) -> Any:
    assert _runner is not None
    return _runner(task)
