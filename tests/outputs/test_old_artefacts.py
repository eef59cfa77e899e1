"""Nothing old stays: what an interrupted run had put in place goes, unless a later run wants it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pixmix_cli.main import run
from pixmix_cli.outputs.output import Output
from tests.conftest import Cli, tree

pytestmark = pytest.mark.long

KINDS = ("webdataset", "imagefolder", "npy", "parquet", "dali", "folder", "tars")
Make = Callable[..., "list[object]"]


@pytest.fixture(scope="module")
def command(photos: Path, mixing: Path) -> Make:
    """The command that makes an output of a kind, and so much of it."""

    def make(kind: str, amount: int, out: Path, *more: object) -> list[object]:
        if kind in ("folder", "tars"):
            words: list[object] = ["generate-fractals", "--size", 16, "-n", 7 * amount]
            tars = ["--format", "webdataset", "--shard-size", 5]
            return [*words, *(tars if kind == "tars" else []), "-j", 1, "-qq", "-o", out, *more]
        layout = (
            ["--format", "webdataset", "--dali-index"] if kind == "dali" else ["--format", kind]
        )
        return [
            *("bake", photos, "--mixing-set", mixing, "--size", 16, "--copies", amount, "-j", 1),
            *("--shard-size", 12, *layout, "-qq", "-o", out, *more),
        ]

    return make


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory, command: Make) -> Callable[..., dict[str, str]]:
    """The files of an undisturbed run, made once."""
    known: dict[tuple[str, int], dict[str, str]] = {}

    def made(kind: str, amount: int) -> dict[str, str]:
        if (kind, amount) not in known:
            out = tmp_path_factory.mktemp("quiet") / "o"
            assert run([str(word) for word in command(kind, amount, out)]) == 0
            known[kind, amount] = tree(out)
        return known[kind, amount]

    return made


def interrupted(words: list[object], commits: int) -> None:
    """Run a command until so many tasks have rows; one more has its files in place, without."""
    done = 0
    commit = Output.commit

    def counting(self: Output, rows: Any) -> None:
        nonlocal done
        done += 1
        if done > commits:
            raise KeyboardInterrupt
        commit(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Output, "commit", counting)
        assert run([str(word) for word in words]) == 130


@pytest.mark.parametrize("commits", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_overwrite_with_less_after_an_interruption_equals_a_first_run(
    cli: Cli, tmp_path: Path, command: Make, quiet: Any, kind: str, commits: int
) -> None:
    out = tmp_path / "o"
    interrupted(command(kind, 4, out), commits)
    code, _, err = cli(*command(kind, 1, out, "--overwrite"))
    assert code == 0, err
    assert tree(out) == quiet(kind, 1)
    assert [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())] == []


@pytest.mark.parametrize("commits", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_resume_with_less_after_an_interruption_equals_a_first_run(
    cli: Cli, tmp_path: Path, command: Make, quiet: Any, kind: str, commits: int
) -> None:
    out = tmp_path / "o"
    interrupted(command(kind, 4, out), commits)
    code, _, err = cli(*command(kind, 1, out, "--resume"))
    assert code == 0, err
    assert tree(out) == quiet(kind, 1)
    assert cli("verify", out, "-j", 1, "-qq")[0] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_growth_that_was_interrupted_and_is_given_up_leaves_the_set_as_it_was(
    cli: Cli, tmp_path: Path, command: Make, quiet: Any, kind: str
) -> None:
    out = tmp_path / "o"
    assert cli(*command(kind, 2, out))[0] == 0
    interrupted(command(kind, 4, out, "--resume"), 1)
    code, _, err = cli(*command(kind, 1, out, "--resume"))
    assert code == 0, err
    assert tree(out) == quiet(kind, 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_finished_set_is_not_made_smaller(
    cli: Cli, tmp_path: Path, command: Make, quiet: Any, kind: str
) -> None:
    out = tmp_path / "o"
    assert cli(*command(kind, 2, out))[0] == 0
    code, _, err = cli(*command(kind, 1, out, "--resume"))
    assert code == 0, err
    assert tree(out) == quiet(kind, 2)


@pytest.mark.parametrize("how", ["--overwrite", "--resume"])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_stays_of_what_parts_had_put_in_place(
    cli: Cli, tmp_path: Path, command: Make, quiet: Any, kind: str, how: str
) -> None:
    out = tmp_path / "o"
    for part in ("0/2", "1/2"):
        interrupted(command(kind, 4, out, "--shard", part), 0)
    code, _, err = cli(*command(kind, 1, out, how))
    assert code == 0, err
    assert tree(out) == quiet(kind, 1)


@pytest.mark.parametrize("kind", ["webdataset", "tars"])
def test_a_file_of_the_user_s_survives_every_way_of_going_on(
    cli: Cli, tmp_path: Path, command: Make, kind: str
) -> None:
    out = tmp_path / "o"
    mine = [out / "copy-000" / "000000.idx", out / "copy-003" / "000009.tar", out / "notes.tar"]
    interrupted(command(kind, 4, out), 1)
    for file in mine:
        file.parent.mkdir(exist_ok=True)
        file.write_text("mine")
    for more in ("--resume", "--overwrite"):
        assert cli(*command(kind, 1, out, more))[0] == 0
        assert [file.read_text() for file in mine] == ["mine"] * 3


def test_going_on_after_an_overwrite_that_was_killed_as_it_began_is_refused(
    cli: Cli, tmp_path: Path, command: Make, quiet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "o"
    assert cli(*command("folder", 1, out))[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr("pixmix_cli.outputs.output.row_files", _killed_after_the_list(out))
        assert cli(*command("folder", 1, out, "--overwrite"))[0] == 130
    code, _, err = cli(*command("folder", 1, out, "--resume"))
    assert code == 2
    assert "--overwrite" in err
    assert cli(*command("folder", 1, out, "--overwrite"))[0] == 0
    assert tree(out) == quiet("folder", 1)


def _killed_after_the_list(out: Path) -> Callable[[Path], list[Path]]:
    from pixmix_cli.outputs.row_files import row_files

    def killed(path: Path) -> list[Path]:
        if (out / ".pixmix" / "trash.jsonl").exists():
            raise KeyboardInterrupt
        return row_files(path)

    return killed


@pytest.mark.parametrize("wanted", range(-1, 5))
def test_the_last_line_for_which_something_holds_is_found_by_halving(
    tmp_path: Path, wanted: int
) -> None:
    from pixmix_cli.outputs.row_files import last_line

    file = tmp_path / "rows.jsonl"
    for lines in range(5):
        rows = (f'{{"index":{i},"filler":"{"x" * 7 * i}"}}\n' for i in range(lines))
        file.write_text("".join(rows))
        found = last_line(file, lambda line: line["index"] <= wanted)
        assert (-1 if found is None else found["index"]) == min(wanted, lines - 1)


@pytest.mark.parametrize("index", [10**9, -5, "x", None, 1.5])
def test_a_damaged_last_row_does_not_make_a_set_grow(tmp_path: Path, index: object) -> None:
    import json

    from pixmix_cli.outputs.row_files import finished_until

    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"path": "000/000000.jpg", "index": index}) + "\n")
    assert finished_until([file], "index") == 0
    assert finished_until([tmp_path / "absent.jsonl"], "index") == 0


def test_a_set_with_plain_copies_is_not_made_smaller(
    cli: Cli, tmp_path: Path, command: Make
) -> None:
    out = tmp_path / "o"
    assert cli(*command("webdataset", 2, out, "--plain", 2))[0] == 0
    before = tree(out)
    assert cli(*command("webdataset", 1, out, "--plain", 1, "--resume"))[0] == 0
    assert tree(out) == before
