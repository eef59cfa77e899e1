"""Tars as other programs and people make them: read right, or refused by name."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pixmix_cli.errors import InputError, PictureError, PixMixError
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import spool, tar
from pixmix_cli.storage.images import decode_rgb
from tests.conftest import Cli, one_line_error, tar_of
from tests.sources import datasets_in as made

Members = list[tuple[str, bytes]]
THREE: Members = [
    (f"{number}.{extension}", data)
    for number in range(3)
    for extension, data in (("png", made.PNGS[number]), ("cls", str(number).encode()))
]


def written(path: Path, members: Members) -> Path:
    path.write_bytes(tar_of(members))
    return path


def silent(text: str) -> None:
    pass


def check_three(source: Source) -> None:
    assert source.labels.tolist() == [0, 1, 2]
    for ref, pixels in zip(source.pictures, made.PIXELS):
        np.testing.assert_array_equal(decode_rgb(ref.read(), ref.name), pixels)


# a sample that cannot be used: its members, and what is said of it
BAD: dict[str, tuple[Members, str]] = {
    "no label": ([("b.png", b"1")], "b.png: it has no .cls member, and no .json with a label"),
    "no picture": ([("b.cls", b"1")], "b: the sample has no picture that is read, but .cls"),
    "another picture": (
        [("b.gif", b"G"), ("b.cls", b"1")],
        "no picture that is read, but .gif .cls",
    ),
    "fraction": ([("b.png", b"1"), ("b.cls", b"1.5")], "label 1.5 is no whole number"),
    "json fraction": ([("b.png", b"1"), ("b.json", b'{"label": 1.5}')], "label 1.5 is no whole"),
    "json NaN": ([("b.png", b"1"), ("b.json", b'{"label": NaN}')], "label nan is no whole number"),
    "json list": ([("b.png", b"1"), ("b.json", b'{"label": [1]}')], "label [1] is a list"),
    "json null": ([("b.png", b"1"), ("b.json", b'{"label": null}')], "no .json with a label"),
    "no json": ([("b.png", b"1"), ("b.json", b"{")], "b.json is no JSON"),
    "empty": ([("b.png", b"1"), ("b.cls", b" \n")], r"label b' \n' is empty"),
    "binary": ([("b.png", b"1"), ("b.cls", b"\1\0\0\0")], "holds control characters"),
    "large": ([("b.png", b"1"), ("b.cls", bytes(2 << 20))], "too many for a label"),
    "empty picture": ([("b.png", b""), ("b.cls", b"1")], "b.png: the file is empty"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_sample_that_cannot_be_used_is_a_picture_that_cannot_be_read(
    tmp_path: Path, kind: str
) -> None:
    members, reason = BAD[kind]
    warnings: list[str] = []
    path = written(tmp_path / "x.tar", [*THREE[:2], *members, *THREE[2:]])
    source = open_source(path, warnings.append)
    assert [ref.name for ref in source.pictures][::2] == ["x.tar/0.png", "x.tar/1.png"]
    assert [label for at, label in enumerate(source.labels) if at != 1] == [0, 1, 2]
    bad = source.pictures[1]
    with pytest.raises(PictureError) as caught:
        decode_rgb(bad.read(), bad.name)
    assert reason in str(caught.value)


def test_a_bake_lists_and_counts_samples_that_cannot_be_used(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    members = [*THREE, ("b.png", made.PNGS[3]), ("c.gif", b"GIF"), ("c.cls", b"1")]
    source = written(tmp_path / "x.tar", members)
    arguments = ["bake", source, "--mixing-set", mixing, "-j", 1, "--preset", "cifar"]
    code, _, err = cli(*arguments, "-o", tmp_path / "o")
    assert code == 3, err
    rows = [json.loads(line) for line in (tmp_path / "o" / "errors.jsonl").read_text().splitlines()]
    assert [(row["key"], row["index"]) for row in rows] == [("x.tar/b.png", 3), ("x.tar/c", 4)]
    assert "no .cls member" in rows[0]["error"]
    code, _, err = cli(*arguments, "-o", tmp_path / "f", "--on-error", "fail")
    assert code == 1
    assert "x.tar/" in err
    code, _, err = cli(*arguments, "-o", tmp_path / "m", "--max-errors", 1)
    assert code == 1
    assert "2 pictures cannot be used, more than --max-errors 1" in err
    assert cli("verify", tmp_path / "o", "-j", 1, "--rebake-sample", 3)[0] == 0


def test_files_that_are_no_samples_are_counted_by_ending(tmp_path: Path) -> None:
    extra = [("README.md", b"x"), ("stats.json", b'{"count": 3}'), ("more.md", b"x")]
    warnings: list[str] = []
    check_three(open_source(written(tmp_path / "x.tar", [*THREE, *extra]), warnings.append))
    assert [text.partition(" in SOURCE")[0] for text in warnings] == ["2 .md, 1 .json"]


def test_a_sample_cut_in_two_by_the_end_of_a_shard_is_one(tmp_path: Path) -> None:
    for cut in range(1, 6):
        written(tmp_path / "000.tar", THREE[:cut])
        written(tmp_path / "001.tar", THREE[cut:])
        warnings: list[str] = []
        check_three(open_source(tmp_path, warnings.append))
        assert not warnings


def test_halves_of_two_samples_of_one_key_are_two(tmp_path: Path) -> None:
    written(tmp_path / "000.tar", [*THREE, ("x.png", b"1")])
    written(tmp_path / "001.tar", [("x.png", b"2"), ("y.cls", b"1.5")])
    written(tmp_path / "002.tar", [("y.cls", b"1"), *THREE])
    names = [ref.name for ref in open_source(tmp_path, silent).pictures]
    assert names[3:7] == ["000.tar/x.png", "001.tar/x.png", "001.tar/y", "002.tar/y"]
    assert len(names) == 10


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE])
@pytest.mark.parametrize("target", ["a.png", "n" * 120 + ".png"])
def test_links_to_files_in_the_tar_are_those_files(
    tmp_path: Path, form: int, kind: bytes, target: str
) -> None:
    if form == tarfile.USTAR_FORMAT and len(target) > 100:
        target = "f/" * 40 + "a.png"
    with tarfile.open(tmp_path / "x.tar", "w", format=form) as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(data))

        def link(name: str, to: str) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, to
            archive.addfile(info)

        add(f"d/{target}", made.PNGS[0])
        add(f"d/{target.replace('png', 'cls')}", b"0")
        link("d/b.png", target if kind == tarfile.SYMTYPE else f"./d/{target}")
        add("d/b.cls", b"1")
        link("d/c.png", "d/b.png" if kind == tarfile.LNKTYPE else "no.png")
        add("d/c.cls", b"2")
    source = open_source(tmp_path / "x.tar", silent)
    assert source.labels.tolist()[:2] == [0, 1]
    assert source.pictures[1].read() == made.PNGS[0]
    with tarfile.open(tmp_path / "x.tar") as archive:
        expected = []
        for info in archive:
            try:
                file = archive.extractfile(info)
            except KeyError:
                continue
            expected.append((info.name, file.read() if file else b""))
    data = (tmp_path / "x.tar").read_bytes()
    for members in (tar.members(tmp_path / "x.tar"), tar._members_by_tarfile(tmp_path / "x.tar")):
        assert [(m.name, data[m.offset : m.offset + m.length]) for m in members] == expected


def test_a_hard_link_means_the_file_before_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for data in (b"first", b"", b"second"):
            info = tarfile.TarInfo("a" if data else "b")
            info.size, info.type = len(data), tarfile.REGTYPE if data else tarfile.LNKTYPE
            info.linkname = "" if data else "a"
            archive.addfile(info, io.BytesIO(data))
    data = (tmp_path / "x.tar").read_bytes()
    found = {
        m.name: data[m.offset :][: m.length] for m in list(tar.members(tmp_path / "x.tar"))[:2]
    }
    assert found == {"a": b"first", "b": b"first"}


def sparse_member(form: str) -> bytes:
    """A file of 4096 zeros and b"end", as GNU tar --sparse stores it."""
    if form == "gnu":
        info = tarfile.TarInfo("0.bmp")
        info.type, info.size = tarfile.GNUTYPE_SPARSE, 3
        head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        head[386:410] = b"%011o\0%011o\0" % (4096, 3)
        head[483:495] = b"%011o\0" % 4099
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return bytes(head) + b"end".ljust(512, b"\0")
    info = tarfile.TarInfo("GNUSparseFile.0/0.bmp")
    info.size = 512 + 3
    info.pax_headers = {
        "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "0.bmp",
        "GNU.sparse.realsize": "4099",
    }  # fmt: skip
    return (
        info.tobuf(tarfile.PAX_FORMAT)
        + b"1\n4096\n3\n".ljust(512, b"\0")
        + b"end".ljust(512, b"\0")
    )


@pytest.mark.parametrize("form", ["gnu", "pax"])
def test_a_sparse_member_is_refused_by_name(
    cli: Cli, mixing: Path, tmp_path: Path, form: str
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(sparse_member(form) + tar_of(THREE))
    with tarfile.open(path) as archive:
        first = archive.next()
        assert first is not None
        assert archive.extractfile(first).read() == bytes(4096) + b"end"  # type: ignore[union-attr]
    code, _, err = cli("bake", path, "--mixing-set", mixing, "-o", tmp_path / "o")
    assert code == 2
    assert "member 0.bmp is stored as a sparse file. Try: tar without --sparse" in one_line_error(
        err
    )


def test_samples_whose_files_lie_apart_are_refused_with_the_mend(tmp_path: Path) -> None:
    apart = sorted(THREE, key=lambda member: member[0].rpartition(".")[2])
    with pytest.raises(InputError, match=r"none of its 6 samples .*Try: tar --sort=name"):
        open_source(written(tmp_path / "x.tar", apart), silent)


def test_members_in_upper_case_are_read(tmp_path: Path) -> None:
    members = [(name.upper(), data) for name, data in THREE]
    check_three(open_source(written(tmp_path / "X.TAR", members), silent))
    check_three(open_source(tmp_path, silent))
    upper = [(f"{n}.{e}", d) for n in range(3) for e, d in (
        ("PNG", made.PNGS[n]), ("JSON", b'{"label": %d}' % n))]  # fmt: skip
    check_three(open_source(written(tmp_path / "X.TAR", upper), silent))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress,
}  # fmt: skip


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("name", ["x.tar", "x.tar.{}", "X.TAR.{}", "x.t{}"])
def test_a_compressed_tar_is_read_whatever_it_is_called(
    tmp_path: Path, packer: str, name: str
) -> None:
    (tmp_path / "d").mkdir()
    path = (
        tmp_path
        / "d"
        / name.format({"x.t{}": {"bz2": "bz2"}.get(packer, packer)}.get(name, packer))
    )
    path.write_bytes(PACKERS[packer](tar_of(THREE)))
    for source in (path, tmp_path / "d", tmp_path / "d" / "*"):
        found = open_source(source, silent)
        check_three(found)
        assert found.pictures[0].name == f"{path.name}/0.png"
    spool.remove_all()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(99), "packed by zstd. Try: unzstd x.tar.zst"),
        ("x.tar", b"\x28\xb5\x2f\xfd" + bytes(99), "packed by zstd. Try: unzstd x.tar"),
        ("x.zip", b"PK\3\4" + bytes(99), "packed by zip. Try: unzip x.zip"),
        ("x.tar.Z", b"\x1f\x9d" + bytes(99), "packed by compress. Try: uncompress x.tar.Z"),
        ("x.tar", b"PK\3\4" + bytes(99), "packed by zip. Try: unzip x.tar"),
        ("x.tar.gz", gzip.compress(tar_of(THREE))[:-99], "is not whole gzip data"),
        ("x.tar", gzip.compress(tar_of(THREE)[:-2000]), r"x.tar is truncated at .*after 2\.png"),
        ("x.tgz", gzip.compress(b"no tar" * 99), "x.tgz is not a whole uncompressed tar"),
        ("x.tar", b"", "x.tar is not a whole uncompressed tar file: empty"),
        ("x.tar.xz", lzma.compress(tar_of(THREE))[:-99], "is not whole xz data"),
        ("x.tar.bz2", b"BZh" + bytes(99), "is not whole bzip2 data"),
    ],
)
def test_what_cannot_be_unpacked_is_refused_with_the_mend(
    cli: Cli, mixing: Path, tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    code, _, err = cli("bake", tmp_path / name, "--mixing-set", mixing, "-o", tmp_path / "o")
    assert code == 2
    with pytest.raises(PixMixError, match=message):
        open_source(tmp_path / name, silent)
    assert name in one_line_error(err)


def test_a_renamed_cifar_archive_is_cifar(tmp_path: Path) -> None:
    path = made.cifar_archive(tmp_path).rename(tmp_path / "download.tar.gz")
    assert open_source(path, silent).kind == "cifar"
    spool.remove_all()


@pytest.mark.parametrize("start", [b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
def test_anything_compressed_on_stdin_is_refused_with_the_mend(
    monkeypatch: pytest.MonkeyPatch, start: bytes
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(start + bytes(600))))
    with pytest.raises(InputError, match=r"compressed by .* Try: [a-z0-9]+ before"):
        open_source(Path("-"), silent)
