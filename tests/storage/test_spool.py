"""Temporary files of runs that were killed do not pile up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixmix_cli.errors import StorageError
from pixmix_cli.storage import spool
from tests.conftest import Cli

DIES = """
import os, tempfile
from pixmix_cli.storage import spool
spool.new_file("a").write_bytes(b"left behind")
os._exit(9)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    spool.remove_all()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    spool.remove_all()


def _killed_run(place: Path) -> Path:
    before = set(place.iterdir())
    environment = {"TMPDIR": str(place), "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", DIES], env=environment, check=False)
    (folder,) = set(place.iterdir()) - before
    assert (folder / "a").read_bytes() == b"left behind"
    return folder


@pytest.mark.process
def test_the_next_run_removes_what_a_killed_one_left(place: Path) -> None:
    left = _killed_run(place)
    mine = spool.new_file("b")
    assert not left.exists()
    assert mine.parent.is_dir()


def test_without_a_folder_for_temporary_files_only_who_needs_one_fails(
    cli: Cli, tmp_path: Path
) -> None:
    """As in a container whose folders are read-only, but for the output."""

    def refuse() -> str:
        raise FileNotFoundError("No usable temporary directory found")

    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "gettempdir", refuse)
        code, _, err = cli("generate-fractals", "-n", 1, "--size", 32, "-o", out, "-qq")
        assert (code, err) == (0, "")
        with pytest.raises(
            StorageError,
            match=r"no folder for temporary files that can be written to\. Try: TMPDIR=",
        ):
            spool.new_file("a")


@pytest.mark.process
def test_files_of_a_run_that_lives_stay(place: Path) -> None:
    mine = spool.new_file("b")
    mine.write_bytes(b"in use")
    _killed_run(place)  # it looks for orphans too
    assert mine.read_bytes() == b"in use"


@pytest.mark.parametrize("host", ["another machine", None])
def test_folders_of_other_machines_and_without_a_lock_stay(place: Path, host: str | None) -> None:
    folder = place / f"{spool.PREFIX}x"
    folder.mkdir()
    if host is not None:
        (folder / spool.LOCK).write_text(host)
    spool.new_file("b")
    assert folder.is_dir()


@pytest.mark.parametrize(("age", "stays"), [(60, True), (2 * spool.UNLOCKED_SECONDS, False)])
@pytest.mark.parametrize("names", [[], [spool.UNNAMED_LOCK]])
def test_a_folder_whose_run_was_killed_before_it_locked_it_goes_once_it_is_old(
    place: Path, names: list[str], age: int, stays: bool
) -> None:
    folder = place / f"{spool.PREFIX}x"
    folder.mkdir()
    for name in names:
        (folder / name).touch()
    then = time.time() - age
    os.utime(folder, (then, then))
    spool._remove_orphans(place)
    assert folder.is_dir() == stays


def test_a_link_to_a_folder_is_never_followed(place: Path) -> None:
    other = place / "other"
    other.mkdir()
    (other / spool.LOCK).write_text(socket.gethostname())
    (place / f"{spool.PREFIX}x").symlink_to(other)
    spool._remove_orphans(place)
    assert (other / spool.LOCK).exists()


def test_all_folders_of_a_run_go_at_its_end(place: Path) -> None:
    for name in ("a", "b"):
        spool.new_file(name).write_bytes(b"x")
    spool.remove_all()
    assert list(place.iterdir()) == []
