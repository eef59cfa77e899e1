"""Run pure tasks on this machine's cores: results in order, dead workers noticed, quick to stop.

A task is a plain value; its result depends on nothing else, so it does not matter which process
ran it, when, or whether an earlier attempt died half-way.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from pixmix_cli.pipelines.engines.pool import AHEAD, Pool

Task = TypeVar("Task")
Result = TypeVar("Result")


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
                 the function that does one task. Has it a `preload`, that is called so, too, in the
                 process that workers are forked from: to import modules and start no thread
    context      picklable; sent once a worker
    tasks        picklable; taken a few at a time
    workers      >= 1; with 1 everything happens in this process
    describe     names a task in an error message
    raises       whatever making the runner or a task raises; WorkerDiedError where workers die of a
                 task, or do not start; StorageError where the system gives no process
    """
    if workers == 1:
        runner = make_runner(*context)
        for task in tasks:
            yield runner(task)
        return
    with contextlib.closing(Pool(make_runner, context, workers, describe)) as pool:
        yield from _in_order(pool, iter(tasks), workers * AHEAD)


def _in_order(pool: Pool, tasks: Iterator[Any], ahead: int) -> Generator[Any, None, None]:
    taken = given = 0
    while True:
        while taken - given < ahead:
            try:
                task = next(tasks)
            except StopIteration:
                break
            pool.add(taken, task)
            taken += 1
        if taken == given:
            return
        yield pool.result(given)
        given += 1
