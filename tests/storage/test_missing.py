"""A path that is not there: the error offers the nearest one that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixmix_cli.storage.missing import missing
from pixmix_cli.storage.remote import Url
from tests.conftest import Cli


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "photos" / "train").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("photo", "photos"),
        ("photos/trian", "photos/train"),
        ("phtos/train", "photos/train"),
        ("phtos/val", "photos"),
    ],
)
def test_the_first_wrong_name_is_put_right(place: Path, wrong: str, meant: str) -> None:
    assert (
        str(missing("", place / wrong)) == f"{place / wrong} does not exist. Try: {place / meant}"
    )


def test_where_nothing_resembles_it_the_folder_is_named(place: Path) -> None:
    assert str(missing("", place / "zzz")).endswith(f"Try: what is in {place}")
    assert missing("", Path("zzz")).hint == f"a path from {Path.cwd()}, the current folder"


def test_a_url_has_no_neighbours() -> None:
    assert missing("SOURCE ", Url("s3://bucket/x")).hint is None


def test_every_command_offers_it(
    cli: Cli, place: Path, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    wrong, right = place / "photso", place / "photos"
    for arguments in (
        ["bake", wrong, "--mixing-set", mixing, "-o", tmp_path / "o"],
        ["bake", photos, "--mixing-set", wrong, "-o", tmp_path / "o"],
        ["inspect", wrong],
        ["preview", wrong, "-o", tmp_path / "p.png"],
        ["report", wrong, "-o", tmp_path / "r.html"],
        ["generate-fractals", "--from", wrong, "-o", tmp_path / "o"],
    ):
        code, _, err = cli(*arguments)
        assert code == 2
        assert f"Try: {right}" in err, arguments
