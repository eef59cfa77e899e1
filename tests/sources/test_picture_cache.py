from __future__ import annotations

import multiprocessing
import os
import struct

import numpy as np
import pytest

from pixmix_cli.sources import picture_cache
from pixmix_cli.sources.picture_cache import PictureCache, default_folder, identity, make_room
from pixmix_cli.sources.pictures import PictureRef

KEY = "0" * 32


@pytest.fixture(autouse=True)
def _any_disk(monkeypatch):
    monkeypatch.setattr(picture_cache, "KEEP_FREE", 0)


def picture(number, height=7, width=9):
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def ref(path):
    return PictureRef(path.name, str(path), 0, path.stat().st_size)


def same(found: np.ndarray | None, pixels: np.ndarray) -> bool:
    """Whether the cache gave these pixels."""
    return found is not None and np.array_equal(found, pixels)


def test_what_was_put_is_there_for_every_view_of_the_same_set(tmp_path):
    writer, reader = PictureCache(tmp_path, KEY, 5), PictureCache(tmp_path, KEY, 5)
    assert reader.get(3) is None
    writer.put(3, picture(3))
    writer.put(0, picture(0, 30, 2))
    for cache in (writer, reader, PictureCache(tmp_path, KEY, 5)):
        assert same(cache.get(3), picture(3))
        assert same(cache.get(0), picture(0, 30, 2))
        assert cache.get(1) is None


@pytest.mark.parametrize("file", ["pixels", "index"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_a_damaged_entry_is_a_picture_to_be_done_again(tmp_path, file, damage):
    PictureCache(tmp_path, KEY, 2).put(1, picture(1))
    place = tmp_path / KEY / file
    data = bytearray(place.read_bytes())
    if damage == "flip":
        data[-5] ^= 1
    place.write_bytes({"flip": data, "cut": data[:-1], "empty": b""}[damage])
    cache = PictureCache(tmp_path, KEY, 2)
    found = cache.get(1)
    if (file, damage) == ("index", "cut"):  # only padding was lost
        assert same(found, picture(1))
    else:
        assert found is None
    cache.put(1, picture(1))
    assert same(PictureCache(tmp_path, KEY, 2).get(1), picture(1))


def test_an_index_entry_of_nonsense_is_no_picture(tmp_path):
    cache = PictureCache(tmp_path, KEY, 1)
    cache.put(0, picture(0))
    for entry in [(1 << 40, 7, 9, 0), (0, -7, 9, 0), (0, 1 << 30, 1 << 30, 0), (-8, 7, 9, 0)]:
        (tmp_path / KEY / "index").write_bytes(struct.pack("<qiiI4x", *entry))
        assert PictureCache(tmp_path, KEY, 1).get(0) is None


def test_a_full_cache_keeps_what_it_has_and_takes_no_more(tmp_path, monkeypatch):
    cache = PictureCache(tmp_path, KEY, 3, limit=2 * picture(0).nbytes)
    for number in range(3):
        cache.put(number, picture(number))
    assert same(cache.get(1), picture(1))
    assert cache.get(2) is None
    monkeypatch.setattr(picture_cache, "KEEP_FREE", 1 << 60)
    crowded = PictureCache(tmp_path, KEY, 3)
    crowded.put(2, picture(2))
    assert crowded.get(2) is None
    assert same(crowded.get(0), picture(0))


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = PictureCache(tmp_path / "file", KEY, 1)
    cache.put(0, picture(0))
    assert cache.get(0) is None
    make_room(tmp_path / "file", KEY)


def _put_all(folder, numbers):
    picture_cache.KEEP_FREE = 0
    cache = PictureCache(folder, KEY, 200)
    for number in numbers:
        cache.put(number, picture(number))


@pytest.mark.process
def test_processes_that_write_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("forkserver")
    orders = [range(200), range(199, -1, -1), range(0, 200, 2)]
    workers = [context.Process(target=_put_all, args=(tmp_path, order)) for order in orders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    cache = PictureCache(tmp_path, KEY, 200)
    assert all(same(cache.get(number), picture(number)) for number in range(200))


def test_the_identity_of_a_set_changes_with_every_change_of_a_file(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    first = identity([ref(path)], "36")
    assert identity([ref(path)], "36") == first
    assert identity([ref(path)], "256") != first
    times = path.stat()
    path.write_bytes(b"two")  # same length, and its old modification time
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert identity([ref(path)], "36") != first
    gone = ref(path)
    path.unlink()
    assert identity([gone], "36") != first


def test_the_sets_least_recently_used_make_room(tmp_path, monkeypatch):
    keys = [f"{number:032d}" for number in range(4)]
    for age, key in enumerate(keys):
        PictureCache(tmp_path, key, 1).put(0, picture(0, 100, 100))
        os.utime(tmp_path / key, (1000 + age, 1000 + age))
    (tmp_path / "kernels").mkdir()  # something else of ours
    monkeypatch.setattr(picture_cache, "MAX_BYTES", 2 * 2 * 31_000)
    make_room(tmp_path, keys[0])  # in use: stays although it is the oldest
    assert sorted(p.name for p in tmp_path.iterdir()) == [keys[0], keys[3], "kernels"]


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PIXMIX_CACHE_DIR", str(tmp_path / "mine"))
    assert default_folder() == tmp_path / "mine"
    monkeypatch.delenv("PIXMIX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "pixmix"
