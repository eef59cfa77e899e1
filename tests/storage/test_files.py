"""Files appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from pixmix_cli.errors import PixMixError, StorageError
from pixmix_cli.storage.files import PartialFile, canonical_json, partial_files, write_whole


def test_committed_file_has_its_bytes_and_no_partial_is_left(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "x.bin", b"hello", tmp_path)
    assert (tmp_path / "a" / "x.bin").read_bytes() == b"hello"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]


def test_failure_in_the_block_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(RuntimeError), partial_files([target], tmp_path) as (file,):
        file.write(b"new")
        raise RuntimeError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_hash_and_length_are_of_what_was_written(tmp_path: Path) -> None:
    file = PartialFile(tmp_path / "x", tmp_path)
    file.write(b"ab")
    file.write(b"c")
    assert (file.bytes, file.sha256) == (3, hashlib.sha256(b"abc").hexdigest())
    file.close()
    file.commit()
    assert (tmp_path / "x").read_bytes() == b"abc"


def test_full_disk_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left while writing") as caught:
        write_whole(tmp_path / "x", b"data")
    assert "--resume" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_errors_survive_the_way_from_a_worker() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(StorageError("what", "mend")))
    assert isinstance(error, StorageError)
    assert (error.message, error.hint, error.exit_code) == ("what", "mend", 1)


def test_an_error_is_one_line_with_its_mend() -> None:
    assert str(PixMixError("a\nb.", "do c")) == "a b. Try: do c"


def test_a_numpy_index_names_the_same_stream_as_a_python_one() -> None:
    import numpy as np

    from pixmix_cli.seeding import Stream, rng_for

    whole = rng_for(1, Stream.BAKE, 3).random()
    assert rng_for(1, Stream.BAKE, np.int64(3)).random() == whole  # type: ignore[arg-type]
    assert rng_for(1, Stream.BAKE, "3").random() != whole


def test_equal_values_give_equal_json() -> None:
    assert canonical_json({"b": 1, "a": [1.5]}) == canonical_json({"a": [1.5], "b": 1})
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})
