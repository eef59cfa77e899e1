"""Packages of the same names as ours: told in one line, and nothing of theirs is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixmix_cli import own_packages
from tests.conftest import ROOT, Run, one_line_error


def test_the_packages_of_this_checkout_are_ours() -> None:
    assert own_packages.trouble() is None


@pytest.mark.parametrize("command", [["generate-fractals", "-n", 1, "-o", "o"], ["doctor"]])
@pytest.mark.parametrize(
    "file", ["fractals/__init__.py", "fractals.py", "featvis/__init__.py", "pixmix_kernels.py"]
)
def test_a_package_that_hides_ours_is_named_and_not_run(
    pixmix: Run, tmp_path: Path, file: str, command: list[object]
) -> None:
    foreign = tmp_path / "project" / file
    foreign.parent.mkdir(parents=True)
    foreign.write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    path = os.pathsep.join((".", str(ROOT)))
    done = pixmix(*command, env={"PYTHONPATH": path}, cwd=tmp_path / "project")
    assert done.returncode == 1
    error = one_line_error(done.stderr)
    assert f"{foreign} hides pixmix's own package {file.split('/')[0].split('.')[0]}" in error
    assert "PYTHONPATH" in error
    assert not (tmp_path / "executed").exists()


def test_a_folder_without_init_such_as_an_output_hides_nothing(pixmix: Run, tmp_path: Path) -> None:
    (tmp_path / "fractals").mkdir()
    path = os.pathsep.join((".", str(ROOT)))
    line = ["generate-fractals", "-n", 1, "--size", 16, "-o", tmp_path / "o", "-j", 1]
    assert pixmix(*line, env={"PYTHONPATH": path}, cwd=tmp_path).returncode == 0


def test_an_overwritten_package_is_told_from_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_packages, "MARK", b"what another distribution's file does not have")
    reason, hint = own_packages.trouble() or ("", "")
    assert "fractals/__init__.py is not pixmix's: another distribution has overwritten it" in reason
    assert hint.startswith("pip uninstall fractals, then pip install --force-reinstall")


def test_a_package_that_was_removed_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_packages, "NAMES", ("a_package_that_is_not_there",))
    reason, hint = own_packages.trouble() or ("", "")
    assert "a_package_that_is_not_there/__init__.py is missing" in reason
    assert "pip install --force-reinstall" in hint
