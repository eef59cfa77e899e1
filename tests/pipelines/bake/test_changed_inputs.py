"""Inputs that changed between the runs of one output, with names and lengths as they were."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import Cli


@pytest.mark.parametrize("changed", ["SOURCE", "mixing-set"])
@pytest.mark.parametrize("later", [1, -1])
def test_a_picture_that_was_replaced_by_one_of_the_same_length_is_warned_of(
    cli: Cli, tmp_path: Path, photos: Path, mixing: Path, changed: str, later: int
) -> None:
    inputs = {"SOURCE": tmp_path / "s", "mixing-set": tmp_path / "m"}
    shutil.copytree(photos, inputs["SOURCE"])
    shutil.copytree(mixing, inputs["mixing-set"])
    out = tmp_path / "o"
    bake = ("bake", inputs["SOURCE"], "--mixing-set", inputs["mixing-set"], "--size", 16, "-j", 1)
    assert cli(*bake, "-o", out, "-q")[0] == 0
    file = next(iter(sorted(inputs[changed].rglob("*.png"))))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    written = (out / "manifest.json").stat().st_mtime + later
    os.utime(file, (written, written))
    code, _, err = cli(*bake, "-o", out, "--resume", "--copies", 2, "-q")
    assert code == 0, err
    warned = f"{file} of {changed} changed after output {out} was begun" in err
    assert warned == (later > 0)
    assert err.count("warning:") == (later > 0)


def test_a_mixing_set_on_stdin_is_of_no_time(
    cli: Cli, tmp_path: Path, photos: Path, mixing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(mixing, "m")
    bake = ("bake", photos, "--mixing-set", "-", "--size", 16, "-j", 1, "-o", tmp_path / "o", "-q")
    for more in ([], ["--resume", "--copies", 2]):
        given = io.TextIOWrapper(io.BytesIO(stream.getvalue()))
        monkeypatch.setattr("sys.stdin", given)
        code, _, err = cli(*bake, *more)
        assert code == 0, err
        assert "warning:" not in err
