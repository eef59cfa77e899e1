"""Every kind of dataset, found by itself and read to the same pictures and labels."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from pixmix_cli.errors import InputError, PixMixError, StorageError
from pixmix_cli.sources import parquet as parquet_reader
from pixmix_cli.sources.labels import MAX_CLASSES
from pixmix_cli.sources.open import open_source, recognise
from pixmix_cli.sources.pictures import read_bytes_at
from pixmix_cli.sources.plain_pickles import load_plain
from pixmix_cli.sources.source import Source
from pixmix_cli.sources.webdataset import expand_braces
from pixmix_cli.storage import spool
from pixmix_cli.storage.images import decode_rgb
from pixmix_cli.storage.tar import TarWriter
from tests.sources import datasets_in as made
from tests.sources.test_inputs import ODD_NAMES, silent


def open_(path: Path, **options: str) -> Source:
    return open_source(path, silent, **options)


def pictures_of(source: Source) -> np.ndarray:
    """Its pictures in the order of `made.PIXELS`, which an ImageFolder has class by class."""
    order = np.argsort(np.array(made.LABELS), kind="stable")
    found = np.stack([decode_rgb(ref.read(), ref.name) for ref in source.pictures])
    if source.kind != "imagefolder":
        return found
    return found[np.argsort(order)]


@pytest.mark.parametrize("kind", made.KINDS)
def test_a_dataset_of_every_kind_is_recognised_and_read_whole(kind: str, tmp_path: Path) -> None:
    path = made.KINDS[kind](tmp_path / "d")
    source = open_(path)
    assert source.kind == kind.split(".")[0].split(" ")[0].removesuffix("-100")
    assert source.classes == tuple(made.NAMES)
    expected = sorted(made.LABELS) if kind == "imagefolder" else made.LABELS
    assert source.labels.tolist() == expected
    np.testing.assert_array_equal(pictures_of(source), made.PIXELS)
    assert len({ref.name for ref in source.pictures}) == 9
    assert open_(path).digest == source.digest


@pytest.mark.parametrize("kind", made.KINDS)
def test_digest_tells_other_labels_and_pictures_apart(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = open_(made.KINDS[kind](tmp_path / "a")).digest
    monkeypatch.setattr(made, "LABELS", made.LABELS[1:] + made.LABELS[:1])
    assert open_(made.KINDS[kind](tmp_path / "b")).digest != digest
    monkeypatch.undo()
    monkeypatch.setattr(made, "PIXELS", np.ascontiguousarray(made.PIXELS[:, ::-1] // 3))
    monkeypatch.setattr(made, "PNGS", [png + b"\0" for png in made.PNGS])
    assert open_(made.KINDS[kind](tmp_path / "c")).digest != digest


@pytest.mark.parametrize("kind", ["cifar", "cifar-100", "parquet", "parquet saved splits"])
def test_the_test_split_is_taken_when_asked_for(kind: str, tmp_path: Path) -> None:
    path = made.KINDS[kind](tmp_path / "d")
    source = open_(path, split="test")
    assert source.split == "test"
    assert source.labels.tolist() == made.LABELS[: len(source.labels)]
    assert len(source.labels) < 3
    with pytest.raises(InputError, match=r"no split 'val'.*--split"):
        open_(path, split="val")


def test_cifar_100_has_coarse_labels_too(tmp_path: Path) -> None:
    source = open_(made.cifar100(tmp_path / "d"), label_field="coarse_labels")
    assert source.classes == ("bird", "mammal")
    assert source.labels.tolist() == [int(label != 2) for label in made.LABELS]


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/pixmix-was-here",)


def test_a_pickle_that_would_run_something_is_refused_and_named(tmp_path: Path) -> None:
    root = made.cifar10(tmp_path / "d")
    victim = root / "cifar-10-batches-py" / "data_batch_3"
    victim.write_bytes(pickle.dumps({b"labels": [0], b"data": Evil()}))
    with pytest.raises(InputError, match=r"data_batch_3 is refused: it would run posix.system"):
        open_(root)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_data_of_any_protocol_is_read(protocol: int) -> None:
    value = {b"a": [1, 2**40, -3], "b": ("x", b"y", None, True, 2.5), "c": {"d": []}}
    assert load_plain(pickle.dumps(value, protocol), "x") == value


@pytest.mark.parametrize("shape", [(9, 40, 30), (9, 40, 30, 1), (9, 1, 40, 30)])
def test_grey_arrays_become_rgb(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    np.savez(tmp_path / "x.npz", images=grey, labels=made.LABELS)
    source = open_(tmp_path / "x.npz")
    assert source.classes == ("0", "1", "2")
    found = decode_rgb(source.pictures[4].read(), "x")
    expected = grey.reshape(9, 40, 30)[4][:, :, None].repeat(3, 2)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 8, 8, 3), np.float32), [0, 1, 2], "float32, not uint8"),
        (np.zeros((3, 8, 8, 4), np.uint8), [0, 1, 2], "shape"),
        (np.zeros((0, 8, 8, 3), np.uint8), [], "no pictures"),
        (np.zeros((3, 8, 8, 3), np.uint8), [0, 1], "labels are"),
        (
            np.zeros((3, 8, 8, 3), np.uint8),
            [0.5, 1, 2],
            "label 0.5 is no whole number, of picture 0; 1 of 3",
        ),
        (np.zeros((3, 8, 8, 3), np.uint8), [-1, 1, 2], "label -1"),
        (np.zeros((3, 8, 8, 3), np.uint8), [0, 1, MAX_CLASSES], "is not one of"),
        (np.array([None, "x"], object), [0, 1], "pickled"),
        (np.asfortranarray(np.zeros((3, 8, 8, 3), np.uint8)), [0, 1, 2], "Fortran"),
    ],
)
def test_arrays_that_cannot_be_used_say_why(tmp_path: Path, images, labels, message) -> None:
    np.savez(tmp_path / "x.npz", images=images, labels=labels)
    with pytest.raises(InputError, match=message):
        open_(tmp_path / "x.npz")


def test_an_array_cut_short_is_refused(tmp_path: Path) -> None:
    path = made.npy(tmp_path / "d") / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="truncated"):
        open_(tmp_path / "d")


def test_without_pyarrow_parquet_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InputError, match=r"needs pyarrow.*pixmix\[parquet\]"):
        open_(tmp_path / "x.parquet")


def test_a_worker_keeps_few_row_groups(tmp_path: Path) -> None:
    source = open_(made.parquet(tmp_path / "d"))
    assert source.runs == (0, 4, 8)
    for ref in source.pictures:
        ref.read()
    assert len(parquet_reader._groups) <= parquet_reader.KEPT_GROUPS


def test_text_labels_of_a_parquet_column_are_sorted_classes(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"jpg": made.PNGS, "class": [made.NAMES[label] for label in made.LABELS]})
    pq.write_table(table, tmp_path / "x.parquet")
    source = open_(tmp_path / "x.parquet")
    assert (source.classes, source.labels.tolist()) == (tuple(made.NAMES), made.LABELS)
    np.testing.assert_array_equal(pictures_of(source), made.PIXELS)


def write_tar(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with path.open("wb") as file:
        writer = TarWriter(file)
        for name, data in members:
            writer.add(name, data)
        writer.finish()
    return path


@pytest.mark.parametrize(
    ("record", "classes"),
    [
        (b'{"label": 2}', ("0", "1", "2")),
        (b'{"class_name": "cat", "x": [1]}', ("cat",)),
        (b'{"label": null, "class": "cat"}', ("cat",)),
    ],
)
def test_labels_of_a_webdataset_may_lie_in_json(tmp_path: Path, record, classes) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.json", record), ("a.png", made.PNGS[0])])
    source = open_(path)
    assert (source.classes, source.labels.tolist()) == (classes, [len(classes) - 1])


def test_webdataset_keys_are_those_of_the_webdataset_library(tmp_path: Path) -> None:
    import webdataset

    names = ["d.ir/c", "e", "f.g/h", ".hidden/i"]
    members = [(f"{n}.{e}", b"1") for n in names for e in ("small.png", "png", "cls")]
    path = write_tar(tmp_path / "x.tar", members)
    theirs = webdataset.WebDataset(str(path), shardshuffle=False)
    found = [ref.name for ref in open_(path).pictures]
    assert found == [f"x.tar/{sample['__key__']}.png" for sample in theirs]


def test_dots_in_a_name_lose_no_picture(tmp_path: Path) -> None:
    names = ["img.1.png", "img.1.cls", "img.2.png", "img.2.cls"]
    path = write_tar(tmp_path / "x.tar", [(name, name[4].encode()) for name in names])
    source = open_(path)
    assert [ref.name for ref in source.pictures] == ["x.tar/img.1.png", "x.tar/img.2.png"]
    assert source.labels.tolist() == [1, 2]


def test_a_webdataset_without_labels_is_refused(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.png", b"1")])
    with pytest.raises(
        InputError, match=r"none of its 1 samples can be used, as x.tar/a: it has no .cls"
    ):
        open_(path)


def test_shards_are_named_by_braces_and_globs(tmp_path: Path) -> None:
    root = made.webdataset(tmp_path / "d")
    digest = open_(root).digest
    for pattern in ("{000..002}.tar", "00{0,1,2}.tar", "*.tar", "00[0-2].tar"):
        assert open_(root / pattern).digest == digest
    with pytest.raises(InputError, match=r"003\.tar does not exist"):
        open_(root / "{000..003}.tar")
    with pytest.raises(InputError, match="no file matches"):
        open_(root / "*.tgz")


def test_braces_expand_as_in_a_shell() -> None:
    assert expand_braces("a{08..10}b{x,y}") == [
        "a08bx",
        "a08by",
        "a09bx",
        "a09by",
        "a10bx",
        "a10by",
    ]
    assert expand_braces("{2..0}") == ["2", "1", "0"]
    assert expand_braces("plain") == ["plain"]
    with pytest.raises(InputError, match="more than"):
        expand_braces("{0..9999999}")
    with pytest.raises(InputError, match="more than"):
        expand_braces("{0..9999}" * 3)


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path: Path) -> None:
    assert open_(made.imagefolder(tmp_path / "{a,b}*")).kind == "imagefolder"


class Stdin(io.TextIOWrapper):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))


@pytest.mark.parametrize("end", [b"\n", b"\0"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_list_on_stdin_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: bytes, labelled: bool
) -> None:
    made.imagefolder(tmp_path)
    monkeypatch.chdir(tmp_path)
    lines = []
    for number, label in enumerate(made.LABELS):
        line = f"./{made.NAMES[label]}/{number}.png"
        lines.append((line + (f"\t{10 + label}" if labelled else "")).encode())
    monkeypatch.setattr(sys, "stdin", Stdin(end.join(lines) + end))
    source = open_(Path("-"))
    assert source.classes[-3:] == (("10", "11", "12") if labelled else tuple(made.NAMES))
    assert source.pictures[0].name == "cat/0.png"
    assert all(ref.read() for ref in source.pictures)
    monkeypatch.setattr(sys, "stdin", Stdin(end.join(lines[::-1])))
    assert open_(Path("-")).digest == source.digest


def test_a_tar_on_stdin_is_read_as_the_tar_itself_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = made.webdataset(tmp_path / "shards")
    data = next(iter(sorted(shards.glob("*.tar")))).read_bytes()
    (tmp_path / "one.tar").write_bytes(data)
    monkeypatch.setattr(sys, "stdin", Stdin(data))
    piped, there = open_(Path("-")), open_(tmp_path / "one.tar")
    assert (piped.path, piped.kind, piped.classes) == ("-", "webdataset", there.classes)
    assert [ref.read() for ref in piped.pictures] == [ref.read() for ref in there.pictures]


def test_a_tar_on_stdin_that_is_cut_off_is_refused_by_the_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = made.webdataset(tmp_path / "shards")
    data = next(iter(sorted(shards.glob("*.tar")))).read_bytes()
    monkeypatch.setattr(sys, "stdin", Stdin(data[:-2000]))
    with pytest.raises(PixMixError, match=r"the tar on stdin .*\.(png|cls|json)"):
        open_(Path("-"))


def test_compressed_data_on_stdin_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Stdin(b"\x1f\x8b" + bytes(600)))
    with pytest.raises(InputError, match="compressed"):
        open_(Path("-"))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_file_name_may_stand_in_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    import csv
    import json

    label = name.replace("\n", " ")
    (tmp_path / name).mkdir()
    relative = f"{name}/{name}.png"
    (tmp_path / relative).write_bytes(made.PNGS[0])
    with (tmp_path / "l.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], [relative, label]])
    with (tmp_path / "l.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([["path", "label"], [relative, label]])
    (tmp_path / "l.jsonl").write_text(json.dumps({"path": relative, "label": label}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", Stdin(relative.encode() + b"\0"))
    for path in (Path("l.csv"), Path("l.tsv"), Path("l.jsonl"), Path("-")):
        source = open_(path)
        expected = name if path == Path("-") else label
        assert (source.pictures[0].name, source.classes) == (relative, (expected,))
        assert source.pictures[0].read() == made.PNGS[0]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_of_a_tar_and_its_members_is_a_key(tmp_path: Path, name: str) -> None:
    label = name.replace("\n", " ")
    members = [(f"{name}.png", made.PNGS[0]), (f"{name}.cls", label.encode())]
    path = tmp_path / f"{name}.tar"
    with path.open("wb") as file:
        import tarfile

        with tarfile.open(fileobj=file, mode="w") as archive:
            for member, data in members:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    source = open_(path)
    assert source.pictures[0].name == f"{name}.tar/{name}.png"
    assert source.classes == (label,)
    assert source.pictures[0].read() == made.PNGS[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no column path"),
        ("a,b\nx,y\n", "names no column path"),
        ("path,text\nx,y\n", "names no column label"),
        ("path,label\nx\n", "line 2 .* has no path and label"),
        ("path,label\n", "names no pictures"),
        ("path,label\nx.png,y\n", r"none of its 1 files exists.*paths that begin at"),
        ("path,label\n" + "x" * 200_000 + ",y\n", "damaged"),
    ],
)
def test_lists_that_cannot_be_used_say_why(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        open_(tmp_path / "l.csv")


def test_a_terminal_as_list_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(Stdin):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(b""))
    with pytest.raises(InputError, match="stdin is a terminal"):
        open_(Path("-"))


def test_files_of_a_list_that_do_not_exist_are_counted(tmp_path: Path) -> None:
    made.csv_list(tmp_path)
    (tmp_path / "pictures" / "cat" / "0.png").unlink()
    warnings: list[str] = []
    source = open_source(tmp_path / "list.csv", warnings.append)
    assert len(source.pictures) == 9
    assert len(warnings) == 1
    assert "1 of the 9 files" in warnings[0]
    with pytest.raises(StorageError):
        source.pictures[0].read()


def test_nothing_that_fits_says_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "a.doc").write_text("")
    (tmp_path / "b.doc").write_text("")
    with pytest.raises(InputError, match=r"holds files \(2 \.doc\)"):
        recognise(tmp_path)
    with pytest.raises(InputError, match=r"none of the kinds that are known.*\.parquet"):
        recognise(tmp_path / "a.doc")


def test_the_folder_of_a_baked_set_points_to_a_copy(tmp_path: Path) -> None:
    (tmp_path / "copy-000").mkdir()
    (tmp_path / "classes.json").write_text("[]")
    (tmp_path / "manifest.json").write_text('{"command": "bake"}')
    with pytest.raises(InputError, match=r"baked set\. Try: .*copy-000"):
        recognise(tmp_path)


def test_an_option_without_use_for_the_kind_is_refused(tmp_path: Path) -> None:
    root = made.imagefolder(tmp_path / "d")
    with pytest.raises(InputError, match=r"no use for --split\. Try: .*/train as SOURCE"):
        open_(root, split="train")
    with pytest.raises(InputError, match=r"no use for --label-field"):
        open_(root, label_field="x")


@pytest.fixture
def published_cifar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """A server with CIFAR-10's archive where torchvision looks; its folder and what was asked."""
    datasets = pytest.importorskip("torchvision").datasets
    archive = made.cifar_archive(tmp_path / "server")
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("PIXMIX_CACHE_DIR", str(tmp_path / "cache"))
    with ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(archive.parent))
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        monkeypatch.setattr(datasets.CIFAR10, "url", url)
        monkeypatch.setattr(datasets.CIFAR10, "filename", archive.name)
        md5 = hashlib.md5(archive.read_bytes()).hexdigest()
        monkeypatch.setattr(datasets.CIFAR10, "tgz_md5", md5)
        yield archive, asked
        server.shutdown()


def test_cifar_is_downloaded_once_when_asked_for_by_name(
    published_cifar: tuple[Path, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    archive, asked = published_cifar
    name = Path("torchvision:cifar10")
    first = open_(name)
    assert asked
    asked.clear()
    again = open_(name)
    assert not asked
    assert first.path == str(name)
    assert first.digest == again.digest == open_(archive).digest
    assert capsys.readouterr().out == ""


def test_a_damaged_download_is_refused_and_tried_again(
    published_cifar: tuple[Path, list[str]],
) -> None:
    archive, _ = published_cifar
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-100])
    with pytest.raises(StorageError, match=rf"corrupted.*Try: put {archive.name} into"):
        open_(Path("torchvision:cifar10"))
    archive.write_bytes(whole)
    assert len(open_(Path("torchvision:cifar10")).pictures) > 0


def test_only_datasets_that_can_be_downloaded_are_promised() -> None:
    with pytest.raises(InputError, match="torchvision:cifar10 or torchvision:cifar100"):
        open_(Path("torchvision:svhn"))


def test_a_gzip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(spool, "MAX_GROWTH_FREE", 1000)
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(InputError, match="grows more than"):
        open_(path)


def test_spooled_files_are_gone_when_removed(tmp_path: Path) -> None:
    source = open_(made.cifar_archive(tmp_path / "d"))
    place = Path(source.pictures[0].path)
    assert place.is_file()
    spool.remove_all()
    assert not place.parent.exists()
    shutil.rmtree(tmp_path / "d")


@pytest.mark.parametrize("cut", [0, 1, 100, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("kind", ["cifar.tar.gz", "numpy.npz", "numpy.npz compressed"])
def test_archives_cut_short_are_one_line(kind: str, cut: float, tmp_path: Path) -> None:
    path = made.KINDS[kind](tmp_path / "d")
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data)) if isinstance(cut, float) else cut])
    with pytest.raises(PixMixError):
        open_(path)


def test_a_file_replaced_by_another_is_read_anew(tmp_path: Path) -> None:
    file, other = tmp_path / "pieces", tmp_path / "other"
    file.write_bytes(b"-first")
    assert read_bytes_at(str(file), 1, 5) == b"first"
    other.write_bytes(b"-other")
    other.replace(file)
    assert read_bytes_at(str(file), 1, 5) == b"other"
