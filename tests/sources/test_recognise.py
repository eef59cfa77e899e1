"""What a SOURCE is told by what holds pictures, and what is said of a folder too high."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.errors import InputError
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.source import Source
from tests.conftest import picture


def png(seed: int = 0) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture(seed, 20, 20)).save(out, "PNG")
    return out.getvalue()


def loose(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png())


def classes(root: Path, *names: str) -> Path:
    for name in names:
        loose(root / name / "1.png")
    return root


def tar(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in (("a.png", png()), ("a.cls", b"0")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def splits_of_tars(root: Path) -> None:
    for split in ("train", "val"):
        tar(root / split / "0.tar")


def parquet(path: Path, **columns: Any) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def pictures_parquet(path: Path) -> None:
    parquet(path, image=[{"bytes": png(), "path": "1.png"}], label=[0])


def arrays(root: Path, pictures: str, labels: str | None) -> None:
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / f"{pictures}.npy", np.zeros((2, 8, 8, 3), np.uint8))
    if labels is not None:
        np.save(root / f"{labels}.npy", np.arange(2))


def opened(path: Path) -> tuple[Source, list[str]]:
    lines: list[str] = []
    return open_source(path, lines.append), lines


def test_img2datasets_output_is_tars(tmp_path: Path) -> None:
    for shard in ("00000", "00001"):
        tar(tmp_path / f"{shard}.tar")
        parquet(tmp_path / f"{shard}.parquet", url=["u"], caption=["c"], label=[0])
        (tmp_path / f"{shard}_stats.json").write_text("{}")
    source, lines = opened(tmp_path)
    assert (source.kind, len(source.pictures), lines) == ("webdataset", 2, [])


def test_tars_beside_folders_without_pictures_are_tars(tmp_path: Path) -> None:
    tar(tmp_path / "0.tar")
    (tmp_path / "_tmp").mkdir()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "log.txt").write_text("done")
    assert opened(tmp_path)[0].kind == "webdataset"


@pytest.mark.parametrize("beside", ["metadata.parquet", "images.npy", "data/metadata.parquet"])
def test_metadata_beside_class_folders_is_no_dataset(tmp_path: Path, beside: str) -> None:
    classes(tmp_path, "a", "b")
    if beside.endswith(".npy"):
        arrays(tmp_path, "images", None)
    else:
        parquet(tmp_path / beside, id=[1], width=[20])
    source, _ = opened(tmp_path)
    assert source.kind == "imagefolder"
    assert source.classes[:2] == ("a", "b")


def test_archives_beside_class_folders_are_told_and_passed_over(tmp_path: Path) -> None:
    classes(tmp_path, "a", "b")
    tar(tmp_path / "all.tar")
    source, lines = opened(tmp_path)
    assert source.kind == "imagefolder"
    assert any("--source-format webdataset" in line for line in lines)


@pytest.mark.parametrize(
    ("pictures", "labels"), [("x_train", "y_train"), ("train_images", "train_labels"), ("x", "y")]
)
def test_arrays_of_a_folder_may_be_called_as_in_an_npz(
    tmp_path: Path, pictures: str, labels: str
) -> None:
    arrays(tmp_path, pictures, labels)
    source, _ = opened(tmp_path)
    assert (source.kind, len(source.pictures), list(source.labels)) == ("numpy", 2, [0, 1])


def test_parquet_in_data_is_read_whatever_folders_lie_beside(tmp_path: Path) -> None:
    pictures_parquet(tmp_path / "data" / "train-00000-of-00001.parquet")
    loose(tmp_path / "assets" / "logo.png")
    source, lines = opened(tmp_path)
    assert source.kind == "parquet"
    assert any("--source-format imagefolder" in line for line in lines)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("make", "below"),
    [
        (splits_of_tars, ["train", "val"]),
        (lambda root: pictures_parquet(root / "plain_text" / "train.parquet"), ["plain_text"]),
        (lambda root: pictures_parquet(root / "default/train/0.parquet"), ["default/train"]),
        (lambda root: arrays(root / "arrays", "images", "labels"), ["arrays"]),
        (lambda root: tar(root / "a" / "b" / "c" / "0.tar"), ["a/b/c"]),
    ],
)
def test_a_dataset_further_below_is_named(tmp_path: Path, make: Any, below: list[str]) -> None:
    make(tmp_path)
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert caught.value.hint is not None
    for name in below:
        assert str(tmp_path / name) in caught.value.hint
    assert "--source-format" in caught.value.hint
    for name in below:
        opened(tmp_path / name)  # which does


@pytest.mark.parametrize(
    "make",
    [
        lambda root: (root / "a").mkdir(),
        lambda root: parquet(root / "x.parquet", url=["u"], label=[0]),
        lambda root: arrays(root, "images", None),
        lambda root: (root / "x.doc").write_text(""),
        lambda root: loose(root / "1.png"),
        lambda root: None,
    ],
)
def test_every_refusal_of_a_folder_names_source_format(tmp_path: Path, make: Any) -> None:
    make(tmp_path)
    with pytest.raises(InputError) as caught:
        opened(tmp_path)
    assert "--source-format" in str(caught.value)


def test_a_folder_too_low_names_the_one_above(tmp_path: Path) -> None:
    classes(tmp_path, "cat", "dog")
    with pytest.raises(InputError, match=f"Try: {tmp_path}, if cat is a class"):
        opened(tmp_path / "cat")


# ---------------------------------------------------------------- one folder too high


@pytest.mark.parametrize(
    "splits",
    [("train", "val"), ("Test", "Train"), ("train2017", "val2017"), ("training", "validation"),
     ("train",), ("train_set", "test_set", "dev"), ("train", "unlabeled")],
)  # fmt: skip
def test_splits_that_are_read_as_classes_are_told(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        classes(tmp_path / split, "a", "b")
    source, lines = opened(tmp_path)
    assert source.classes == tuple(sorted(splits))
    train = next(name for name in splits if name.lower().startswith("train"))
    assert len(lines) == 1
    assert lines[0].endswith(f"Try: {tmp_path}/{train}")


def test_splits_without_folders_are_told_too(tmp_path: Path) -> None:
    _, lines = opened(classes(tmp_path, "train", "val"))
    assert "train and val look like splits" in lines[0]


@pytest.mark.parametrize(
    "names", [("tractor", "train", "trout"), ("cat", "dog"), ("testudo", "trainer"), ("a", "test")]
)
def test_classes_that_only_sound_like_splits_are_not_doubted(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    assert opened(classes(tmp_path, *names))[1] == []


def test_a_single_class_is_told_with_the_folder_that_may_be_meant(tmp_path: Path) -> None:
    _, lines = opened(classes(tmp_path / "flat", "photos"))
    assert "single class, photos: all 1 labels are the same" in lines[0]
    classes(tmp_path / "high" / "photos", "a", "b")
    _, lines = opened(tmp_path / "high")
    assert f"Try: {tmp_path}/high/photos" in lines[0]
