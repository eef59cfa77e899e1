"""A layout of one's own: a class and a line in a table, and every command knows it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.pipelines.bake.formats.base import ShardWriter
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.formats.shards import ShardFiles, ShardFormat, Stored
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, ShardTask
from pixmix_cli.storage.files import PartialFile, Tmp
from tests.conftest import Cli, one_line_error, tree

pytestmark = pytest.mark.long

# --------------------------------------------------------- the layout: a sample a line of JSON


class LinesWriter(ShardFiles):
    """One line a sample."""

    def put(self, file: PartialFile, baked: Baked, class_name: str) -> None:
        (name, picture), _ = LINES.fields(self.job, baked, class_name, 0).items()
        line = [name, base64.b64encode(picture).decode(), baked.sample.label]
        file.write(json.dumps([*line, baked.sample.ref.name]).encode() + b"\n")


class Lines(ShardFormat):
    """Shards of JSON lines."""

    name = "lines"
    suffixes = (".jsonlines",)
    training = "lines = open('copy-000/000000.jsonlines')  # of {extension} pictures\n"

    def writer(
        self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]
    ) -> ShardWriter:
        return LinesWriter(job, tmp, task, self.suffixes[0])

    def samples(self, path: Path) -> Iterator[Stored]:
        for line in path.read_text().splitlines():
            name, picture, label, key = json.loads(line)
            yield Stored(name, base64.b64decode(picture), label, key)


LINES = Lines()

# --------------------------------------------------------- what it can do


@pytest.fixture
def bake(
    cli: Cli, photos: Path, mixing: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[object, ...]:
    """The words of a bake in this layout: seven shards of two copies, and a plain one."""
    monkeypatch.setitem(FORMATS, "lines", LINES)
    return (
        *("bake", photos, "--mixing-set", mixing, "--format", "lines", "--size", 32),
        *("--copies", 2, "--plain", 1, "--shard-size", 5, "-j", 1),
    )


def test_a_layout_of_ones_own_is_baked_listed_verified_and_shown(
    cli: Cli, bake: tuple[object, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert cli(*bake, "-o", out)[0] == 0
    assert (out / "copy-000" / "000000.jsonlines").is_file()
    assert "of jpg pictures" in (out / "README.md").read_text()
    assert json.loads((out / "manifest.json").read_bytes())["options"]["format"] == "lines"
    assert cli("verify", out, "--rebake-sample", 9)[0] == 0
    assert cli("preview", out, "-o", tmp_path / "sheet.png")[0] == 0
    assert np.asarray(Image.open(tmp_path / "sheet.png")).std() > 10
    assert cli("report", out, "-o", tmp_path / "report.html")[0] == 0
    code, _, err = cli(*bake, "--format", "nothing", "-o", tmp_path / "no")
    assert code == 2
    assert "lines" in err


def test_a_layout_of_ones_own_is_read_to_train(
    cli: Cli, bake: tuple[object, ...], tmp_path: Path
) -> None:
    from pixmix_cli import BakedDataset

    words = (*bake, "--image-format", "png")
    assert cli(*words, "-o", tmp_path / "lines")[0] == 0
    assert cli(*words, "-o", tmp_path / "tars", "--format", "webdataset")[0] == 0
    ours, known = (BakedDataset(tmp_path / name) for name in ("lines", "tars"))
    assert ours.targets == known.targets
    for epoch, number in ((0, 0), (1, 23), (2, 7)):
        ours.set_epoch(epoch)
        known.set_epoch(epoch)
        assert np.array_equal(np.asarray(ours[number][0]), np.asarray(known[number][0]))


@pytest.mark.parametrize("how", ["resume", "shards", "growth"])
def test_a_layout_of_ones_own_goes_on_to_the_same_bytes(
    cli: Cli, bake: tuple[object, ...], tmp_path: Path, how: str
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert cli(*bake, "-o", whole)[0] == 0
    if how == "growth":
        assert cli(*bake, "-o", out, "--copies", 1, "--plain", 0)[0] == 0
    else:
        assert cli(*bake, "-o", out, "--shard", "0/2")[0] == 0
        next(out.glob("copy-000/*.jsonlines")).write_text("[")  # as a power cut leaves it
    more = ("--shard", "1/2") if how == "shards" else ("--resume",)
    if how == "shards":
        assert cli(*bake, "-o", out, "--shard", "0/2")[0] == 0
    assert cli(*bake, "-o", out, *more)[0] == 0
    assert tree(out) == tree(whole)


@pytest.mark.parametrize("damage", ["bytes", "cut", "gone", "leftover"])
def test_a_layout_of_ones_own_is_repaired(
    cli: Cli, bake: tuple[object, ...], tmp_path: Path, damage: str
) -> None:
    out = tmp_path / "out"
    assert cli(*bake, "-o", out)[0] == 0
    before = tree(out)
    file = out / "plain-000" / "000001.jsonlines"
    if damage == "bytes":
        file.write_bytes(file.read_bytes().replace(b"000000", b"000001", 1))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-10])
    elif damage == "gone":
        file.unlink()
    else:
        file.with_name("000099.jsonlines").write_text("left")
    assert cli("verify", out)[0] == 1
    assert cli("verify", out, "--repair")[0] == 0
    assert tree(out) == before


def test_a_layout_that_nobody_knows_any_more_is_named_in_one_line(
    cli: Cli, bake: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*bake, "-o", tmp_path / "out")[0] == 0
    monkeypatch.delitem(FORMATS, "lines")
    for words in (("verify",), ("verify", "--repair")):
        code, _, err = cli(words[0], tmp_path / "out", *words[1:])
        assert code == 2
        assert "layout lines" in one_line_error(err)
