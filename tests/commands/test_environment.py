"""Options by environment variables, named after the flags."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.main import COMMANDS, cli
from pixmix_cli.options.environment import check_variables, variable
from tests.conftest import Cli


def options_of(name: str) -> list[click.Option]:
    with click.Context(cli, info_name="pixmix") as context:
        command = cli.get_command(context, name)
    assert command is not None
    return [p for p in command.params if isinstance(p, click.Option) and p.allow_from_autoenv]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_the_variable_that_its_flag_says(name: str) -> None:
    for option in options_of(name):
        flag = next(flag for flag in option.opts if flag.startswith("--"))
        assert option.envvar == f"PIXMIX_{name}_{flag[2:]}".upper().replace("-", "_")


def test_the_variable_of_shard_plans_a_part(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXMIX_BAKE_SHARD", "0/2")
    monkeypatch.setenv("PIXMIX_BAKE_JSON", "1")
    code, out, _ = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", "--size", 32,
        "--shard-size", 6, "--dry-run",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["pictures"] == 12


def test_a_misspelt_variable_of_the_command_is_refused_with_the_right_one(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXMIX_GENERATE_FRACTALS_SEDE", "7")
    code, _, err = cli("generate-fractals", "-n", 1, "-o", tmp_path / "o")
    assert code == 2
    assert err == (
        "pixmix generate-fractals: PIXMIX_GENERATE_FRACTALS_SEDE in the environment sets no option "
        "of generate-fractals. Try: PIXMIX_GENERATE_FRACTALS_SEED\n"
    )
    assert not (tmp_path / "o").exists()


def test_other_commands_variables_and_those_that_set_no_option_are_fine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = {"PIXMIX_BAKE_NONSENSE": "1", "PIXMIX_CACHE_DIR": "x", "PIXMIX_KERNELS": "auto"}
    check_variables("verify", list(COMMANDS), list(options_of("verify")), there)
    assert capsys.readouterr().err == ""


def test_a_variable_that_means_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    there = {"PIXMIX_CACHEDIR": "x", "PIXMIX_FOO": "1"}
    check_variables("verify", list(COMMANDS), list(options_of("verify")), there)
    assert capsys.readouterr().err.splitlines() == [
        "pixmix: warning: PIXMIX_CACHEDIR in the environment means nothing to pixmix. Did you mean "
        "PIXMIX_CACHE_DIR?",
        "pixmix: warning: PIXMIX_FOO in the environment means nothing to pixmix",
    ]


def test_names_with_dashes_are_told_apart_from_other_commands() -> None:
    assert variable("render-featvis", "--list-layers") == "PIXMIX_RENDER_FEATVIS_LIST_LAYERS"
    with pytest.raises(InputError, match=r"PIXMIX_BAKE_COPYS .* Try: PIXMIX_BAKE_COPIES"):
        check_variables(
            "bake", list(COMMANDS), list(options_of("bake")), {"PIXMIX_BAKE_COPYS": "3"}
        )
