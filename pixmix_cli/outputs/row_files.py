"""Files of rows: manifest.jsonl, errors.jsonl, and the journals of runs under way."""

from __future__ import annotations

import array
import contextlib
import itertools
import json
import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.file_names import (
    ERRORS,
    HANDED_OUT,
    JOURNALS,
    MANIFEST,
    META,
    PLAN,
    ROWS,
)
from pixmix_cli.outputs.rows import (
    FIRST_PLAIN,
    Artefact,
    Kinds,
    Place,
    Row,
    SkippedRow,
    files_of,
    is_given,
    kinds_of,
)
from pixmix_cli.outputs.run_plan import FractalTotals, look
from pixmix_cli.storage.files import sync_directory
from pixmix_cli.storage.inside import not_real, open_file

Beyond = Callable[[Place], bool]
NAMES_AT_ONCE = 1 << 16


def nothing_is_beyond(place: Place) -> bool:
    """For readers that want every row."""
    return False


def committed_rows(path: Path, beyond: Beyond = nothing_is_beyond) -> Iterator[Row]:
    """Every row of finished work in an output, whether its run ended or not.

    beyond  which rows of journals to pass over: see `sorted_lines`
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
        for row in read_rows(file, kinds):
            if not (is_journal(file) and beyond(row.place)):
                yield row


def is_journal(file: Path) -> bool:
    """Whether a file of rows is of a run that has not come to its end."""
    return file.parent.name == META


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
    """The lines of a file that may not be there, without a torn last one.

    raises  InputError for a pipe in its place, which would be waited for, and the like
    """
    if path.exists() and not path.is_file():
        raise not_real(path, "file")
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


LEAST_ROW = 40  # bytes


def finished_until(files: Iterable[Path], number: str, first: int = 0, stop: int = 1 << 62) -> int:
    """How many indices, or copies, sorted files of rows have, by the last row's number.

    A number that is damaged, or larger than so short a file can hold rows, counts for nothing.

    first, stop  the numbers that count; first is the first one's
    """
    until = 0
    for file in filter(Path.is_file, files):
        line = last_line(file, lambda line: line[number] < stop)
        found = None if line is None else line[number]
        if type(found) is int and 0 <= found - first <= file.stat().st_size // LEAST_ROW:
            until = max(until, found - first + 1)
    return until


def last_line(file: Path, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any] | None:
    """The last line of a sorted file of rows for which something holds, as it does for all before.

    Found by halving, since files can have millions of lines. None where there is none, or where a
    line that was looked at is damaged: who reads them all says so.
    """
    found: dict[str, Any] | None = None
    with contextlib.suppress(OSError, ValueError, RecursionError, TypeError, KeyError):
        begin, end = 0, file.stat().st_size
        with file.open("rb") as lines:
            while begin < end:  # the line that is looked for does not begin before, or at, these
                middle = (begin + end) // 2
                lines.seek(max(middle - 1, 0))
                if middle:
                    lines.readline()  # to the next line's begin
                start = lines.tell()
                text = lines.readline() if start < end else b""
                if not text:
                    end = middle
                    continue
                line = json.loads(text)
                if not isinstance(line, dict):
                    return None
                if holds(line):
                    found, begin = line, start + len(text)
                else:
                    end = middle
        return found
    return None


def named_files(file: Path, others: Container[str] = ()) -> Iterator[str]:
    """The files that rows name, if they have names that pixmix gives; a damaged row names none.

    others  names that count too
    """
    for line in whole_lines(file):
        with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
            for name in files_of(json.loads(line)):
                if is_given(name) or name in others:
                    yield name


def handed_out(path: Path) -> Iterator[str]:
    """The files that runs gave their workers to write; they may be there, with a row or without."""
    for file in handed_out_files(path):
        for line in whole_lines(file):
            with contextlib.suppress(ValueError, RecursionError, KeyError, TypeError):
                told = json.loads(line)
                for folder in told["folders"]:
                    if not (path / folder).is_dir():
                        continue
                    names = told["names"]
                    yield from filter(is_given, (f"{folder}/{n}".lstrip("/") for n in names))


def handed_out_files(path: Path) -> list[Path]:
    """Wherever names of what was handed out are."""
    return sorted(path.glob(HANDED_OUT))


def not_among(names: Iterable[str], known: NDArray[np.int64]) -> set[str]:
    """The names whose hashes are not among those known, (n,)."""
    known = np.append(np.sort(known), 0)
    found, left = set[str](), iter(names)
    while some := list(itertools.islice(left, NAMES_AT_ONCE)):
        hashes = np.fromiter(map(hash, some), np.int64, len(some))
        unknown = known[np.searchsorted(known[:-1], hashes)] != hashes
        found.update(itertools.compress(some, unknown))
    return found


def open_journal(path: Path) -> int:
    """Open for appending, cutting off a torn last line. Raises InputError for a link, OSError."""
    descriptor = open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
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


def totals_of_copies(pictures: Mapping[int, int]) -> FractalTotals:
    """What manifest.json records of a baked set beside its pictures.

    pictures  how many each copy has, by the copy's code
    """
    plain = sum(code >= FIRST_PLAIN for code in pictures)
    most = max(pictures.values(), default=0)
    return {"samples": most, "copies": len(pictures) - plain, "plain": plain}  # type: ignore[typeddict-item]


def sorted_lines(
    sources: list[Path], kinds: Kinds, beyond: Beyond = nothing_is_beyond
) -> Iterator[tuple[int, int, int]]:
    """(source, offset, length) of every row in order, each place once (the last one wins).

    beyond  which rows of journals to leave out: of work that an earlier, larger run had begun

    Only numbers are held, 56 bytes a row, so that ten million rows fit where their text would not.
    The lines are taken as they are: this run wrote them, or checked them when it began.
    """
    columns = array.array("q")
    for number, source in enumerate(sources):
        offset, journal = 0, is_journal(source)
        for line in whole_lines(source):
            row = json.loads(line)
            rank = kinds.kind(row).rank
            place = (row.get("copy", 0), row.get("shard", 0), row.get("index", -1), rank)
            if not (journal and beyond(place)):
                columns.extend((*place, number, offset, len(line)))
            offset += len(line)
    table = np.frombuffer(columns, np.int64).reshape(-1, 7)
    order = np.lexsort((np.arange(len(table)), table[:, 3], table[:, 2], table[:, 1], table[:, 0]))
    table = table[order]
    last_of_its_place = np.ones(len(table), bool)
    last_of_its_place[:-1] = (table[1:, :4] != table[:-1, :4]).any(axis=1)
    for numbers in table[last_of_its_place, 4:]:
        number, offset, length = numbers.tolist()
        yield number, offset, length
