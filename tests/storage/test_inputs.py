"""Listing datasets and mixing sets."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.storage.imagefolder import open_imagefolder
from pixmix_cli.storage.images import encode
from pixmix_cli.storage.pictures import open_mixing_set
from pixmix_cli.storage.tar import TarWriter
from tests.conftest import picture


def silent(text: str) -> None:
    raise AssertionError(f"unexpected warning: {text}")


def test_classes_and_labels_are_torchvisions(photos: Path) -> None:
    from torchvision.datasets import ImageFolder

    source = open_imagefolder(photos, silent)
    theirs = ImageFolder(str(photos))
    assert list(source.classes) == theirs.classes
    ours = [(ref.path, label) for ref, label in zip(source.pictures, source.labels)]
    assert ours == theirs.samples


def test_digest_changes_with_a_picture_and_not_with_the_place(photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    digest = open_imagefolder(photos, silent).digest
    assert open_imagefolder(copy, silent).digest == digest
    (copy / "cat" / "extra.png").write_bytes(encode(picture(1, 9, 9), "png"))
    assert open_imagefolder(copy, silent).digest != digest


def test_a_class_folder_without_pictures_keeps_its_label_and_is_warned_about(
    photos: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    (copy / "bird").mkdir()
    warnings: list[str] = []
    source = open_imagefolder(copy, warnings.append)
    assert source.classes == ("bird", "cat", "dog", "zebra finch")
    assert min(source.labels) == 1
    assert len(warnings) == 1
    assert "bird" in warnings[0]


def test_a_symlink_loop_ends(photos: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(photos, copy)
    (copy / "cat" / "loop").symlink_to(copy / "cat", target_is_directory=True)
    warnings: list[str] = []
    source = open_imagefolder(copy, warnings.append)
    assert len(source.pictures) == 24
    assert any("link" in text for text in warnings)


ODD_NAMES = ['a "quoted"', "sp ace", "dots.in.name", "ünïcödé 猫", "new\nline"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_is_a_key(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / f"{name}.png").write_bytes(encode(picture(1, 9, 9), "png"))
    source = open_imagefolder(tmp_path, silent)
    assert source.pictures[0].name == f"{name}/{name}.png"
    assert source.pictures[0].read()


def test_file_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    import os

    (tmp_path / "c").mkdir()
    odd = os.fsdecode(b"\xff\xfe.png")
    try:
        (tmp_path / "c" / odd).write_bytes(encode(picture(1, 9, 9), "png"))
    except OSError:
        pytest.skip("this file system refuses names that are not UTF-8")
    source = open_imagefolder(tmp_path, silent)
    assert source.pictures[0].name == f"c/{odd}"
    assert len(source.digest) == 64


def test_mixing_sets_are_listed_set_by_set(mixing: Path, photos: Path) -> None:
    both = open_mixing_set([mixing, photos], silent)
    assert len(both.pictures) == 30
    assert [ref.name for ref in both.pictures[:6]] == [
        "m1.png", "m3.png", "m5.png", "deep/deeper/m0.png", "deep/deeper/m2.png",
        "deep/deeper/m4.png",
    ]  # fmt: skip


def test_a_tar_is_a_mixing_set_too(mixing: Path, tmp_path: Path) -> None:
    path = tmp_path / "set.tar"
    with path.open("wb") as file:
        writer = TarWriter(file)
        for png in sorted(mixing.rglob("*.png")):
            writer.add(png.name, png.read_bytes())
        writer.add("notes.txt", b"not a picture")
        writer.finish()
    for place in (path, tmp_path):
        found = open_mixing_set([place], silent)
        assert len(found.pictures) == 6
        assert found.pictures[0].read() == (mixing / "deep/deeper/m0.png").read_bytes()


def test_mixing_set_without_pictures_says_how_to_make_one(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match=r"holds no pictures.*generate-fractals"):
        open_mixing_set([tmp_path], silent)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root / "nowhere", "does not exist"),
        (lambda root: root / "empty", "is empty"),
        (lambda root: root / "flat", "no class folders"),
        (lambda root: root / "hollow", "holds no pictures"),
        (lambda root: root / "flat" / "1.png", "is a file"),
    ],
)
def test_sources_that_cannot_be_used_say_why(tmp_path: Path, make, message: str) -> None:  # type: ignore[no-untyped-def]
    for name in ("empty", "flat", "hollow/class"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "flat" / "1.png").write_bytes(encode(picture(1, 9, 9), "png"))
    with pytest.raises(InputError, match=message):
        open_imagefolder(make(tmp_path), lambda text: None)
