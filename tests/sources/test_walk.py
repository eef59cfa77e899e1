"""Folders on a disk that is waited for are listed several at a time, in the same order."""

from __future__ import annotations

import threading
import time

import pytest

from pixmix_cli.sources import walk
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.pictures import Pictures

CLASSES = 60


@pytest.fixture
def source(tmp_path):
    """An ImageFolder with nested folders, and in each class something to warn of."""
    for label in range(CLASSES):
        inner = tmp_path / f"c{label:02d}" / "inner"
        inner.mkdir(parents=True)
        (inner / "b.png").write_bytes(b"x" * label)
        (inner.parent / "a.png").write_bytes(b"xyz")
        (inner / "loop").symlink_to(inner.parent)
    return tmp_path


@pytest.fixture
def at_once(monkeypatch):
    """How many folders are being listed: (now, most so far)."""
    count, lock, original = [0, 0], threading.Lock(), walk._listed

    def counted(folder, warn):
        with lock:
            count[0] += 1
            count[1] = max(count)
        try:
            return original(folder, warn)
        finally:
            with lock:
                count[0] -= 1

    monkeypatch.setattr(walk, "_listed", counted)
    return count


def listed(source):
    """All that is said of a source."""
    said: list[str] = []
    found = open_source(source, said.append)
    assert found.pictures.watched is not None
    return found.digest, list(found.pictures), said, list(found.pictures.watched.stamps.items())


def test_slow_folders_are_listed_together_and_come_in_order(source, at_once, monkeypatch):
    quick = listed(source)
    assert at_once[1] == 1
    counted = walk._listed

    def slow(folder, warn):
        found = counted(folder, warn)
        time.sleep(0.01)
        return found

    monkeypatch.setattr(walk, "_listed", slow)
    monkeypatch.setattr(walk, "_waits", iter(range(0, 100_000, 100)).__next__)
    assert listed(source) == quick


def test_a_wait_is_seen_and_work_is_none():
    before = walk._waits()
    for _ in range(walk.LOOKED_AT):
        time.sleep(0.001)
    assert walk._waits() - before >= walk.LOOKED_AT


def test_folders_that_are_waited_for_are_read_by_threads(source, monkeypatch):
    threads = set()
    original = walk._listed

    def slow(folder, warn):
        threads.add(threading.get_ident())
        time.sleep(0.01)
        return original(folder, warn)

    monkeypatch.setattr(walk, "_listed", slow)
    open_source(source, lambda line: None)
    assert len(threads) > 2


def test_folders_inside_classes_are_asked_for_once(source, monkeypatch):
    calls = []
    original = Pictures.prefixes

    def counted(self):
        calls.append(self)
        return original(self)

    monkeypatch.setattr(Pictures, "prefixes", counted)
    open_source(source, lambda line: None)
    assert len(calls) == 1
