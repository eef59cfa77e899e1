"""Inputs and outputs that lie elsewhere, through the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Cli, one_line_error, tree
from tests.object_store import ObjectStore

SMALL = ["--size", 32, "--preset", "cifar", "--copies", 2, "-j", 1, "--mixing-cache", "none"]


def told_apart(files: dict[str, str]) -> dict[str, str]:
    """Without manifest.json, which tells where the inputs lay."""
    return {name: digest for name, digest in files.items() if name != "manifest.json"}


def test_a_bake_from_s3_with_faults_equals_the_local_one(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source, pictures = s3.put(photos, "photos"), s3.put(mixing, "mixing")
    assert cli("bake", photos, "--mixing-set", mixing, "-o", tmp_path / "a", *SMALL)[0] == 0
    faults = iter(["503", "drop", "cut"] * 100)
    s3.proxy.fault = lambda number, method, path: next(faults) if number % 4 == 2 else None
    code, _, err = cli("bake", source, "--mixing-set", pictures, "-o", tmp_path / "b", *SMALL)
    assert code == 0, err
    assert told_apart(tree(tmp_path / "b")) == told_apart(tree(tmp_path / "a"))
    assert len(s3.proxy.requests) > 24


def test_a_weighted_mixing_set_may_be_a_url(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    pictures = s3.put(mixing, "mixing")
    code, _, err = cli(
        "bake", photos, "--mixing-set", f"{pictures}:2", "--mixing-set", f"{mixing}:1",
        "-o", tmp_path / "a", *SMALL,
    )  # fmt: skip
    assert code == 0, err


def test_mixing_sets_in_the_environment_may_be_urls(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PIXMIX_BAKE_MIXING_SET", f"{s3.put(mixing, 'mixing')}:2:{mixing}:1")
    code, out, err = cli("bake", photos, "-o", tmp_path / "a", *SMALL, "--dry-run")
    assert code == 0, err
    assert "mixing pictures   12" in out


def test_a_bake_from_a_store_that_fails_leaves_nothing_behind(
    cli: Cli, s3: ObjectStore, mixing: Path, tmp_path: Path
) -> None:
    s3.proxy.fault = lambda number, method, path: "503"
    out = tmp_path / "a"
    code, _, err = cli("bake", f"{s3.url}/photos", "--mixing-set", mixing, "-o", out, *SMALL)
    assert code == 1
    assert "failed 6 times" in one_line_error(err)
    assert not out.exists()


def test_a_picture_that_vanished_is_listed_and_skipped(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source = s3.put(photos, "photos")
    s3.proxy.fault = lambda number, method, path: _vanish(s3, method, path)
    code, _, _ = cli("bake", source, "--mixing-set", mixing, "-o", tmp_path / "a", *SMALL)
    assert code == 3
    assert "dog/d 1.png" in (tmp_path / "a" / "errors.jsonl").read_text()


def _vanish(s3: ObjectStore, method: str, path: str) -> None:
    if method == "GET" and path.endswith("d%201.png"):
        s3.client.delete_object(Bucket=s3.bucket, Key="photos/dog/d 1.png")


@pytest.mark.parametrize("command", ["preview", "inspect", "report", "doctor"])
def test_commands_that_take_local_paths_only_say_so(cli: Cli, command: str) -> None:
    more = ["-o", "x.html"] if command == "report" else []
    code, _, err = cli(command, "s3://bucket/set", *more)
    assert code == 2
    assert "s3://bucket/set is a URL" in one_line_error(err)
