"""A kind of dataset of one's own: a class and a line in a table, and bake reads it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.labels import Labels
from pixmix_cli.sources.pictures import Folder, Pictures, Warn
from pixmix_cli.sources.registry import KINDS
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.storage.remote import AnyPath
from tests.conftest import Cli, one_line_error


class Index(Kind):
    """A folder with an index.toy: JSON, name -> label."""

    name = "toy"

    def is_folder(self, listing: Listing) -> bool:
        return "index.toy" in listing.names

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        pictures, labels = Pictures(), Labels()
        pictures.begin(Folder("", str(path)))
        for name, label in json.loads((path / "index.toy").read_bytes()).items():
            pictures.add(name, (path / name).stat().st_size)
            labels.add(label)
        classes, numbers = labels.finish(f"SOURCE {path}")
        digest = digest_of_source(self.name, classes, pictures, numbers)
        return Source(str(path), self.name, classes, pictures, numbers, digest)


@pytest.fixture
def toy(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six pictures and their index, among folders that an ImageFolder might have."""
    monkeypatch.setitem(KINDS, "toy", Index())
    folder = tmp_path / "toy"
    (folder / "more").mkdir(parents=True)
    names = {}
    for number, picture in enumerate(sorted(photos.rglob("*.jpg"))[:6]):
        (folder / f"{number}.jpg").write_bytes(picture.read_bytes())
        names[f"{number}.jpg"] = ("dark", "light")[number % 2]
    (folder / "index.toy").write_text(json.dumps(names))
    return folder


@pytest.mark.parametrize("kind", [(), ("--source-format", "toy")])
def test_a_kind_of_ones_own_is_recognised_baked_and_baked_again(
    cli: Cli, toy: Path, mixing: Path, tmp_path: Path, kind: Sequence[str]
) -> None:
    out = tmp_path / "out"
    words = ("bake", toy, "--mixing-set", mixing, "-o", out, "--size", 32, "-j", 1)
    assert cli(*words, *kind)[0] == 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["inputs"]["SOURCE"]["format"] == "toy"
    assert json.loads((out / "classes.json").read_bytes()) == ["dark", "light"]
    assert cli("verify", out, "--rebake-sample", 6)[0] == 0


def test_a_kind_of_ones_own_refuses_what_it_has_no_use_for(
    cli: Cli, toy: Path, mixing: Path, tmp_path: Path
) -> None:
    words = ("bake", toy, "--mixing-set", mixing, "-o", tmp_path / "out", "--split", "test")
    code, _, err = cli(*words)
    assert code == 2
    assert "(toy) has no use for --split" in one_line_error(err)
