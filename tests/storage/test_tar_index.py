"""Tars that are in memory as a whole: what lies where in them is what `tar.members` says."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmix_cli.errors import StorageError
from pixmix_cli.storage import tar
from pixmix_cli.storage.tar_index import members_of
from tests.conftest import tar_of

Files = list[tuple[str, bytes]]
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=100)
FILES = st.lists(st.tuples(NAMES, st.binary(max_size=1200)), min_size=1, max_size=9)


def told(path: Path, data: bytes) -> list[tuple[str, int, int]] | None:
    """What `tar.members` tells; None for what it refuses."""
    path.write_bytes(data)
    try:
        return [(one.name, one.offset, one.length) for one in tar.members(path)]
    except StorageError:
        return None


@given(files=FILES)
def test_members_are_found_where_reading_header_by_header_finds_them(
    files: Files, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = tar_of(files)
    assert members_of(data) == told(tmp_path_factory.mktemp("tar") / "x.tar", data)


def test_a_tar_inside_a_member_is_not_taken_for_members(tmp_path: Path) -> None:
    inner = tar_of([("inner.jpg", b"x" * 600)])
    data = tar_of([("a.tar", inner), ("b.jpg", b"y")])
    found = members_of(data)
    assert found is None or found == told(tmp_path / "x.tar", data)


@given(files=FILES, data=st.data())
def test_an_archive_that_was_damaged_is_left_to_the_careful_reader_or_read_like_it(
    files: Files, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(tar_of(files))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.sampled_from([len(whole), len(whole) - 512, 512, 0]))])
    found = members_of(damaged)
    assert found is None or found == told(tmp_path_factory.mktemp("tar") / "x.tar", damaged)


@pytest.mark.parametrize("name", ["ä.jpg", "long" * 40 + ".jpg", "folder/" * 20 + "a.jpg"])
def test_names_that_need_more_than_a_plain_header_are_left_to_the_careful_reader(name: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as writer:
        writer.addfile(tarfile.TarInfo(name))
    assert members_of(out.getvalue()) is None


def test_links_are_left_to_the_careful_reader() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as writer:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "b.jpg"
        writer.addfile(link)
    assert members_of(out.getvalue()) is None
