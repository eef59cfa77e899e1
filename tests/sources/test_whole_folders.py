"""Folders: in torchvision's order, whole, in little memory, and what is passed over is told."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.passed_over import gap_in, missing_parts
from pixmix_cli.sources.walk import walk
from pixmix_cli.storage.tar import TarWriter
from tests.sources import datasets_in as made


def silent(text: str) -> None:
    pass


NESTED = [
    "a/b/d/w.png", "a/b-c/x.png", "a/b/u.png", "a/b c/y.png", "a/b.d/e/z.png", "a/z.png",
    "a/B/v.png", "a-b/c/q.png", "a-b/c-d/r.png", "a b/s.png", "a/b/d-e/f.png", "a/ü/g.png",
]  # fmt: skip


def test_nested_folders_come_in_the_order_of_torchvisions_imagefolder(tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for name in NESTED:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(made.PNGS[0])
    theirs = [str(Path(path).relative_to(tmp_path)) for path, _ in ImageFolder(tmp_path).samples]
    assert len(theirs) == len(NESTED)
    assert [ref.name for ref in open_source(tmp_path, silent).pictures] == theirs
    assert [ref.name for ref in find_pictures(tmp_path, silent)] == theirs


def test_files_passed_over_are_counted_by_ending(tmp_path: Path) -> None:
    made.imagefolder(tmp_path)
    for name in ("cat/a.gif", "cat/b.GIF", "dog/c.txt", "dog/d/e", "loose.png", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    warnings: list[str] = []
    assert len(open_source(tmp_path, warnings.append).pictures) == 9
    assert [text.partition(" in SOURCE")[0] for text in warnings] == [
        "2 .gif, 1 .txt, 1 without ending", "1 .png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train-00000-of-00002.parquet"], (1, 2, "train-00001-of-00002.parquet")),
        (["d/x-00001-of-00003-ab.tar"], (2, 3, "d/x-00000-of-00003-ab.tar")),
        (["x-1-of-2.tar", "x-2-of-2.tar"], None),
        (["x-00000-of-00001.tar", "y.tar"], None),
        (["x-0-of-0.tar", f"x-{'9' * 40}-of-{'9' * 40}.tar"], None),
        ([], None),
    ],
)
def test_the_first_missing_part_is_named(names: list[str], expected: object) -> None:
    assert missing_parts(names) == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["000.tar", "001.tar", "003.tar"], (1, "002.tar")),
        (["a-9.tar", "a-7.tar"], (1, "a-8.tar")),
        (["000.tar", "001.tar"], None),
        (["2012.tar", "2024.tar"], None),
        (["000.tar", "x.tar"], None),
    ],
)
def test_a_gap_in_the_numbers_of_shards_is_found(names: list[str], expected: object) -> None:
    assert gap_in(names) == expected


def test_a_folder_that_lacks_a_parquet_part_is_refused_and_a_pattern_takes_what_is_there(
    tmp_path: Path,
) -> None:
    data = made.parquet(tmp_path / "d") / "data"
    (data / "train-00000-of-00001.parquet").rename(data / "train-00000-of-00002.parquet")
    with pytest.raises(InputError, match=r"lacks 1 of 2 files, as data/train-00001-of-00002.parq"):
        open_source(tmp_path / "d", silent)
    with pytest.raises(InputError, match=rf"Try: .*'{data}/\*\.parquet' for what is there"):
        open_source(tmp_path / "d", silent)
    assert len(open_source(data / "*.parquet", silent).pictures) == 9
    assert len(open_source(data / "test*.parquet", silent).pictures) == 1
    warnings: list[str] = []
    open_source(data / "train-00000-of-00002.parquet", warnings.append)
    assert "is one of 2 files" in warnings[0]


def test_a_saved_dataset_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path) -> None:
    made.saved(tmp_path / "d")
    (tmp_path / "d" / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError, match=r"lacks data-00001-of-00002.arrow"):
        open_source(tmp_path / "d", silent)


def test_a_folder_that_lacks_a_shard_is_refused_or_told_of(tmp_path: Path) -> None:
    made.webdataset(tmp_path / "d")
    (tmp_path / "d" / "001.tar").unlink()
    warnings: list[str] = []
    open_source(tmp_path / "d", warnings.append)
    assert "lack 1, as 001.tar" in warnings[0]
    (tmp_path / "d" / "000.tar").rename(tmp_path / "d" / "x-000-of-002.tar")
    with pytest.raises(InputError, match=r"lacks 1 of 2 shards, as x-001-of-002.tar"):
        open_source(tmp_path / "d", silent)
    assert len(open_source(tmp_path / "d" / "*.tar", silent).pictures) == 6


@pytest.mark.parametrize("kind", ["webdataset", "parquet"])
def test_pictures_beside_archives_are_counted(tmp_path: Path, kind: str) -> None:
    made.KINDS[kind](tmp_path / "d")
    (tmp_path / "d" / "loose.png").write_bytes(made.PNGS[0])
    warnings: list[str] = []
    open_source(tmp_path / "d", warnings.append, kind=kind)
    assert [text.partition(" in SOURCE")[0] for text in warnings] == ["1 .png"]


def test_a_gap_in_the_numbers_of_parquet_files_is_told_of(tmp_path: Path) -> None:
    data = made.parquet(tmp_path / "d") / "data"
    (tmp_path / "q").mkdir()
    for number in (0, 1, 3):
        shutil.copy(data / "train-00000-of-00001.parquet", tmp_path / "q" / f"{number:04d}.parquet")
    warnings: list[str] = []
    open_source(tmp_path / "q", warnings.append)
    assert "lack 1, as 0002.parquet" in warnings[0]


def test_endings_in_upper_case_are_read(tmp_path: Path) -> None:
    parquet = made.parquet(tmp_path / "p") / "data" / "train-00000-of-00001.parquet"
    (tmp_path / "q").mkdir()
    shutil.copy(parquet, tmp_path / "q" / "A.PARQUET")
    listed = made.csv_list(tmp_path / "l")
    arrays = made.npz(tmp_path / "n")
    sources = [
        tmp_path / "q",
        listed.rename(listed.with_name("L.CSV")),
        arrays.rename(arrays.with_name("X.NPZ")),
        made.jsonl_list(tmp_path / "j").rename(tmp_path / "j" / "L.JSONL"),
    ]
    for source in sources:
        assert open_source(source, silent).labels.tolist() == made.LABELS, source


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/0000.parquet", "test/0000.parquet"], "train"),
        (["default/train/0000.parquet", "default/validation/0000.parquet"], "train"),
        (["test_images.parquet", "train_images.parquet"], "train"),
        (["x-train.arrow.parquet", "x-test.parquet"], "train"),
        (["training_set.parquet"], "training"),
        (["trainer.parquet", "contest.parquet"], None),
        (["a.parquet", "b.parquet"], None),
        (["train.parquet", "extra.parquet"], None),
    ],
)
def test_splits_are_told_by_the_names_of_files_and_folders(
    tmp_path: Path, names: list[str], expected: str | None
) -> None:
    whole = made.parquet(tmp_path / "d") / "data" / "train-00000-of-00001.parquet"
    for name in names:
        (tmp_path / "q" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(whole, tmp_path / "q" / name)
    source = open_source(tmp_path / "q", silent, kind="parquet")
    assert source.split == expected
    assert len(source.pictures) == (9 if expected else 9 * len(names))


def test_shards_of_several_splits_are_refused_with_a_pattern(tmp_path: Path) -> None:
    root = made.webdataset(tmp_path / "d")
    (root / "000.tar").rename(root / "in-train-000.tar")
    (root / "001.tar").rename(root / "in-val-000.tar")
    with pytest.raises(InputError, match=r"splits train and val\. Try: .*'.*/in-train-\*\.tar'"):
        open_source(root, silent)
    assert len(open_source(root / "in-train-*.tar", silent).pictures) == 3


def test_files_of_no_split_beside_several_splits_are_refused(tmp_path: Path) -> None:
    data = made.parquet(tmp_path / "d") / "data"
    shutil.copy(data / "test-00000-of-00001.parquet", data / "extra.parquet")
    with pytest.raises(InputError, match=r"splits test and train, and of none, as data/extra"):
        open_source(tmp_path / "d", silent)
    assert len(open_source(tmp_path / "d", silent, split="train").pictures) == 9


def test_splits_are_known_in_upper_case(tmp_path: Path) -> None:
    data = made.parquet(tmp_path / "d") / "data"
    for name in ("train", "test"):
        file = data / f"{name}-00000-of-00001.parquet"
        file.rename(data / f"{name.upper()}-00000-of-00001.PARQUET")
    source = open_source(tmp_path / "d", silent)
    assert (len(source.pictures), source.split) == (9, "train")


def test_a_mixing_tar_in_upper_case_is_read(tmp_path: Path) -> None:
    with (tmp_path / "M.TAR").open("wb") as file:
        writer = TarWriter(file)
        writer.add("A.PNG", made.PNGS[0])
        writer.finish()
    for path in (tmp_path / "M.TAR", tmp_path):
        assert len(find_pictures(path, silent)) == 1


def test_a_flat_folder_costs_little_memory_for_each_file(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"{number:08d}.png").touch()
    tracemalloc.start()
    count = sum(1 for _, files in walk(tmp_path, silent) for _ in files)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 5000
    assert most < 5000 * 120  # bytes; an os.DirEntry that was asked for its length takes 1000
