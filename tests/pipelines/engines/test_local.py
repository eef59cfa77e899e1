"""Workers: results in order, deaths noticed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pixmix_cli.errors import PictureError, WorkerDiedError
from pixmix_cli.pipelines.engines.local import run_tasks

pytestmark = pytest.mark.process


def make_square(offset: int) -> Callable[[int], int]:
    def square(task: int) -> int:
        time.sleep(0.02 * (task % 3))
        return task * task + offset

    return square


def make_fragile(marker: Path) -> Callable[[int], int]:
    def fragile(task: int) -> int:
        if task == 5 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    return fragile


def make_deadly(name: str) -> Callable[[int], int]:
    def deadly(task: int) -> int:
        if task == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    return deadly


def make_picky(name: str) -> Callable[[int], int]:
    def picky(task: int) -> int:
        if task == 2:
            raise PictureError("x.jpg: truncated", "--on-error skip")
        return task

    return picky


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_the_tasks_order(workers: int) -> None:
    found = list(run_tasks(make_square, (7,), range(20), workers, str))
    assert found == [task * task + 7 for task in range(20)]


def test_a_dead_worker_is_noticed_and_its_task_done_again(tmp_path: Path) -> None:
    found = list(run_tasks(make_fragile, (tmp_path / "died",), range(12), 2, str))
    assert found == list(range(12))
    assert (tmp_path / "died").exists()


def test_a_task_that_always_kills_its_worker_is_named_after_three_tries() -> None:
    results = run_tasks(make_deadly, ("",), range(8), 2, lambda task: f"task number {task}")
    with pytest.raises(WorkerDiedError, match="died 3 times around task number 3"):
        list(results)


def test_an_error_in_a_worker_arrives_with_its_hint() -> None:
    results = run_tasks(make_picky, ("",), range(8), 2, str)
    with pytest.raises(PictureError, match="--on-error skip"):
        list(results)


def test_tasks_are_taken_only_a_few_ahead() -> None:
    taken: list[int] = []

    def tasks():
        for number in range(1000):
            taken.append(number)
            yield number

    results = run_tasks(make_square, (0,), tasks(), 2, str)
    next(results)
    assert len(taken) <= 8
    results.close()
