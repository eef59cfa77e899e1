"""Datasets in: lists of paths and labels, CSV, TSV, JSON lines, or plain lines on stdin."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Iterator
from typing import BinaryIO

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind
from pixmix_cli.sources.labels import Labels, label_in, names_beside
from pixmix_cli.sources.pictures import STDIN, Folder, Pictures, Warn
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.storage import remote, spool, tar
from pixmix_cli.storage.images import EXTENSIONS, is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url, is_url

PATH_FIELDS = (
    "path", "filename", "file_name", "file", "image", "image_path", "img_path", "filepath",
    "file_path",
)  # fmt: skip
LABEL_FIELDS = ("label", "class", "cls", "target", "class_name")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

Row = tuple[str, object, bool]  # path, label, whether that is the name of the path's folder


def open_list(
    path: AnyPath,
    warn: Warn,
    label_field: str | None = None,
    path_field: str | None = None,
    listed: bytes | None = None,
) -> Source:
    """The pictures that a list names.

    path         .csv or .tsv with a header (path and label), .jsonl with objects, MXNet's .lst
                 (number, label and path with TABs), anything else plain lines; - is stdin.
                 Relative paths begin at the list's folder, those of stdin at the current one. A
                 path may be a URL.
    label_field  column of the label
    path_field   column of the path
    listed       what stdin said, when path is -
    raises       InputError, StorageError
    """
    if path == STDIN:
        folder, names = "", None
        # find(1) lists files in no fixed order: sorted, the same files are the same dataset
        rows = sorted(_plain_rows(listed or b"", "SOURCE -"), key=lambda row: (row[0], str(row[1])))
    else:
        folder, names = str(path.parent), names_beside(path.parent, warn)
        rows = list(_rows(path, label_field, path_field))
    pictures, labels = Pictures(), Labels()
    missing, current, by_folder = 0, None, False
    for (name, label, is_folder), length in zip(rows, _lengths(folder, [row[0] for row in rows])):
        if not name or "\0" in name:
            raise InputError(f"SOURCE {path} names an impossible path: {name!r}")
        above, slash, rest = name.rpartition("/")
        if above + slash != current:
            current = above + slash
            pictures.begin(Folder(current, _joined(folder, current)))
        missing += length is None
        pictures.add(rest, length or 0)  # listed as unreadable when it is read
        if isinstance(label, str) and is_folder:
            labels.add_name(label)
            by_folder = True
        else:
            labels.add(label)
    if not pictures:
        raise InputError(f"SOURCE {path} names no pictures")
    if missing == len(pictures):
        start = "the current folder" if path == STDIN else folder
        hint = f"absolute paths, or paths that begin at {start}"
        if all(name.rpartition(" ")[2].isdecimal() for name, *_ in rows):  # as Caffe's lists
            hint = "a TAB instead of the blank between path and label"
        raise InputError(
            f"SOURCE {path}: none of its {missing} files exists, as {pictures[0].name}", hint
        )
    if missing:
        warn(f"{missing} of the {len(pictures)} files that SOURCE {path} names do not exist")
    mend = {"mend": "the folder above these as SOURCE, or path TAB label"} if by_folder else {}
    classes, numbers = labels.finish(
        f"SOURCE {path}", names, lambda index: pictures[index].name, **mend
    )
    digest = digest_of_source("list", classes, pictures, numbers)
    return Source(str(path), "list", classes, pictures, numbers, digest)


def pictures_in_list(path: AnyPath, warn: Warn) -> Pictures:
    """The pictures that a list names, whatever it says of labels.

    path    plain lines, each a path, perhaps with a label behind it after a blank or TAB, as
            OpenOOD writes them; or .csv, .tsv or .jsonl with a column of paths. Relative paths
            begin at the list's folder, or at the current one where none is found there.
    warn    called with one line for each thing passed over
    raises  InputError, StorageError
    """
    names = list(_names_in(path))
    pictures = Pictures()
    places = [str(path.parent)] if isinstance(path, Url) else [str(path.parent), ""]
    found: list[int | None] = []
    for folder in places:
        found = list(_lengths(folder, names))
        if any(length is not None for length in found):
            break
    missing = found.count(None)
    if missing == len(names) > 0:
        raise InputError(
            f"{path}: none of its {missing} files exists, as {names[0]}",
            f"absolute paths, or paths that begin at {path.parent} or at the current folder",
        )
    if missing:
        warn(f"{missing} of the {len(names)} files that {path} names do not exist")
    current = None
    for name, length in zip(names, found):
        above, slash, rest = name.rpartition("/")
        if above + slash != current:
            current = above + slash
            pictures.begin(Folder(current, _joined(folder, current)))
        pictures.add(rest, length or 0)  # listed as unreadable when it is read
    return pictures


def _names_in(path: AnyPath) -> Iterator[str]:
    """The paths that a list names, without labels. Raises InputError, StorageError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error
    ending = path.suffix.lower()
    entries = _entries(data, str(path))
    first = entries[0] if entries else ""
    headed = ending in (".csv", ".tsv") and not (is_picture_name(first) or _LABELLED.match(first))
    if headed:
        delimiter = "\t" if ending == ".tsv" else ","
        rows = csv.reader(io.StringIO(_text(data, str(path)), newline=""), delimiter=delimiter)
        try:
            columns = [name.strip().lower() for name in next(rows, [])]
            place = _column(columns, PATH_FIELDS, path, "path")
            names = [row[place].strip() for row in rows if len(row) > place]
        except csv.Error as error:
            raise InputError(f"line {rows.line_num} of {path} is damaged: {error}") from None
    elif ending in (".jsonl", ".ndjson"):
        names = [_path_in(entry, path) for entry in entries]
    else:
        names = [_path_before_label(entry, path) for entry in entries if entry.strip()]
    for name in names:
        if not name or "\0" in name:
            raise InputError(f"{path} names an impossible path: {name!r}")
        yield name.removeprefix("./")


# a path of a picture, and after it a label
_LABELLED = re.compile(
    rf"(.*?(?:{'|'.join(map(re.escape, EXTENSIONS))}))[\s,].*$", re.IGNORECASE | re.DOTALL
)


def _path_before_label(entry: str, path: AnyPath) -> str:
    """The path in a plain line; MXNet's lists have it behind the label."""
    last = entry.rpartition("\t")[2].strip()
    if is_picture_name(last):
        return last
    match = _LABELLED.match(entry.strip())
    if match is None:
        raise InputError(
            f"{path}: {entry[:100]!r} is no path of a picture", "one path a line, or a .csv"
        )
    return match[1]


def _path_in(line: str, path: AnyPath) -> str:
    """The path in a line of JSON."""
    try:
        record = json.loads(line)
        return str(next(record[field] for field in PATH_FIELDS if field in record))
    except (ValueError, RecursionError, TypeError, StopIteration):
        raise InputError(f"{path}: {line[:100]!r} has no path", '{"path": "a.jpg"}') from None


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


def _rows(path: AnyPath, label_field: str | None, path_field: str | None) -> Iterator[Row]:
    """The entries of a list file, in its order."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _table_rows(_text(data, f"SOURCE {path}"), path, label_field, path_field)
    if suffix in (".jsonl", ".ndjson"):
        return _json_rows(data, path, label_field, path_field)
    for field, option in ((label_field, "--label-field"), (path_field, "--path-field")):
        if field is not None:
            raise InputError(f"SOURCE {path} has no columns for {option}", "a .csv with a header")
    if suffix == ".lst":
        rows = _mxnet_rows(data, path)
        if rows is not None:
            return iter(rows)
    return _plain_rows(data, f"SOURCE {path}")


def _entries(data: bytes, where: str) -> list[str]:
    """What ends with NUL, or where there is no NUL with the end of a line, of any system's."""
    _check_encoding(data, where)
    data = data.removeprefix(codecs.BOM_UTF8)
    if b"\0" in data:
        return [os.fsdecode(part) for part in data.split(b"\0") if part]
    lines = data.replace(b"\r\n", b"\n").split(b"\n" if b"\n" in data else b"\r")
    return [os.fsdecode(line) for line in lines if line.strip()]


def _plain_rows(data: bytes, where: str) -> Iterator[Row]:
    """Entries that are each a path, TAB, label.

    Where none has a TAB each is a path, and its class is the folder that it lies in. So it is where
    entries end with NUL and not all have a TAB, since a name may hold one.
    """
    entries = [entry.removeprefix("./") for entry in _entries(data, where)]
    without = [entry for entry in entries if "\t" not in entry]
    labelled = not without
    if b"\0" not in data and 0 < len(without) < len(entries):
        raise InputError(
            f"{where}: {len(without)} of {len(entries)} lines have no TAB and label, as "
            f"{without[0]}",
            "a label on each, or for names with a TAB paths that end with NUL (find -print0)",
        )
    for entry in entries:
        if labelled:
            name, _, label = entry.rpartition("\t")
        else:
            name, label = entry, os.path.basename(os.path.dirname(entry))
            if not label:
                raise InputError(
                    f"{where}: {name} lies in no folder that could be its class", "path TAB label"
                )
        yield name, label, not labelled


def _mxnet_rows(data: bytes, path: AnyPath) -> list[Row] | None:
    """The entries of a list as MXNet's im2rec writes it: number, label, path; None for another."""
    rows = [entry.split("\t") for entry in _entries(data, f"SOURCE {path}")]
    if not rows or not all(len(row) > 2 and row[0].strip().isdecimal() for row in rows):
        return None
    several = next((row for row in rows if len(row) > 3), None)
    if several is not None:
        raise InputError(
            f"SOURCE {path}: {several[-1]} has {len(several) - 2} labels",
            "a .csv with a header, and --label-field to choose one",
        )
    return [(name, label, False) for _, label, name in rows]


def _check_encoding(data: bytes, where: str) -> None:
    if data.startswith(_UTF16):
        raise InputError(f"{where} is in UTF-16", "iconv -f UTF-16 -t UTF-8")


def _text(data: bytes, where: str) -> str:
    _check_encoding(data, where)
    return data.decode("utf-8-sig", "surrogateescape")


def _table_rows(
    text: str, path: AnyPath, label_field: str | None, path_field: str | None
) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    first = text.partition("\n")[0]
    blanks = first.count(", ")  # after every comma: as it is typed by hand, and no part of a value
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=blanks > 0 and blanks == first.count(","),
    )
    try:
        header = next(reader, [])
        columns = [name.strip().lower() for name in header]
        paths = PATH_FIELDS if path_field is None else (path_field.strip().lower(),)
        place = _column(columns, paths, path, "path")
        wanted = LABEL_FIELDS if label_field is None else (label_field.strip().lower(),)
        label = _column(columns, wanted, path, "label")
        for row in reader:
            if not row:
                continue
            if len(row) <= max(place, label):
                raise InputError(f"line {reader.line_num} of {path} has no path and label")
            yield row[place], row[label], False
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {path} is damaged: {error}") from None


def _column(columns: list[str], names: tuple[str, ...], path: AnyPath, what: str) -> int:
    for name in names:
        if name in columns:
            return columns.index(name)
    there = ", ".join(columns)[:200]
    raise InputError(
        f"the first line of {path} names no column {' or '.join(names)}, but {there or 'nothing'}",
        "--path-field, or a first line path,label" if what == "path" else "--label-field",
    )


def _json_rows(
    data: bytes, path: AnyPath, label_field: str | None, path_field: str | None
) -> Iterator[Row]:
    paths = PATH_FIELDS if path_field is None else (path_field,)
    wanted = LABEL_FIELDS if label_field is None else (label_field,)
    _check_encoding(data, f"SOURCE {path}")
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode("utf-8-sig", "surrogateescape"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"line {number} of {path} is no JSON: {error}") from None
        if not isinstance(record, dict):
            raise InputError(f"line {number} of {path} is no JSON object")
        name = next((record[field] for field in paths if field in record), None)
        if not isinstance(name, str) or not any(field in record for field in wanted):
            raise InputError(
                f"line {number} of {path} has no path and label",
                '{"path": "a.jpg", "label": 3}, or --path-field and --label-field',
            )
        yield name, label_in(record, wanted), False


class List(Kind):
    """Paths and labels, line by line."""

    name = "list"
    endings = SUFFIXES
    takes = ("label_field", "path_field")

    def is_stream(self, head: bytes) -> bool:
        """Whatever is no tar."""
        return not tar.is_tar(head)

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """The pictures that the file names."""
        return open_list(path, warn, choice.label_field, choice.path_field)

    def open_stream(self, stream: BinaryIO, head: bytes, warn: Warn, choice: Choice) -> Source:
        """The pictures that stdin names."""
        packing = spool.packing_of(head)
        if packing is not None:
            raise InputError(
                f"SOURCE -: what comes on stdin is compressed by {packing.name}",
                f"{packing.tool} before it in the pipe",
            )
        for field, option in (
            (choice.label_field, "--label-field"), (choice.path_field, "--path-field"),
        ):  # fmt: skip
            if field is not None:
                raise InputError(f"SOURCE - has no columns for {option}", "path TAB label")
        return open_list(STDIN, warn, listed=head + stream.read())


KIND = List()
