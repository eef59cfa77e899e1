"""Tars with fixed headers, and careful reading of anyone's."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmix_cli.errors import StorageError
from pixmix_cli.storage import tar
from tests.conftest import tar_of


def archive(*items: tuple[str, bytes]) -> bytes:
    return tar_of(items)


def test_pythons_tarfile_reads_what_we_write_and_finds_no_trace_of_us() -> None:
    data = archive(("a.jpg", b"x" * 700), ("a.cls", b"3"))
    with tarfile.open(fileobj=io.BytesIO(data)) as found:
        infos = found.getmembers()
        contents = [found.extractfile(info).read() for info in infos]  # type: ignore[union-attr]
    assert contents == [b"x" * 700, b"3"]
    for info in infos:
        assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)


@given(
    name=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100),
    length=st.integers(0, 2**33 - 1),
)
def test_a_header_is_the_one_that_pythons_tarfile_writes(name: str, length: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = length, 0o644
    assert tar._header(name, length) == info.tobuf(tarfile.USTAR_FORMAT)


def test_members_tells_where_the_bytes_lie(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(archive(("a.jpg", b"hello"), ("b.jpg", b"")))
    found = list(tar.members(path))
    assert [(m.name, m.length) for m in found] == [("a.jpg", 5), ("b.jpg", 0)]
    assert path.read_bytes()[found[0].offset :][:5] == b"hello"


@pytest.mark.parametrize("cut", [1, 512, 1024, 1300, 2000])
def test_truncated_tar_is_an_error_that_says_where(tmp_path: Path, cut: int) -> None:
    data = archive(("a.jpg", b"x" * 512), ("b.jpg", b"y" * 512))
    path = tmp_path / "x.tar"
    path.write_bytes(data[: len(data) - cut - 513])
    with pytest.raises(StorageError, match=r"truncated|not a whole") as caught:
        list(tar.members(path))
    assert "x.tar" in str(caught.value)


def test_a_text_file_is_no_tar(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"certainly not an archive " * 100)
    with pytest.raises(StorageError, match="not a whole"):
        list(tar.members(path))


def test_links_and_devices_in_a_hostile_tar_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as hostile:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("../../etc/evil.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            hostile.addfile(info)
        info = tarfile.TarInfo("/absolute.jpg")
        info.size = 3
        hostile.addfile(info, io.BytesIO(b"abc"))
    assert [m.name for m in tar.members(path)] == ["/absolute.jpg"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar"]


@pytest.mark.parametrize("length", [0, 1, 12345, 2**33 - 1, 2**33])
@pytest.mark.parametrize("name", ["a", "000000001.json", "n" * 100, "y/" * 60 + "z", "ü.jpg"])
def test_headers_are_those_of_the_standard_library(name, length):
    info = tarfile.TarInfo(name)
    info.size, info.mode = length, 0o644
    if length < 2**33:
        expected = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        expected[329:345] = bytes(16)  # device numbers: older Pythons write zeros there
        expected[148:156] = b" " * 8
        expected[148:156] = b"%06o\0 " % sum(expected)
        assert tar._header(name, length) == bytes(expected)
    else:
        with pytest.raises(ValueError, match="overflow"):
            tar._header(name, length)


def awkward_names() -> list[str]:
    return ["a.jpg", "ü" * 30 + ".jpg", "n" * 150 + ".jpg", "d/" * 70 + "x.jpg", "l\n'\".jpg"]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_the_standard_library_finds(tmp_path: Path, form: int) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w", format=form) as made:
        for number, name in enumerate(awkward_names()):
            folder = tarfile.TarInfo(f"folder{number}")
            folder.type = tarfile.DIRTYPE
            made.addfile(folder)
            info = tarfile.TarInfo(name)
            info.size, info.mtime = 600 * number, 1.5  # a fraction makes a pax header
            if form == tarfile.USTAR_FORMAT and name.startswith("n"):
                continue  # does not fit
            made.addfile(info, io.BytesIO(b"z" * info.size))
    with tarfile.open(path) as found:
        expected = [(i.name, i.offset_data, i.size) for i in found if i.isreg()]
    assert [tuple(member) for member in tar._local(path)] == expected
    assert [tuple(member) for member in tar._members_by_tarfile(path)] == expected


def test_a_kind_of_member_only_the_library_knows_is_found_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as made:
        for name, kind in (("a", tarfile.REGTYPE), ("b", tarfile.CONTTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.size = kind, 3
            made.addfile(info, io.BytesIO(b"abc"))
    assert [member.name for member in tar.members(path)] == ["a", "b"]
