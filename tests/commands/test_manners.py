"""Small things that a person at a terminal notices."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from pixmix_cli.options.types import nearest
from pixmix_cli.terminal import Terminal
from tests.conftest import Cli

SMALL = ["--size", "32", "-j", "1"]


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("as_json", "screen", "lists"),
    [(False, True, False), (False, False, True), (True, True, True), (True, False, True)],
)
def test_paths_go_to_pipes_and_files_and_json_goes_anywhere(
    monkeypatch: pytest.MonkeyPatch, as_json: bool, screen: bool, lists: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", Screen() if screen else io.StringIO())
    assert Terminal(as_json=as_json).lists_artefacts is lists


@pytest.mark.parametrize(
    ("option", "slip", "meant"),
    [
        ("--format", "wds", "webdataset"),
        ("--format", "image-folder", "imagefolder"),
        ("--preset", "cifar10", "cifar"),
        ("--image-format", "jpg", "jpeg"),
        ("--source-format", "hf-parquet", "parquet"),
    ],
)
def test_a_slip_in_a_choice_gets_a_guess(cli: Cli, option: str, slip: str, meant: str) -> None:
    code, _, err = cli("bake", "x", "--mixing-set", "m", "-o", "o", option, slip)
    assert code == 2
    assert f"Did you mean {meant}?" in err
    assert len(err.splitlines()) == 1


def test_what_resembles_nothing_or_several_gets_no_guess() -> None:
    assert nearest("zzz", ["jpeg", "png"]) is None
    assert nearest("ab", ["axxxxb", "ayyyyb"]) is None


def test_help_is_a_command_too(cli: Cli) -> None:
    assert cli("help", "bake") == cli("bake", "--help")
    assert cli("help") == cli("--help")
    assert cli("help", "bkae")[0] == 2


def test_verify_says_what_would_mend_a_baked_set(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o o"
    arguments = ["bake", photos, "--mixing-set", mixing, *SMALL, "-o", out]
    assert cli(*arguments)[0] == 0
    (out / "copy-000" / "000000.tar").unlink()
    code, _, err = cli("verify", out, "-j", 1)
    assert (code, err.splitlines()[-1]) == (
        1,
        f"1 problem in {out} (24 pictures). Try: pixmix verify '{out}' --repair",
    )
    assert cli("verify", out, "--repair", "-j", 1)[0] == 0


def test_a_plan_has_units_for_people_and_bare_numbers_for_programs(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, *SMALL, "-o", tmp_path / "o", "--dry-run"]
    lines = dict(line.split(maxsplit=2)[1:] for line in cli(*arguments)[1].splitlines()[-2:])
    assert lines["size"].endswith("kB")
    assert lines["time"].endswith(" s")
    record = json.loads(cli(*arguments, "--json")[1])
    assert isinstance(record["estimated_bytes"], int)


@pytest.mark.torch
def test_a_plan_of_feature_visualizations_has_bytes_and_time(cli: Cli, tmp_path: Path) -> None:
    arguments = ["render-featvis", "--weights", "fractals", "-n", 40, "--size", 32, "--steps", 8]
    code, out, _ = cli(*arguments, "-o", tmp_path / "o", "--dry-run", "--json")
    record = json.loads(out)
    assert code == 0
    assert 40 * 400 < record["estimated_bytes"] < 40 * 32 * 32 * 3
    assert record["estimated_seconds"] > 0
    assert not (tmp_path / "o").exists()
