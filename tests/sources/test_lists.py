"""Lists of paths: of any length in little memory, and read alike however their lines end."""

from __future__ import annotations

import itertools
import json
import tracemalloc

import pytest

from pixmix_cli.sources.lists import open_list
from pixmix_cli.sources.pictures import STDIN

LINES = 20_000
BYTES_A_LINE = 110  # in all, of which 36 are the path; PictureRef objects would take 285 more


def silent(line):
    raise AssertionError(line)


@pytest.fixture
def rows(tmp_path):
    """Paths and labels in an order that goes from folder to folder."""
    folders = [f"n{number:08d}" for number in range(50)]
    for folder in folders:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}_1.JPEG").write_bytes(b"12345")
    return [(f"{folder}/{folder}_1.JPEG", folder) for folder in folders] * (LINES // 50)


def written(folder, ending, rows):
    """A list file, and what stdin would say."""
    lines = {
        ".csv": ["path,label", *map(",".join, rows)],
        ".tsv": ["path\tlabel", *map("\t".join, rows)],
        ".jsonl": [json.dumps({"path": name, "label": label}) for name, label in rows],
        ".txt": list(map("\t".join, rows)),
        ".lst": [f"{number}\t{label}\t{name}" for number, (name, label) in enumerate(rows)],
    }[ending]
    file = folder / f"list{ending}"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".txt", ".lst"])
def test_a_long_list_takes_few_bytes_a_line(tmp_path, rows, ending):
    file = written(tmp_path, ending, rows)
    tracemalloc.start()
    try:
        source = open_list(file, silent)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(source.pictures) == LINES
    assert peak < BYTES_A_LINE * LINES + (8 << 20)  # and what is read at a time


def test_a_folder_is_kept_once_however_often_a_list_comes_back_to_it(tmp_path, rows):
    source = open_list(written(tmp_path, ".csv", rows), silent)
    assert sorted(source.pictures.prefixes()) == sorted({f"{label}/" for _, label in rows})


ENDS = {"LF": b"\n", "CR LF": b"\r\n", "CR": b"\r", "NUL": b"\0"}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"], ids=["", "BOM"])
def test_lines_may_end_as_on_any_system(tmp_path, monkeypatch, end, bom):
    monkeypatch.setattr("pixmix_cli.sources.lists._BLOCK", 3)  # ends lie across blocks, too
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.jpg").write_bytes(b"1")
    data = bom + ENDS[end].join([b"b/1.jpg", b"./a/1.jpg"]) + ENDS[end]
    (tmp_path / "list.txt").write_bytes(data)
    listed = [ref.name for ref in open_list(tmp_path / "list.txt", silent).pictures]
    assert listed == ["b/1.jpg", "a/1.jpg"]
    piped = [ref.name for ref in open_list(STDIN, silent, listed=data).pictures]
    assert piped == ["a/1.jpg", "b/1.jpg"]


def test_stdin_is_sorted_by_path_and_then_by_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("a", "a\x01", "a b", "ä")  # a control character sorts before the TAB
    for name in names:
        (tmp_path / f"{name}.jpg").write_bytes(b"1")
    pairs = [(f"{name}.jpg", label) for name, label in itertools.product(names, ("y", "x"))]
    data = "".join(f"{name}\t{label}\n" for name, label in reversed(pairs)).encode()
    source = open_list(STDIN, silent, listed=data)
    found = [(ref.name, source.classes[n]) for ref, n in zip(source.pictures, source.labels)]
    assert found == sorted(pairs)
