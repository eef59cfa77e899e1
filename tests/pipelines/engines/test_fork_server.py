"""Workers that are forked: children of the parent, whatever becomes of what forked them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.pipelines.engines import fork_server
from pixmix_cli.pipelines.engines.fork_server import Forked
from pixmix_cli.pipelines.engines.pool import END_SECONDS, Pool
from tests.conftest import environment

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not fork_server.POSSIBLE, reason="workers are not forked here"),
]


class Whose:
    """Tells which process does a task, and which is its parent."""

    preloaded = 0

    @classmethod
    def preload(cls, name: str) -> None:
        cls.preloaded = os.getpid()

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, task: float) -> tuple[int, int, int]:
        time.sleep(task)
        return os.getpid(), os.getppid(), self.preloaded


def begin(pool: Pool, workers: int) -> None:
    """Give each worker a task, and wait until all have begun."""
    for number in range(workers):
        pool.add(number, 0.0)
    deadline = time.monotonic() + 60
    while sum(worker.begun for worker in pool._workers.values()) < workers:
        pool.busy(0.01)
        assert time.monotonic() < deadline


def test_workers_are_children_of_the_parent_and_preload_once() -> None:
    with contextlib.closing(Pool(Whose, ("",), 2, str)) as pool:
        begin(pool, 2)
        assert all(isinstance(worker.process, Forked) for worker in pool._workers.values())
        server = pool._server
        assert server is not None
        found = [pool.result(number) for number in range(2)]
        assert {parent for _, parent, _ in found} == {os.getpid()}
        assert {by for _, _, by in found} == {server.process.pid}
        assert {pid for pid, _, _ in found} <= set(pool.processes())


def test_workers_outlive_a_server_that_is_killed_and_later_ones_need_none() -> None:
    with contextlib.closing(Pool(Whose, ("",), 2, str)) as pool:
        begin(pool, 2)
        before = {pool.result(number)[0] for number in range(2)}
        assert pool._server is not None
        os.kill(pool._server.process.pid, signal.SIGKILL)
        for number in range(2, 6):
            pool.add(number, 0.1)
        assert {pool.result(number)[0] for number in range(2, 6)} == before
        os.kill(min(before), signal.SIGKILL)
        for number in range(6, 10):
            pool.add(number, 0.1)
        later = {pool.result(number)[0] for number in range(6, 10)}
        assert min(before) not in later
        assert later <= set(pool.processes())


def test_a_server_that_is_killed_before_it_forks_keeps_nobody_waiting() -> None:
    with contextlib.closing(Pool(Whose, ("",), 2, str)) as pool:
        for number in range(4):
            pool.add(number, 0.0)
        pool.busy(0.001)
        assert pool._server is not None
        os.kill(pool._server.process.pid, signal.SIGKILL)
        assert {pool.result(number)[2] for number in range(4)} == {0}


def test_the_exit_of_a_forked_worker_is_known() -> None:
    with contextlib.closing(Pool(Whose, ("",), 1, str)) as pool:
        begin(pool, 1)
        (worker,) = pool._workers.values()
        assert worker.process.poll() is None
        assert worker.process.pid is not None
        os.kill(worker.process.pid, signal.SIGSEGV)
        worker.process.wait(10)
        assert worker.process.poll() == -signal.SIGSEGV


def test_the_parent_takes_orphans_in_only_while_the_pool_lives() -> None:
    before = fork_server._adopts()
    pool = Pool(Whose, ("",), 2, str)
    begin(pool, 2)
    assert fork_server._adopts() == 1
    processes = pool.processes()
    pool.close()
    assert fork_server._adopts() == before
    assert not [pid for pid in processes if Path(f"/proc/{pid}").exists()]


def test_pools_that_overlap_take_orphans_in_until_the_last_is_closed() -> None:
    before = fork_server._adopts()
    first, second = (Pool(Whose, ("",), 2, str) for _ in range(2))
    begin(first, 1)
    begin(second, 1)
    first.close()
    assert fork_server._adopts() == 1
    for number in range(10, 13):
        second.add(number, 0.1)
    assert {second.result(number)[1] for number in range(10, 13)} == {os.getpid()}
    begun = time.monotonic()
    second.close()
    assert time.monotonic() - begun < END_SECONDS / 2
    assert fork_server._adopts() == before


def ignore_ends() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def wait_for_all() -> None:
    def reap(number: int, frame: object) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    signal.signal(signal.SIGCHLD, reap)


@pytest.mark.parametrize("habit", [ignore_ends, wait_for_all])
def test_a_worker_whose_end_somebody_else_has_taken_keeps_nobody_waiting(
    habit: Callable[[], None],
) -> None:
    before = signal.getsignal(signal.SIGCHLD)
    habit()
    try:
        with contextlib.closing(Pool(Whose, ("",), 1, str)) as pool:
            begin(pool, 1)
            (worker,) = pool._workers.values()
            assert isinstance(worker.process, Forked)
            assert worker.process.pid is not None
            begun = time.monotonic()
            os.kill(worker.process.pid, signal.SIGKILL)
            pool.add(1, 0.0)
            assert pool.result(1)[1] == os.getpid()
        assert time.monotonic() - begun < END_SECONDS / 2
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_without_files_in_memory_workers_are_interpreters_of_their_own() -> None:
    program = (
        "import os; del os.memfd_create\n"
        "from pixmix_cli.pipelines.engines import fork_server\n"
        "print(fork_server.POSSIBLE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


class Unprepared(Whose):
    @classmethod
    def preload(cls, name: str) -> None:
        raise NotImplementedError

    def __init__(self, name: str) -> None:
        if name:
            raise InputError(f"{name} is not there")
        super().__init__(name)


def test_a_preload_that_fails_leaves_workers_to_interpreters_of_their_own() -> None:
    with contextlib.closing(Pool(Unprepared, ("",), 2, str)) as pool:
        pool.add(0, 0.0)
        assert pool.result(0)[1:] == (os.getpid(), 0)


def test_what_keeps_a_worker_from_beginning_is_told_after_a_preload_that_fails() -> None:
    with contextlib.closing(Pool(Unprepared, ("w.pth",), 2, str)) as pool:
        pool.add(0, 0.0)
        with pytest.raises(InputError, match=r"w\.pth is not there"):
            pool.result(0)


class Summer:
    """Sums with two threads of torch, which the server has imported and not used."""

    @staticmethod
    def preload(name: str) -> None:
        import torch  # noqa: F401

    def __init__(self, name: str) -> None:
        import torch

        torch.set_num_threads(2)

    def __call__(self, task: int) -> float:
        import torch

        matrix = torch.ones(600, 600)
        return float((matrix @ matrix).sum() + torch.ones(1 << 20).mul(2).sum())


@pytest.mark.torch
def test_torchs_threads_work_in_a_forked_worker() -> None:
    with contextlib.closing(Pool(Summer, ("",), 2, str)) as pool:
        for number in range(4):
            pool.add(number, number)
        expected = 600.0**3 + (1 << 21)
        assert [pool.result(number) for number in range(4)] == [expected] * 4


def test_without_adoption_workers_are_interpreters_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(operation: int, argument: object) -> None:
        raise OSError

    monkeypatch.setattr(fork_server, "_control", refuse)
    with contextlib.closing(Pool(Whose, ("",), 2, str)) as pool:
        pool.add(0, 0.0)
        assert pool.result(0)[2] == 0
