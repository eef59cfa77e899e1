"""pixmix doctor: what is there, what is slow, what would fail."""

from __future__ import annotations

import importlib.metadata
import json
import sys
from pathlib import Path

import pytest

from pixmix_cli.pipelines import doctor
from tests.conftest import Cli

pytestmark = pytest.mark.torch  # its speed is measured each time


def statuses(out: str) -> dict[str, str]:
    """Name -> status of every line."""
    return {line[5:19].strip(): line[:5].strip() for line in out.splitlines()}


def test_a_machine_on_which_the_tests_run_has_nothing_that_fails(cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("doctor", tmp_path)
    assert code == 0, out
    found = statuses(out)
    for name in ("click", "numpy", "numba", "pillow", "torch", "torchvision", "simplejpeg"):
        assert found[name] == "ok"
    machine = {"cores", "limits", "output", "mixing cache", "GPU", "weights"}
    assert machine | {"pictures", "mixing code", "fractals code"} <= set(found)
    assert "fail" not in found.values()
    assert "0 would fail" in err


def test_json_gives_a_record_for_each_line(cli: Cli, tmp_path: Path) -> None:
    code, out, _ = cli("doctor", tmp_path, "--json", "-qq")
    assert code == 0
    records = [json.loads(line) for line in out.splitlines()]
    assert {tuple(sorted(record)) for record in records} == {("hint", "name", "status", "text")}


def test_a_folder_that_cannot_be_written_fails(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    code, out, _ = cli("doctor", file / "below", "-q")
    assert code == 1
    line = next(line for line in out.splitlines() if line.startswith("fail"))
    assert f"{file} cannot be written" in line


@pytest.mark.parametrize(
    ("requirement", "status", "text"),
    [
        ("no-such-package>=1.2", "fail", "missing"),
        ("click>=99.1", "fail", "older than 99.1"),
        ("click>=1", "ok", ""),
        ('tomli>=2.0; python_version < "3.2"', None, ""),
        ('no-such-package>=1; extra == "more"', None, ""),
    ],
)
def test_packages_are_compared_with_what_pixmix_asks_for(
    requirement: str, status: str | None, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: [requirement])
    found = list(doctor._packages())
    assert [finding.status for finding in found] == ([status] if status else [])
    assert all(text in finding.text for finding in found)
    assert all(finding.hint for finding in found if finding.status == "fail")


def test_too_little_memory_for_the_workers_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "default_workers", lambda: 8)
    monkeypatch.setattr(doctor, "_available_memory", lambda: 3 << 30)
    found = doctor._cores()
    assert (found.status, found.hint) == ("slow", "-j 3")
    monkeypatch.setattr(doctor, "_available_memory", lambda: 64 << 30)
    assert doctor._cores().status == "ok"


@pytest.mark.parametrize(
    ("memory", "files", "words"),
    [
        ("`ulimit -v` allows 400 MB of memory", None, "allows 400 MB"),
        (None, 20, "`ulimit -n` allows 20 open files"),
        (None, 100_000, None),
        (None, None, None),
    ],
)
def test_limits_of_the_shell_that_workers_would_meet_are_slow(
    monkeypatch: pytest.MonkeyPatch, memory: str | None, files: int | None, words: str | None
) -> None:
    monkeypatch.setattr(doctor, "memory_limit", lambda: memory)
    monkeypatch.setattr(doctor, "open_files_limit", lambda: files)
    found = doctor._limits()
    assert found.status == ("ok" if words is None else "slow")
    assert words is None or words in found.text
    assert (found.hint is None) == (words is None)


def test_a_torch_that_cannot_be_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    (found,) = doctor._torch()
    assert found.status == "fail"
    assert "torchvision" in found.text


def test_whatever_a_look_raises_is_a_finding() -> None:
    def broken() -> doctor.Finding:
        raise RuntimeError("no\nluck")

    found = doctor._guarded("kernels", broken)
    assert (found.status, found.text) == ("fail", "RuntimeError: no luck")
