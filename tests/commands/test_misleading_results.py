"""Results that would mislead whoever reads them: labels moved, sets without pictures, no labels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import Cli, one_line_error, picture, tree

pytestmark = pytest.mark.long

SMALL = ("--size", 16, "-j", 1)
ODD_NAMES = (
    "__init__ me", "a b'c\"d", "a::b", "dev #1", "e%20f", "train", "test", "validation", "[g]*{h}?",
    "\u00fcber", "\u7af9", "\U0001f600",
)  # fmt: skip


def folder(root: Path, classes: dict[str, int]) -> Path:
    """An ImageFolder with so many pictures of each class."""
    for label, (name, count) in enumerate(classes.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(picture(9 * label + number, 20, 20)).save(root / name / f"{number}.png")
    return root


def spoil(root: Path, name: str) -> None:
    """Make every picture of a class one that cannot be read."""
    for file in (root / name).iterdir():
        file.write_bytes(b"junk")


def bake(cli: Cli, source: Path, mixing: Path, out: Path, *more: object) -> tuple[int, str]:
    code, _, err = cli("bake", source, "--mixing-set", mixing, "-o", out, *SMALL, *more)
    return code, err


# ------------------------------------------------------------------------- a class is lost


def test_an_imagefolder_that_would_lose_a_class_is_not_finished(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", {"a": 2, "b": 1, "c": 1})
    spoil(source, "a")
    out = tmp_path / "o"
    for more in ((), ("--resume",)):
        code, err = bake(cli, source, mixing, out, "--format", "imagefolder", *more)
        assert code == 1
        assert "no picture of class a can be read" in one_line_error(err)
        assert not (out / "manifest.json").exists()


def test_an_imagefolder_keeps_a_class_of_which_one_picture_is_left(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", {"a": 2, "b": 1})
    (source / "a" / "0.png").write_bytes(b"junk")
    assert bake(cli, source, mixing, tmp_path / "o", "--format", "imagefolder")[0] == 3


def test_parts_that_lose_a_class_together_are_not_finished(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", {"a": 4, "b": 2, "c": 2})
    spoil(source, "a")
    out = tmp_path / "o"
    more = ("--format", "imagefolder", "--shard-size", 2)
    codes = [bake(cli, source, mixing, out, *more, "--shard", f"{i}/4")[0] for i in (2, 3, 0, 1)]
    assert codes == [0, 0, 3, 1]
    code, _, err = cli("verify", out, "--finish")
    assert code == 1, err
    assert "no picture of class a can be read" in err
    assert not (out / "manifest.json").exists()


def test_other_formats_keep_the_labels_of_a_set_that_loses_a_class(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", {"a": 2, "b": 1})
    spoil(source, "a")
    assert bake(cli, source, mixing, tmp_path / "o", "--format", "npy")[0] == 3
    assert json.loads((tmp_path / "o" / "classes.json").read_text()) == ["a", "b"]


# ------------------------------------------------------------------------- nothing is baked


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "npy", "imagefolder"])
def test_a_set_without_any_picture_is_no_finished_set(
    cli: Cli, mixing: Path, tmp_path: Path, layout: str
) -> None:
    source = folder(tmp_path / "in", {"a": 2})
    spoil(source, "a")
    code, err = bake(cli, source, mixing, tmp_path / "o", "--format", layout)
    assert code == 1
    assert "picture" in one_line_error(err)
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_a_part_without_any_picture_is_no_reason_to_fail(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    source = folder(tmp_path / "in", {"a": 2, "b": 2})
    spoil(source, "a")
    more = ("--shard-size", 2, "--no-shuffle")
    for i in range(2):
        code, err = bake(cli, source, mixing, tmp_path / "o", *more, "--shard", f"{i}/2")
        assert code == 3, err


def test_a_stream_without_any_picture_fails(cli: Cli, mixing: Path, tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a": 2})
    spoil(source, "a")
    code, err = bake(cli, source, mixing, Path("-"))
    assert code == 1
    assert "none of the 2 pictures of SOURCE can be read; the first: a/" in err


@pytest.mark.parametrize("kind", ["null bytes", "no bytes", "text"])
def test_parquet_with_paths_only_is_refused(
    cli: Cli, mixing: Path, tmp_path: Path, kind: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    row: Any = "a.jpg" if kind == "text" else {"bytes": None, "path": "a.jpg"}
    column: Any = [row, row]
    if kind == "null bytes":
        column = pa.array(column, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    pq.write_table(pa.table({"image": column, "label": [0, 1]}), tmp_path / "x.parquet")
    code, err = bake(cli, tmp_path / "x.parquet", mixing, tmp_path / "o")
    assert code == 2
    assert "paths or addresses" in one_line_error(err)


# ------------------------------------------------------------------------- read by `datasets`


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    def call(path: Path, *name: str) -> Any:
        found = datasets.load_dataset(str(path), *name, cache_dir=str(tmp_path / "cache"))
        assert list(found) == ["train"]
        return found["train"]

    return call


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "imagefolder"])
def test_datasets_reads_all_copies_or_the_one_that_is_asked_for(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any, layout: str
) -> None:
    source = folder(tmp_path / "in", dict.fromkeys(sorted(ODD_NAMES), 2))
    out = tmp_path / "o"
    assert bake(cli, source, mixing, out, "--format", layout, "--copies", 2, "--plain", 1)[0] == 0
    for name, copies in (((), 2), (("copy-001",), 1), (("plain",), 1), (("plain-000",), 1)):
        found = load(out, *name)
        labels = found["cls" if layout == "webdataset" else "label"]
        assert sorted(labels) == sorted([*range(len(ODD_NAMES))] * 2 * copies), name
    if layout != "webdataset":
        chain = "::" if layout == "parquet" else "__"
        assert found.features["label"].names == [n.replace("::", chain) for n in sorted(ODD_NAMES)]
    else:
        assert {row["json"]["class"] for row in found} == set(ODD_NAMES)


def test_torchvision_and_datasets_agree_on_the_labels_of_an_imagefolder(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any
) -> None:
    from torchvision.datasets import ImageFolder

    source = folder(tmp_path / "in", dict.fromkeys(ODD_NAMES, 1))
    bake(cli, source, mixing, tmp_path / "o", "--format", "imagefolder")
    assert (
        ImageFolder(tmp_path / "o" / "copy-000").classes
        == load(tmp_path / "o").features["label"].names
    )


def test_datasets_sees_the_label_of_a_single_class(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any
) -> None:
    source = folder(tmp_path / "in", {"train": 2})
    bake(cli, source, mixing, tmp_path / "o", "--format", "imagefolder")
    assert load(tmp_path / "o")["label"][:] == [0, 0]


def test_folders_inside_classes_are_not_taken_for_classes(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any
) -> None:
    source = folder(tmp_path / "in", {"a": 2, "b": 2})
    shutil.move(source / "a" / "0.png", folder(source / "a", {"deep": 1}) / "deep" / "x.png")
    bake(cli, source, mixing, tmp_path / "o", "--format", "imagefolder")
    found = load(tmp_path / "o")
    assert (len(found), found.column_names) == (5, ["image"])
    assert "It sees no labels here" in (tmp_path / "o" / "README.md").read_text()


@pytest.mark.parametrize("layout", ["webdataset", "parquet", "imagefolder"])
def test_datasets_reads_names_whose_bytes_are_no_unicode(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any, layout: str
) -> None:
    latin = b"caf\xe9".decode("utf-8", "surrogateescape")
    source = folder(tmp_path / "in", {"a": 1, latin: 1, "d": 1})
    (source / "a" / "0.png").rename(source / "a" / f"{latin}.png")
    out = tmp_path / "o"
    assert bake(cli, source, mixing, out, "--format", layout)[0] == 0
    found = load(out)
    assert sorted(found["cls" if layout == "webdataset" else "label"]) == [0, 1, 2]
    assert json.loads((out / "classes.json").read_text()) == ["a", "caf\\xe9", "d"]
    assert cli("verify", out, "--rebake-sample", 3, "-j", 1)[0] == 0


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_a_shard_of_which_nothing_could_be_read_is_not_there(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any, layout: str
) -> None:
    source = folder(tmp_path / "in", {"a": 4, "b": 2})
    spoil(source, "a")
    out = tmp_path / "o"
    more = ("--format", layout, "--shard-size", 2, "--no-shuffle")
    dali = ("--dali-index",) if layout == "webdataset" else ()
    assert bake(cli, source, mixing, out, *more, *dali)[0] == 3
    assert [file.stem for file in (out / "copy-000").iterdir() if file.suffix != ".idx"] == [
        "000002"
    ]
    assert len(load(out)) == 2
    assert cli("verify", out)[0] == 0
    code, err = bake(cli, source, mixing, out, *more, *dali, "--resume")
    assert (code, "nothing to do" in err) == (3, True)
    assert bake(cli, source, mixing, out, *more, *dali, "--resume", "--copies", 2)[0] == 3
    assert cli("verify", out, "--rebake-sample", 4, "-j", 1)[0] == 0


def test_datasets_reads_classes_of_one_name(
    cli: Cli, mixing: Path, tmp_path: Path, load: Any
) -> None:
    source = folder(tmp_path / "in", {"a": 1, "b": 1, "c": 1, "d": 1})
    rows = "".join(f"in/{name}/0.png,{i}\n" for i, name in enumerate("abcd"))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}")
    names = ["crane", "2 crane", "crane", "dog"]
    (tmp_path / "classes.json").write_text(json.dumps(names))
    assert source.is_dir()
    out = tmp_path / "o"
    assert bake(cli, tmp_path / "list.csv", mixing, out, "--format", "parquet")[0] == 0
    found = load(out)
    assert sorted(found["label"]) == [0, 1, 2, 3]
    expected = ["0 crane", "1 2 crane", "2 2 crane", "dog"]
    assert found.features["label"].names == expected
    assert json.loads((out / "classes.json").read_text()) == expected
    assert cli("verify", out)[0] == 0
    assert tree(out)
