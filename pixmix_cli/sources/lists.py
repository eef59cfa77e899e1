"""Datasets in: lists of paths and labels, CSV, TSV, JSON lines, or plain lines on stdin."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from typing import BinaryIO

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind
from pixmix_cli.sources.pictures import STDIN, Folder, Pictures, Warn
from pixmix_cli.sources.source import Labels, Source, digest_of_source, label_text, names_beside
from pixmix_cli.storage import remote, tar
from pixmix_cli.storage.remote import AnyPath, Url, is_url

PATH_FIELDS = ("path", "filename", "file_name", "file", "image")
LABEL_FIELDS = ("label", "class", "cls", "target", "class_name")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst")


def open_list(
    path: AnyPath, warn: Warn, label_field: str | None = None, listed: bytes | None = None
) -> Source:
    """The pictures that a list names.

    path         .csv or .tsv with a header (path and label), .jsonl with objects, anything else
                 plain lines; - is stdin. Relative paths begin at the list's folder, those of
                 stdin at the current one. A path may be a URL.
    label_field  column of the label
    listed       what stdin said, when path is -
    raises       InputError, StorageError
    """
    if path == STDIN:
        folder, names = "", None
        # find(1) lists files in no fixed order: sorted, the same files are the same dataset
        rows = sorted(_plain_rows(listed or b"", "SOURCE -"))
    else:
        folder, names = str(path.parent), names_beside(path.parent, warn)
        rows = list(_rows(path, label_field))
    pictures, labels = Pictures(), Labels()
    missing, current = 0, None
    for (name, label), length in zip(rows, _lengths(folder, [name for name, _ in rows])):
        if not name or "\0" in name:
            raise InputError(f"SOURCE {path} names an impossible path: {name!r}")
        above, slash, rest = name.rpartition("/")
        if above + slash != current:
            current = above + slash
            pictures.begin(Folder(current, _joined(folder, current)))
        missing += length is None
        pictures.add(rest, length or 0)  # listed as unreadable when it is read
        labels.add(label)
    if not pictures:
        raise InputError(f"SOURCE {path} names no pictures")
    if missing == len(pictures):
        start = "the current folder" if path == STDIN else folder
        raise InputError(
            f"SOURCE {path}: none of its {missing} files exists, as {pictures[0].name}",
            f"absolute paths, or paths that begin at {start}",
        )
    if missing:
        warn(f"{missing} of the {len(pictures)} files that SOURCE {path} names do not exist")
    classes, numbers = labels.finish(f"SOURCE {path}", names)
    digest = digest_of_source("list", classes, pictures, numbers)
    return Source(str(path), "list", classes, pictures, numbers, digest)


def _lengths(folder: str, names: list[str]) -> Iterator[int | None]:
    """Bytes of each file, None for a missing one; remote ones are asked for many at a time."""
    paths = [_path(folder, name) for name in names]
    if any(is_url(path) for path in paths):
        return remote.ahead(_length, paths)
    return map(_length, paths)


def _path(folder: str, name: str) -> str:
    return name if is_url(name) else os.path.join(folder, name)


def _length(path: str) -> int | None:
    try:
        if is_url(path):
            found = Url(path).look()
            return None if found is None or found.folder else found.length
        return os.stat(path).st_size
    except (OSError, ValueError, StorageError):
        return None


def _joined(folder: str, below: str) -> str:
    """The folder in which files whose paths begin with `below` lie, without a slash at its end."""
    whole = _path(folder, below)
    return whole.rstrip("/") if whole else "."


def _rows(path: AnyPath, label_field: str | None) -> Iterator[tuple[str, str]]:
    """(path, label) of every entry of a list file, in its order."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error
    if path.suffix in (".csv", ".tsv"):
        return _table_rows(data, path, label_field)
    if path.suffix in (".jsonl", ".ndjson"):
        return _json_rows(data, path, label_field)
    return _plain_rows(data, f"SOURCE {path}")


def _plain_rows(data: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Entries that end with NUL, or with a newline where there is no NUL.

    Each is a path, TAB, label; where no entry has a TAB, or not all have one, each is a path, and
    its class is the folder that it lies in.
    """
    entries = [os.fsdecode(entry) for entry in data.split(b"\0" if b"\0" in data else b"\n")]
    entries = [entry.removeprefix("./") for entry in entries if entry]
    labelled = all("\t" in entry for entry in entries)
    for entry in entries:
        if labelled:
            name, _, label = entry.rpartition("\t")
        else:
            name, label = entry, os.path.basename(os.path.dirname(entry))
        if not label:
            raise InputError(
                f"{where}: {name} lies in no folder that could be its class", "path TAB label"
            )
        yield name, label


def _text(data: bytes) -> str:
    return data.decode("utf-8-sig", "surrogateescape")


def _table_rows(data: bytes, path: AnyPath, label_field: str | None) -> Iterator[tuple[str, str]]:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    reader = csv.reader(io.StringIO(_text(data), newline=""), delimiter=delimiter)
    try:
        header = next(reader, [])
        columns = [name.strip().lower() for name in header]
        place = _column(columns, PATH_FIELDS, path, "path")
        wanted = LABEL_FIELDS if label_field is None else (label_field.lower(),)
        label = _column(columns, wanted, path, "label")
        for row in reader:
            if not row:
                continue
            if len(row) <= max(place, label) or not row[label]:
                raise InputError(f"line {reader.line_num} of {path} has no path and label")
            yield row[place], row[label]
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {path} is damaged: {error}") from None


def _column(columns: list[str], names: tuple[str, ...], path: AnyPath, what: str) -> int:
    for name in names:
        if name in columns:
            return columns.index(name)
    there = ", ".join(columns)[:200]
    raise InputError(
        f"the first line of {path} names no column {' or '.join(names)}, but {there or 'nothing'}",
        "a first line path,label" if what == "path" else "--label-field",
    )


def _json_rows(data: bytes, path: AnyPath, label_field: str | None) -> Iterator[tuple[str, str]]:
    wanted = LABEL_FIELDS if label_field is None else (label_field,)
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(_text(line))
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is no JSON: {error}") from None
        if not isinstance(record, dict):
            raise InputError(f"line {number} of {path} is no JSON object")
        name = next((record[field] for field in PATH_FIELDS if field in record), None)
        label = next((label_text(record[field]) for field in wanted if field in record), None)
        if not isinstance(name, str) or label is None:
            raise InputError(
                f"line {number} of {path} has no path and label", '{"path": "a.jpg", "label": 3}'
            )
        yield name, label


class List(Kind):
    """Paths and labels, line by line."""

    name = "list"
    endings = SUFFIXES
    takes = ("label_field",)

    def is_stream(self, head: bytes) -> bool:
        """Whatever is no tar."""
        return not tar.is_tar(head)

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """The pictures that the file names."""
        return open_list(path, warn, choice.label_field)

    def open_stream(self, stream: BinaryIO, head: bytes, warn: Warn, choice: Choice) -> Source:
        """The pictures that stdin names."""
        if head.startswith(b"\x1f\x8b"):
            raise InputError("SOURCE -: what comes on stdin is compressed", "gunzip -c ... | ")
        return open_list(STDIN, warn, choice.label_field, head + stream.read())


KIND = List()
