"""What is the fault of a disk or of a limit is not listed as the fault of a picture."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pixmix_cli.errors import StorageError
from pixmix_cli.pipelines.bake.worker import Baker
from pixmix_cli.sources import pictures
from tests.conftest import Cli, one_line_error, tree


def fail_once(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[], object]) -> None:
    """Have something happen before the fifth picture is read."""
    read, count = Baker.read, iter(range(1000))

    def spoiled(self, sample):
        if next(count) == 4:
            spoil()
        return read(self, sample)

    monkeypatch.setattr(Baker, "read", spoiled)


def test_a_source_that_vanishes_ends_the_run_and_resume_gives_the_same_bytes(
    cli: Cli, tmp_path: Path, photos: Path, mixing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos, source)
    line = ["bake", source, "--mixing-set", mixing, "--size", 32, "--shard-size", 2, "-j", 1]
    assert cli(*line, "-o", tmp_path / "quiet")[0] == 0
    with monkeypatch.context() as patch:
        fail_once(patch, lambda: source.rename(tmp_path / "unplugged"))
        code, _, err = cli(*line, "-o", tmp_path / "o")
    assert code == 1
    assert f"SOURCE {source} is gone" in one_line_error(err)
    assert "--resume" in err
    (tmp_path / "unplugged").rename(source)
    assert cli(*line, "-o", tmp_path / "o", "--resume")[0] == 0
    assert tree(tmp_path / "o") == tree(tmp_path / "quiet")


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.EMFILE, "too many open files"), (errno.ESTALE, "is gone"), (errno.ENOMEM, "memory")],
)
def test_a_limit_or_a_lost_disk_ends_the_run_too(
    cli: Cli, tmp_path: Path, photos: Path, mixing: Path, monkeypatch: pytest.MonkeyPatch,
    number: int, words: str,
) -> None:  # fmt: skip
    def refuse(path: str, *place: int) -> bytes:
        error = OSError(number, os.strerror(number))
        raise StorageError.from_os_error(error, path, "reading") from error

    fail_once(monkeypatch, lambda: monkeypatch.setattr(pictures, "read_bytes_at", refuse))
    line = ["bake", photos, "--mixing-set", mixing, "--size", 32, "--shard-size", 2, "-j", 1]
    code, _, err = cli(*line, "-o", tmp_path / "o")
    monkeypatch.undo()
    assert code == 1
    assert words in one_line_error(err)


def test_a_picture_that_alone_is_missing_is_left_out_and_listed(
    cli: Cli, tmp_path: Path, photos: Path, mixing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos, source)
    last = sorted(source.rglob("*.*"))[-1]
    fail_once(monkeypatch, last.unlink)
    line = ["bake", source, "--mixing-set", mixing, "--size", 32, "--shard-size", 2, "-j", 1]
    code, _, _ = cli(*line, "-o", tmp_path / "o")
    assert code == 3
    assert last.name in (tmp_path / "o" / "errors.jsonl").read_text()
