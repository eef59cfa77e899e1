"""The pool: a worker that dies, at whatever moment, keeps nobody waiting and changes no result."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pixmix_cli.errors import InputError, StorageError, WorkerDiedError
from pixmix_cli.pipelines.engines import fork_server
from pixmix_cli.pipelines.engines import pool as pool_module
from pixmix_cli.pipelines.engines.pool import ATTEMPTS, Pool
from tests.conftest import AS_INSTALLED, environment
from tests.pipelines.engines.runners import LARGE, Task, make_echo

pytestmark = pytest.mark.process

LONGEST = 5  # seconds that a run may take after a kill


def tasks(count: int, size: int = 0) -> list[Task]:
    return [(number, bytes(size)) for number in range(count)]


@pytest.fixture(autouse=True)
def _small_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems that allow no larger ones: whoever sends much has to wait for a reader."""
    monkeypatch.setattr(pool_module, "SOCKET_BYTES", 1 << 16)


def begin(pool: Pool, wanted: list[Task], workers: int) -> None:
    """Start that many workers with a task each, then add the other tasks."""
    for number in range(workers):
        pool.add(number, wanted[number])
    deadline = time.monotonic() + 30
    while len([w for w in pool._workers.values() if w.begun]) < workers:
        pool.busy(0.01)
        assert time.monotonic() < deadline
    for number in range(workers, len(wanted)):
        pool.add(number, wanted[number])


def blocked_in_write(pid: int) -> bool:
    """Whether a process waits for somebody to read what it sends."""
    return wait_channel(pid).startswith(("sock_alloc_send", "unix_stream_sendmsg"))


def wait_channel(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""


def kill_while_it_sends(pool: Pool, rng: random.Random) -> None:
    pool._hand_out()
    deadline = time.monotonic() + 0.3  # nobody reads meanwhile, as when the parent is stopped
    while time.monotonic() < deadline:
        sending = [pid for pid in pool.processes() if blocked_in_write(pid)]
        if sending:
            os.kill(rng.choice(sending), signal.SIGKILL)
            return
        time.sleep(0.001)
    os.kill(rng.choice(pool.processes()), signal.SIGKILL)


def kill_in_the_middle_of_a_result(pool: Pool, rng: random.Random) -> None:
    pool._hand_out()
    time.sleep(0.05)
    for worker in pool._workers.values():  # a part of it is here
        with contextlib.suppress(BlockingIOError):
            worker._incoming += worker.channel.recv(rng.randrange(1, 100_000))
    os.kill(rng.choice(pool.processes()), signal.SIGKILL)


def kill_at_a_random_moment(pool: Pool, rng: random.Random) -> None:
    pool.busy(rng.uniform(0, 0.02))
    time.sleep(rng.uniform(0, 0.02))
    os.kill(rng.choice(pool.processes()), signal.SIGKILL)


def kill_a_stopped_one(pool: Pool, rng: random.Random) -> None:
    pid = rng.choice(pool.processes())
    os.kill(pid, signal.SIGSTOP)
    pool.busy(rng.uniform(0, 0.05))
    os.kill(pid, signal.SIGKILL)


def kill_all(pool: Pool, rng: random.Random) -> None:
    pool.busy(rng.uniform(0, 0.01))
    for pid in pool.processes():
        os.kill(pid, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]))


MOMENTS = [
    kill_while_it_sends, kill_in_the_middle_of_a_result, kill_at_a_random_moment,
    kill_a_stopped_one, kill_all,
]  # fmt: skip


def survive(kill: Callable[[Pool, random.Random], None], rng: random.Random, size: int) -> int:
    """Kill workers of a pool twice in one run; every result is whole. Returns the kills."""
    wanted = tasks(12, size)
    with contextlib.closing(Pool(make_echo, (0.002,), 2, str)) as pool:
        if rng.random() < 0.2:  # before they have begun
            for number, task in enumerate(wanted):
                pool.add(number, task)
            pool.busy(rng.uniform(0.001, 0.05))
        else:
            begin(pool, wanted, 2)
        done = 0
        killed_at = 0.0
        for number in range(len(wanted)):
            if number in (0, 4):
                before = set(pool.processes())
                kill(pool, rng)
                killed_at = time.monotonic()
                done += len(before) if kill is kill_all else 1
            assert pool.result(number) == bytes([number]) * LARGE
        assert time.monotonic() - killed_at < LONGEST
        processes = pool.processes()
        begun = time.monotonic()
    assert time.monotonic() - begun < LONGEST
    for pid in processes:
        assert not Path(f"/proc/{pid}").exists()
    return done


needs_proc = pytest.mark.skipif(not Path("/proc/self/wchan").exists(), reason="needs /proc")


@needs_proc
@pytest.mark.parametrize("size", [0, LARGE], ids=["small tasks", "large tasks"])
@pytest.mark.parametrize("kill", MOMENTS, ids=lambda kill: kill.__name__)
def test_a_worker_killed_at_a_chosen_moment_is_replaced_and_every_result_is_whole(
    kill: Callable[[Pool, random.Random], None], size: int
) -> None:
    assert survive(kill, random.Random(size), size) >= 2


@needs_proc
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_kills_at_chosen_moments_leave_no_run_waiting() -> None:
    rng = random.Random(1)
    kills = 0
    while kills < 1000:
        kills += survive(rng.choice(MOMENTS), rng, rng.choice([0, 0, LARGE]))


@needs_proc
@pytest.mark.slow
def test_a_minute_of_kills_leaves_no_run_waiting() -> None:
    seed = time.time_ns()  # another minute each time
    rng = random.Random(seed)
    end = time.monotonic() + 60
    kills = 0
    while time.monotonic() < end:
        kills += survive(rng.choice(MOMENTS), rng, rng.choice([0, 0, LARGE]))
    print(f"{kills} kills, seed {seed}")


@needs_proc
def test_a_last_try_whose_worker_dies_before_it_has_begun_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fork_server, "POSSIBLE", False)  # so that a start takes a moment
    with contextlib.closing(Pool(make_echo, (0.3,), 2, str)) as pool:
        begin(pool, tasks(1), 1)
        for deaths in range(1, ATTEMPTS):
            deadline = time.monotonic() + 30
            while not any(worker.begun for worker in pool._workers.values()):
                pool.busy(0.01)
                assert time.monotonic() < deadline
            kill_workers(pool)
            while pool._deaths[0] < deaths:
                pool.busy(0.01)
                assert time.monotonic() < deadline
        while not pool._workers:
            pool.busy(0.001)
        assert not any(worker.begun for worker in pool._workers.values())
        kill_workers(pool)
        pool.busy(0.1)
        deadline = time.monotonic() + 30
        while 0 not in pool._results:
            pool.busy(0.05)
            assert time.monotonic() < deadline, "it waits for ever"
        assert pool.result(0) == bytes(LARGE)


def kill_workers(pool: Pool) -> None:
    for pid in pool.processes():
        os.kill(pid, signal.SIGKILL)


def test_what_is_no_text_on_the_path_of_modules_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, Path("/somewhere")])
    monkeypatch.setattr(fork_server, "POSSIBLE", False)
    with contextlib.closing(Pool(make_echo, (0,), 1, str)) as pool:
        pool.add(0, tasks(1)[0])
        assert pool.result(0) == bytes(LARGE)


def test_a_pool_that_is_closed_while_its_workers_send_ends_at_once() -> None:
    pool = Pool(make_echo, (0,), 2, str)
    begin(pool, tasks(4), 2)
    time.sleep(0.1)
    begun = time.monotonic()
    pool.close()
    assert time.monotonic() - begun < 2


def make_nothing(reason: str) -> Callable[[int], int]:
    raise InputError(f"w.pth cannot be read: {reason}", "another file")


def test_what_keeps_a_worker_from_beginning_is_raised_as_it_is(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with contextlib.closing(Pool(make_nothing, ("it is gone",), 2, str)) as pool:
        pool.add(0, 0)
        with pytest.raises(InputError, match=r"^w.pth cannot be read: it is gone. Try: another"):
            pool.result(0)
    assert capfd.readouterr() == ("", "")


def test_a_worker_that_cannot_even_start_says_why_once(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys; sys.exit('no room for the interpreter')"
    monkeypatch.setattr(pool_module, "START", program + "#{path}{arguments}")
    with contextlib.closing(Pool(make_echo, (0,), 1, str)) as pool:
        pool.add(0, (0, b""))
        with pytest.raises(WorkerDiedError, match="do not start: no room for the interpreter"):
            pool.result(0)
    assert capfd.readouterr() == ("", "")


def test_a_process_that_the_system_does_not_give_names_the_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with contextlib.closing(Pool(make_echo, (0,), 1, str)) as pool:
        pool.add(0, (0, b""))
        with pytest.raises(StorageError, match=r"worker process failed: too many processes.*-j"):
            pool.result(0)


def make_murderous(victim: int) -> Callable[[int], int]:
    def murderous(task: int) -> int:
        time.sleep(0.01)
        if task == victim:
            os.kill(os.getpid(), signal.SIGSEGV)
        return task

    return murderous


def test_the_task_that_kills_is_named_with_the_signal_after_those_before_it_are_done() -> None:
    with contextlib.closing(Pool(make_murderous, (2,), 3, str)) as pool:
        for number in range(6):
            pool.add(number, number)
        assert [pool.result(0), pool.result(1)] == [0, 1]
        with pytest.raises(WorkerDiedError, match=f"died {ATTEMPTS} times around 2 .SIGSEGV: a"):
            pool.result(2)


def make_greedy(name: str) -> Callable[[int], int]:
    def greedy(task: int) -> int:
        raise MemoryError

    return greedy


def test_a_task_out_of_memory_is_no_dead_worker() -> None:
    with contextlib.closing(Pool(make_greedy, ("",), 1, str)) as pool:
        pool.add(0, 0)
        with pytest.raises(MemoryError):
            pool.result(0)


class Stubborn(Exception):
    """Takes other arguments than it keeps, as some libraries' errors do."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def make_stubborn(name: str) -> Callable[[int], int]:
    def stubborn(task: int) -> int:
        raise Stubborn(1, 2)

    return stubborn


def test_an_error_that_cannot_be_sent_arrives_in_words_with_its_traceback() -> None:
    with contextlib.closing(Pool(make_stubborn, ("",), 1, str)) as pool:
        pool.add(0, 0)
        with pytest.raises(RuntimeError, match="Stubborn: 1 and 2") as caught:
            pool.result(0)
    assert "in stubborn" in str(caught.value.__cause__)


def make_talkative(name: str) -> Callable[[int], int]:
    print("on stdout, at the beginning")

    def talkative(task: int) -> int:
        print("on stdout", flush=True)
        os.write(2, b"on stderr\n")
        return task

    return talkative


def test_what_a_worker_prints_is_never_among_the_data(capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.closing(Pool(make_talkative, ("",), 1, str)) as pool:
        pool.add(0, 0)
        assert pool.result(0) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "on stderr" in err


def make_reader(name: str) -> Callable[[int], list[str]]:
    return lambda task: [path for path in sys.path if path in ("", os.getcwd())]


def test_a_worker_has_the_current_folder_not_on_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    with contextlib.closing(Pool(make_reader, ("",), 1, str)) as pool:
        pool.add(0, 0)
        assert pool.result(0) == []


SHADOWS = [
    "abc", "collections", "contextlib", "encodings", "enum", "functools", "io", "json", "logging",
    "numpy", "os", "pickle", "random", "re", "selectors", "signal", "site", "socket", "struct",
    "subprocess", "tempfile", "threading", "traceback", "types", "warnings",
]  # fmt: skip


@pytest.mark.parametrize("command", ["generate-fractals", "inspect"])
def test_modules_of_the_current_folder_are_not_executed(tmp_path: Path, command: str) -> None:
    mark = tmp_path / "executed"
    data = tmp_path / "data"
    data.mkdir()
    for name in SHADOWS:
        (data / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    out = tmp_path / "o"
    lines = {
        "generate-fractals": ["generate-fractals", "-n", 3, "--size", 32, "-j", 2, "-o", out],
        "inspect": ["inspect", out, "-j", 2],
    }
    for line in dict.fromkeys(["generate-fractals", command]):
        done = subprocess.run(
            [sys.executable, "-c", AS_INSTALLED, data, *map(str, lines[line])],
            capture_output=True, env=environment(), cwd=tmp_path, check=False, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not mark.exists(), mark.read_text()
