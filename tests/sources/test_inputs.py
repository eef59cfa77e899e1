"""Listing datasets and mixing sets."""

from __future__ import annotations

import io
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Literal

import pytest

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.imagefolder import open_imagefolder
from pixmix_cli.sources.mixing_set import WEIGHTED_DRAWS, open_mixing_set, weighted_paths
from pixmix_cli.storage import spool
from pixmix_cli.storage.images import encode
from pixmix_cli.storage.tar import TarWriter
from tests.conftest import picture, tar_of


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


Mode = Literal["w", "w:gz", "w:bz2", "w:xz"]
ODD_NAMES = ['a "quoted"', "sp ace", "dots.in.name", "ünïcödé 猫", "new\nline"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_is_a_key(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / f"{name}.png").write_bytes(encode(picture(1, 9, 9), "png"))
    source = open_imagefolder(tmp_path, silent)
    assert source.pictures[0].name == f"{name}/{name}.png"
    assert source.pictures[0].read()


def test_file_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
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
def test_sources_that_cannot_be_used_say_why(tmp_path: Path, make, message: str) -> None:
    for name in ("empty", "flat", "hollow/class"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "flat" / "1.png").write_bytes(encode(picture(1, 9, 9), "png"))
    with pytest.raises(InputError, match=message):
        open_imagefolder(make(tmp_path), lambda text: None)


def test_a_weight_is_a_share_of_the_picks_whatever_a_set_s_size(mixing: Path, photos: Path) -> None:
    both = open_mixing_set([mixing, photos], silent, (1.0, 2.0))
    step = WEIGHTED_DRAWS // 3000
    picked = [both.pick(drawn) for drawn in range(0, WEIGHTED_DRAWS, step)][:3000]
    assert abs(sum(index < 6 for index in picked) - 1000) <= 1
    assert set(picked) == set(range(30))
    counts = [picked.count(index) for index in range(30)]
    assert max(counts[:6]) - min(counts[:6]) <= 1
    assert max(counts[6:]) - min(counts[6:]) <= 1
    assert both.pick(both.draws_from - 1) == 29


def test_without_weights_every_picture_is_picked_alike(mixing: Path, photos: Path) -> None:
    both = open_mixing_set([mixing, photos], silent)
    assert [both.pick(drawn) for drawn in range(both.draws_from)] == list(range(30))


def test_a_picture_moved_to_another_weighted_set_changes_the_digest(tmp_path: Path) -> None:
    for name in ("a/1.png", "a/2.png", "b/3.png", "c/1.png", "d/2.png", "d/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    first, second = ([tmp_path / x, tmp_path / y] for x, y in (("a", "b"), ("c", "d")))
    assert open_mixing_set(first, silent).digest == open_mixing_set(second, silent).digest
    weights = (1.0, 1.0)
    digests = {open_mixing_set(paths, silent, weights).digest for paths in (first, second)}
    assert len(digests) == 2


def test_a_path_that_exists_wins_over_a_weight(tmp_path: Path) -> None:
    (tmp_path / "a:2").mkdir()
    texts = [f"{tmp_path}/a:2", f"{tmp_path}/b:x", "-"]
    assert weighted_paths(texts) == (tuple(map(Path, texts)), ())
    assert weighted_paths([f"{tmp_path}/a:2:3", "b:.5"]) == (
        (tmp_path / "a:2", Path("b")),
        (3.0, 0.5),
    )


@pytest.mark.parametrize("texts", [["a:0"], ["a:-1"], ["a:nan"], ["a:inf"], ["a:1", "b"]])
def test_weights_that_make_no_sense_are_refused(texts: list[str]) -> None:
    with pytest.raises(InputError, match="weight"):
        weighted_paths(texts)


def archive(mixing: Path, path: Path, mode: Mode) -> bytes:
    """Laid out as the paper's own mixing set: folders in folders in one tar."""
    with tarfile.open(path, mode) as made:
        made.add(mixing, "fractals_and_fvis/first_layers_resized256_onevis/images")
    return path.read_bytes()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_the_papers_archive_is_a_mixing_set_as_a_file_and_on_stdin(
    mixing: Path, tmp_path: Path, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x.tar{mode[1:].replace(':', '.')}"
    data = archive(mixing, path, mode)
    expected = sorted(png.read_bytes() for png in mixing.rglob("*.png"))
    (tmp_path / "misnamed.tar").write_bytes(data)
    for file in (path, tmp_path / "misnamed.tar"):
        found = open_mixing_set([file], silent)
        assert sorted(ref.read() for ref in found.pictures) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    found = open_mixing_set([Path("-")], silent)
    assert sorted(ref.read() for ref in found.pictures) == expected


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (0, "nothing came on stdin"),
        (700, r"tar on stdin is truncated at member 000/000000\.jpg"),
        (1536, "tar on stdin is truncated at the member after 000/000000.jpg|not a whole"),
        (100, "tar on stdin is not a whole"),
    ],
)
def test_a_stream_cut_short_says_at_which_member(
    cut: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tar_of((f"000/{number:06d}.jpg", b"x" * 600) for number in range(2))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(whole[:cut])))
    with pytest.raises(InputError, match=message):
        open_mixing_set([Path("-")], silent)


def test_hostile_names_on_stdin_are_never_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = tar_of((name, b"abc") for name in ("../../evil.jpg", "/absolute.jpg"))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    found = open_mixing_set([Path("-")], silent)
    assert [ref.name for ref in found.pictures] == [
        "stdin.tar/../../evil.jpg", "stdin.tar//absolute.jpg",
    ]  # fmt: skip
    assert {p.name for p in tmp_path.rglob("*") if p.is_file()} == {"stdin.tar", spool.LOCK}
    spool.remove_all()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="permissions")
def test_a_folder_that_cannot_be_listed_is_named() -> None:
    root = Path(tempfile.mkdtemp())  # pytest's own folders are closed to others
    try:
        root.chmod(0o755)
        (root / "class" / "locked").mkdir(parents=True)
        (root / "class" / "1.png").write_bytes(b"x")
        (root / "class" / "locked").chmod(0)
        me = os.geteuid()
        if me == 0:  # root may list anything: be nobody for a moment
            os.seteuid(65534)
        try:
            for reader in (open_imagefolder, find_pictures):
                with pytest.raises(StorageError, match=r"locked cannot be listed"):
                    reader(root, silent)
        finally:
            os.seteuid(me)
    finally:
        (root / "class" / "locked").chmod(0o755)
        shutil.rmtree(root)


def test_a_symlink_loop_in_a_mixing_set_ends(mixing: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(mixing, copy)
    (copy / "deep" / "loop").symlink_to(copy, target_is_directory=True)
    warnings: list[str] = []
    assert len(find_pictures(copy, warnings.append)) == 6
    assert any("not followed" in text for text in warnings)
