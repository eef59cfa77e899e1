"""File systems that lack something: locks, links, room for another name."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Cli, Run, one_line_error, small_file_system, tree

FRACTALS = ("generate-fractals", "-n", 12, "--size", 64, "-j", 1, "-qq")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.EINVAL])
def test_a_file_system_without_locks_is_one_line_with_the_mend(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for part in ([], ["--shard", "0/1"]):
        code, _, err = cli(*FRACTALS, *part, "-o", tmp_path / "o")
        assert code == 1
        assert "has locks" in one_line_error(err)


def test_no_output_needs_links(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photos: Path, mixing: Path
) -> None:
    def refuse(*paths: object, **more: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(os, "symlink", refuse)
    bake = ("bake", photos, "--mixing-set", mixing, "--size", 16, "-j", 1, "-qq")
    for name, words in (("f", FRACTALS), ("b", bake)):
        code, _, err = cli(*words, "-o", tmp_path / name)
        assert code == 0, err


@pytest.fixture
def few_names(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a dozen names; needs the right to mount."""
    with small_file_system(tmp_path / "small", "size=8m,nr_inodes=14") as place:
        yield place


LAYOUTS = ("imagefolder", "parquet", "webdataset", "npy")


@pytest.mark.process
@pytest.mark.parametrize(
    "kind",
    [
        "fractals",
        LAYOUTS[0],
        *(pytest.param(name, marks=pytest.mark.slow) for name in (*LAYOUTS[1:], "featvis")),
    ],
)
def test_a_disk_without_room_for_another_name_is_one_line_and_resume_finishes(
    pixmix: Run, few_names: Path, tmp_path: Path, photos: Path, mixing: Path, kind: str
) -> None:
    bake = ("bake", photos, "--mixing-set", mixing, "--size", 48, "--copies", 4, "-j", 1, "-qq")
    featvis = ("render-featvis", "--weights", "fractals", "--count", 12, "--size", 48, "--steps", 1)
    words = {"fractals": FRACTALS, "featvis": (*featvis, "-j", 1, "-qq")}.get(
        kind, (*bake, "--format", kind, "--shard-size", 4)
    )
    assert pixmix(*words, "-o", tmp_path / "whole").returncode == 0
    failed = pixmix(*words, "-o", few_names / "o")
    assert failed.returncode == 1
    assert "no space left" in one_line_error(failed.stderr)
    subprocess.run(["mount", "-o", "remount,nr_inodes=9999", str(few_names)], check=True)
    done = pixmix(*words, "-o", few_names / "o", "--resume")
    assert done.returncode == 0, done.stderr
    assert tree(few_names / "o") == tree(tmp_path / "whole")
