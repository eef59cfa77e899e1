"""Starting up, helping, slips of the hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from pixmix_cli.main import COMMANDS
from pixmix_cli.main import cli as group
from tests.conftest import ROOT, Cli, Run, environment, one_line_error

CHEAP = [["--help"], ["--version"], *([name, "--help"] for name in COMMANDS)]


@pytest.mark.process
@pytest.mark.parametrize("arguments", CHEAP)
def test_help_imports_neither_numba_nor_torch(arguments: list[str]) -> None:
    program = (
        "import sys; from pixmix_cli.main import run; code = run(sys.argv[1:]);"
        "heavy = {'numba', 'torch', 'torchvision', 'numpy', 'PIL'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, env=environment(),
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_opens_with_an_example_and_tells_defaults(cli: Cli, name: str) -> None:
    code, out, _ = cli(name, "--help")
    assert code == 0
    assert out.index("Examples:") < out.index("-q, --quiet")
    assert f"pixmix {name}" in out.split("Examples:")[1]
    assert "PIXMIX_" in out


def test_no_command_at_all_gets_the_help_on_stderr(cli: Cli) -> None:
    code, out, err = cli()
    assert (code, out) == (2, "")
    assert "generate-fractals" in err


def test_group_help_lists_every_command_and_exit_code(cli: Cli) -> None:
    code, out, _ = cli("--help")
    assert code == 0
    for word in (*COMMANDS, "130", "141", "143"):
        assert word in out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented_in_the_readme_or_docs(name: str) -> None:
    text = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    section = text.split(f"## pixmix {name}\n")[1].split("\n## ")[0]
    command = group.get_command(click.Context(group), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            for option in (*parameter.opts, *parameter.secondary_opts):
                assert option in section, f"{name} {option} is not in docs/commands.md"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["bkae"], "Did you mean bake?"),
        (["bake", "x", "--mixing-sets", "y"], "--mixing-set"),
        (["generate-fractals", "-n", "3", "-o", "x", "--kind", "flames"], "flame"),
        (["generate-fractals", "-n", "3"], "--output"),
        (["generate-fractals", "-n", "0", "-o", "x"], "0"),
        (["generate-fractals", "-n", "3", "-o", "x", "--resume", "--overwrite"], "exclude"),
        (["bake"], "--help"),
    ],
)
def test_a_slip_gets_one_line_and_exit_code_2(cli: Cli, arguments: list[str], hint: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert hint in one_line_error(err)


def test_config_file_sets_defaults_that_flags_and_environment_override(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "x.toml"
    config.write_text('[generate-fractals]\nsize = 20\nkind = "affine"\ncount = 2\n')
    base = ["generate-fractals", "-o", str(tmp_path / "o"), "--dry-run", "--config", str(config)]
    assert "pictures          2" in cli(*base)[1]
    assert "pictures          5" in cli(*base, "-n", "5")[1]
    monkeypatch.setenv("PIXMIX_GENERATE_FRACTALS_COUNT", "4")
    assert "pictures          4" in cli(*base)[1]
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[bake]\nbeat = 3\n", "Try: beta"),
        ("not toml", "cannot be read"),
        ("[bake]\nk = " + "[" * 50_000, "cannot be read"),
    ],
    ids=["unknown option", "no TOML", "nested too deep"],
)
def test_a_wrong_config_file_is_refused(cli: Cli, tmp_path: Path, text: str, hint: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    code, _, err = cli("bake", "s", "--mixing-set", "m", "-o", "o", "--config", tmp_path / "x.toml")
    assert code == 2
    assert hint in one_line_error(err)


def test_shell_completion_knows_the_commands(pixmix: Run) -> None:
    asked = {
        "_PIXMIX_COMPLETE": "bash_complete", "COMP_WORDS": "pixmix ba", "COMP_CWORD": "1",
    }  # fmt: skip
    assert "bake" in pixmix(env=asked).stdout
