"""Rows of finished work, and the files of an output that hold them: journals and manifest.jsonl."""

from __future__ import annotations

import array
import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pixmix_cli.errors import InputError
from pixmix_cli.storage.files import sync_directory

Row = dict[str, Any]

META = ".pixmix"
MANIFEST = "manifest.json"
ROWS = "manifest.jsonl"
ERRORS = "errors.jsonl"
PLAN = f"{META}/plan.json"
JOURNALS = f"{META}/journal*.jsonl"  # of a run of its own, and of parts
TRASH = "trash.jsonl"  # rows of what --overwrite is removing, so that a kill cannot orphan it
BAKE_EXTRAS = ("classes.json", "README.md")  # written beside a baked set's manifest
_BIGGEST = 2**62  # of the whole numbers in a row


def committed_rows(path: Path) -> Iterator[Row]:
    """Every row of finished work in an output, whether its run ended or not.

    raises  InputError that names the file and line of a row that is not one of ours
    """
    # a journal beside a manifest.json is the leftover of a run killed at its very end
    finished = (path / MANIFEST).is_file()
    for file in [path / ROWS, path / ERRORS] if finished else row_files(path):
        yield from read_rows(file)


def row_files(path: Path) -> list[Path]:
    """Wherever rows of finished work are; later ones win."""
    return [path / ROWS, path / ERRORS, *sorted(path.glob(JOURNALS))]


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of one file. Raises InputError that names the line of a damaged one."""
    for number, line in enumerate(whole_lines(file), 1):
        try:
            row = json.loads(line)
            check_row(row)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"line {number} of {file} is damaged: {' '.join(str(error).split())}",
                "another --output, or --overwrite",
            ) from None
        yield row


def check_row(row: Any) -> None:
    """Raise ValueError for a row that no run of ours writes."""
    if not isinstance(row, dict):
        raise ValueError("not a row")
    for name in ("index", "copy", "shard", "count", "bytes", "stop"):
        number = row.get(name, 0)
        if type(number) is not int or not -1 <= number < _BIGGEST:
            raise ValueError(f"{name} is {number}")
    if "error" in row:
        return
    path = row.get("path")
    if not isinstance(path, str) or "\0" in path:
        raise ValueError("no path")
    parts = path.split("/")
    if path.startswith("/") or not path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"path {path} leads out of the folder")
    if "bytes" not in row and "member" not in row:
        raise ValueError("no bytes")


def companions(path: str) -> tuple[str, ...]:
    """A row's path, and the names of what is written with it and has no row of its own."""
    if path.endswith("images.npy"):
        return path, path.replace("images.npy", "labels.npy")
    if path.endswith(".tar"):
        return path, path.removesuffix("tar") + "idx"
    return (path,)


def has_its_length(output: Path, row: Row) -> bool:
    """Whether the file that a row tells of is still there, as long as it was written."""
    try:
        length: int = (output / row["path"]).stat().st_size
    except OSError:
        return False
    return length == row["bytes"]


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that may not be there, without a torn last one."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def lenient_rows(path: Path) -> Iterator[Row]:
    """The rows of an output that can be read."""
    for file in row_files(path):
        yield from lenient_lines(file)


def lenient_lines(file: Path) -> Iterator[Row]:
    """The rows that can be read; damaged ones name nothing that could be removed."""
    for line in whole_lines(file):
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            check_row(row)
            yield row


def open_journal(path: Path) -> int:
    """Open for appending, cutting off a torn last line."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    os.ftruncate(descriptor, end)
    sync_directory(path.parent)
    return descriptor


def add_to_totals(totals: dict[str, int], row: Row) -> None:
    """Count a row in the totals that manifest.json tells."""
    if "error" in row:
        totals["skipped"] += 1
    elif "member" not in row:  # a member's bytes are counted with its tar
        totals["pictures"] += row.get("count", 1)
        totals["bytes"] += row["bytes"]
    if "rejected" in row:
        totals["rejected"] = totals.get("rejected", 0) + row["rejected"]


def sorted_lines(sources: list[Path]) -> Iterator[tuple[int, int, int]]:
    """(source, offset, length) of every row in order, each key once (the last one wins).

    Only numbers are held, 56 bytes a row, so that ten million rows fit where their text would not.
    """
    columns = array.array("q")
    for number, source in enumerate(sources):
        offset = 0
        for line in whole_lines(source):
            row = json.loads(line)
            key = (row.get("copy", 0), row.get("shard", 0), row.get("index", -1))
            kind = 2 * ("error" in row) + ("member" in row)
            columns.extend((*key, kind, number, offset, len(line)))
            offset += len(line)
    table = np.frombuffer(columns, np.int64).reshape(-1, 7)
    order = np.lexsort((np.arange(len(table)), table[:, 3], table[:, 2], table[:, 1], table[:, 0]))
    table = table[order]
    last_of_its_key = np.ones(len(table), bool)
    last_of_its_key[:-1] = (table[1:, :4] != table[:-1, :4]).any(axis=1)
    for numbers in table[last_of_its_key, 4:]:
        number, offset, length = numbers.tolist()
        yield number, offset, length
