"""Arrays in a file: whole or absent, read in parts, and never wrong without a word."""

from __future__ import annotations

import array
import errno
import os
import random

import pytest

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.storage import blocks
from pixmix_cli.storage.blocks import BLOCK, Blocks, write_arrays

ARRAYS = {
    "small": array.array("i", [-3, 5]),
    "none": array.array("q"),
    "long": array.array("q", range(3 * BLOCK)),
    "text": array.array("B", random.Random(0).randbytes(BLOCK + 77)),
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The bytes of a whole file."""
    return write(tmp_path_factory.mktemp("blocks")).read_bytes()


@pytest.fixture
def path(tmp_path, written):
    """Such a file."""
    (tmp_path / "file").write_bytes(written)
    return tmp_path / "file"


def write(folder, arrays=ARRAYS):
    pieces = {
        name: (column.typecode, [bytes(column[:1]), bytes(column[1:])])
        for name, column in arrays.items()
    }
    write_arrays(folder / "file", folder, pieces, {"a": [1, None, "é"]})
    return folder / "file"


def test_what_was_written_is_read(path):
    found = Blocks(path)
    assert found.about == {"a": [1, None, "é"]}
    assert {name: found[name][:] for name in ARRAYS} == ARRAYS
    assert "other" not in found


@pytest.mark.parametrize("seed", range(20))
def test_any_part_is_that_of_the_array(path, seed):
    rng = random.Random(seed)
    found = Blocks(path)
    for name, column in ARRAYS.items():
        numbers = found[name]
        start, stop = rng.randrange(-9, len(column) + 9), rng.randrange(-9, len(column) + 9)
        assert numbers[start:stop] == column[start:stop]
        assert numbers[start:stop:3] == column[start:stop:3]
        if len(column):
            index = rng.randrange(-len(column), len(column))
            assert numbers[index] == column[index]
        with pytest.raises(IndexError):
            numbers[len(column)]


def test_a_file_without_arrays_is_read(tmp_path):
    assert "x" not in Blocks(write(tmp_path, {}))


@pytest.mark.parametrize("seed", range(60))
def test_one_wrong_byte_anywhere_is_noticed(path, seed):
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises((ValueError, StorageError)):
        found = Blocks(path)
        for name in ARRAYS:
            found[name].tolist()


@pytest.mark.parametrize("left", [0, 10, BLOCK, -1])
def test_a_file_that_was_cut_is_not_opened(path, left):
    os.truncate(path, left if left >= 0 else path.stat().st_size + left)
    with pytest.raises(ValueError, match=r"short|end|damaged"):
        Blocks(path)


def test_damage_is_told_in_one_line_with_a_mend(path):
    found = Blocks(path)
    with path.open("r+b") as file:
        file.write(b"xxxx")
    with pytest.raises(StorageError, match=r"file is damaged. Try: rm '.*file', then"):
        found["small"][0]


def test_a_link_in_its_place_is_refused(tmp_path, path):
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(InputError, match="is a link"):
        Blocks(tmp_path / "link")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    write_some = blocks.PartialFile.write

    def full(self, data):
        if self.bytes:
            raise StorageError("no space left")
        write_some(self, data)

    monkeypatch.setattr(blocks.PartialFile, "write", full)
    with pytest.raises(StorageError, match="no space left"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_not_told_as_damage(path, monkeypatch):
    found = Blocks(path)

    def gone(*given):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    monkeypatch.setattr(os, "pread", gone)
    with pytest.raises(StorageError, match=r"reading .*file failed: Stale file handle"):
        found["small"][0]


def test_a_file_that_is_cut_while_it_is_read_is_damaged(path):
    found = Blocks(path)
    os.truncate(path, 1)
    with pytest.raises(StorageError, match="file is damaged"):
        found["small"][0]
