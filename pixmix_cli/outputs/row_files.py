"""Files of rows: manifest.jsonl, errors.jsonl, and the journals of runs under way."""

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
from pixmix_cli.outputs.file_names import ERRORS, JOURNALS, MANIFEST, PLAN, ROWS
from pixmix_cli.outputs.rows import Artefact, Kinds, Row, SkippedRow, check_path, kinds_of
from pixmix_cli.outputs.run_plan import FractalTotals, look
from pixmix_cli.storage.files import sync_directory


def committed_rows(path: Path) -> Iterator[Row]:
    """Every row of finished work in an output, whether its run ended or not.

    raises  InputError that names the file and line of a row that is not one of ours
    """
    state = look(path)
    if state.plan is None:
        return
    # a journal beside a manifest.json is the leftover of a run killed at its very end
    finished = state.status == "finished"
    try:
        kinds = kinds_of(state.plan["command"], state.plan["options"])
    except ValueError as error:
        raise InputError(
            f"{path / (MANIFEST if finished else PLAN)} is damaged: {error}", "another --output"
        ) from None
    for file in [path / ROWS, path / ERRORS] if finished else row_files(path):
        yield from read_rows(file, kinds)


def row_files(path: Path) -> list[Path]:
    """Wherever rows of finished work are; later ones win."""
    return [path / ROWS, path / ERRORS, *sorted(path.glob(JOURNALS))]


def read_rows(file: Path, kinds: Kinds) -> Iterator[Row]:
    """The rows of one file. Raises InputError that names the line of a damaged one."""
    for number, line in enumerate(whole_lines(file), 1):
        try:
            row = kinds.row(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise _damaged(file, number, error) from None
        yield row


def _damaged(file: Path, number: int, error: Exception) -> InputError:
    return InputError(
        f"line {number} of {file} is damaged: {' '.join(str(error).split())}",
        "another --output, or --overwrite",
    )


def whole_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file that may not be there, without a torn last one."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


def named_paths(file: Path) -> Iterator[str]:
    """The paths that rows name; a row that cannot be read names none."""
    for line in whole_lines(file):
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
            path = json.loads(line)["path"]
            check_path(path)
            yield path


def open_journal(path: Path) -> int:
    """Open for appending, cutting off a torn last line."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    os.ftruncate(descriptor, end)
    sync_directory(path.parent)
    return descriptor


def add_to_totals(totals: FractalTotals, kind: type[Row], line: dict[str, Any]) -> None:
    """Count a row, as its line has it, in the totals that manifest.json records."""
    if issubclass(kind, SkippedRow):
        totals["skipped"] += 1
    elif issubclass(kind, Artefact):  # a member's bytes are counted with its tar
        totals["pictures"] += line.get("count", 1)
        totals["bytes"] += line["bytes"]
    if "rejected" in line:
        totals["rejected"] = totals.get("rejected", 0) + line["rejected"]


def sorted_lines(sources: list[Path], kinds: Kinds) -> Iterator[tuple[int, int, int]]:
    """(source, offset, length) of every row in order, each place once (the last one wins).

    Only numbers are held, 56 bytes a row, so that ten million rows fit where their text would not.
    The lines are taken as they are: this run wrote them, or checked them when it began.
    """
    columns = array.array("q")
    for number, source in enumerate(sources):
        offset = 0
        for line in whole_lines(source):
            row = json.loads(line)
            place = (row.get("copy", 0), row.get("shard", 0), row.get("index", -1))
            columns.extend((*place, kinds.kind(row).rank, number, offset, len(line)))
            offset += len(line)
    table = np.frombuffer(columns, np.int64).reshape(-1, 7)
    order = np.lexsort((np.arange(len(table)), table[:, 3], table[:, 2], table[:, 1], table[:, 0]))
    table = table[order]
    last_of_its_place = np.ones(len(table), bool)
    last_of_its_place[:-1] = (table[1:, :4] != table[:-1, :4]).any(axis=1)
    for numbers in table[last_of_its_place, 4:]:
        number, offset, length = numbers.tolist()
        yield number, offset, length
