"""The lock of an output in an object store."""

from __future__ import annotations

import contextlib
import threading

import pytest

from pixmix_cli.errors import OutputBusyError
from pixmix_cli.outputs import object_lock
from pixmix_cli.outputs.object_lock import Lock
from pixmix_cli.storage import remote
from pixmix_cli.storage.remote import Url
from tests.object_store import ObjectStore


def claims(s3: ObjectStore, role: str, count: int) -> int:
    """How many of several runs that start at the same moment hold the lock."""
    together = threading.Barrier(count)
    held: list[Lock] = []

    def claim() -> None:
        together.wait()
        with contextlib.suppress(OutputBusyError):
            held.append(Lock(Url(f"{s3.url}/out"), role))

    threads = [threading.Thread(target=claim) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for lock in held:
        lock.release()
    return len(held)


def test_of_runs_that_start_at_the_same_moment_one_at_most_goes_on(s3: ObjectStore) -> None:
    assert claims(s3, "alone", 4) <= 1
    assert claims(s3, "00001-of-00004", 4) <= 1


def test_of_parts_that_end_at_the_same_moment_one_at_least_finishes(s3: ObjectStore) -> None:
    assert claims(s3, "ending", 4) >= 1


def test_a_run_that_was_paused_while_it_looked_round_looks_again(
    s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(object_lock.time, "monotonic", lambda: clock[0])
    give_way = Lock._give_way
    others: list[Lock] = []

    def slow(lock: Lock) -> None:
        give_way(lock)
        if not others:  # meanwhile another run finds this lock stale, removes it and goes on
            remote.remove([lock._text])
            others.append(lock)
            others.append(Lock(Url(f"{s3.url}/out"), "alone"))
            clock[0] += object_lock.STALE

    monkeypatch.setattr(Lock, "_give_way", slow)
    with pytest.raises(OutputBusyError):
        Lock(Url(f"{s3.url}/out"), "alone")
    others[1].release()
    Lock(Url(f"{s3.url}/out"), "alone").release()


def test_different_parts_hold_their_locks_side_by_side(s3: ObjectStore) -> None:
    held = [Lock(Url(f"{s3.url}/out"), f"{i:05d}-of-00003") for i in range(3)]
    for role in ("alone", "ending", "00002-of-00003", "00000-of-00002"):
        with pytest.raises(OutputBusyError):
            Lock(Url(f"{s3.url}/out"), role)
    for lock in held:
        lock.release()
    Lock(Url(f"{s3.url}/out"), "alone").release()
