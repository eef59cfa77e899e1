"""Datasets in: lists of paths and labels, CSV, TSV, JSON lines, or plain lines on stdin."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind
from pixmix_cli.sources.labels import Labels, label_in, names_beside
from pixmix_cli.sources.pictures import STDIN, Folder, Pictures, Warn
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.sources.watched import Watched
from pixmix_cli.storage import remote, spool, tar
from pixmix_cli.storage.images import EXTENSIONS, is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url, is_url

PATH_FIELDS = (
    "path", "filename", "file_name", "file", "image", "image_path", "img_path", "filepath",
    "file_path",
)  # fmt: skip
LABEL_FIELDS = ("label", "class", "cls", "target", "class_name")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".lst")
LOOKED_UP = 4096  # files whose lengths are asked for together
_BLOCK = 1 << 20  # bytes of a list that are read at a time
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
    watched = Watched()
    if path == STDIN:
        folder, names = "", None
        rows = _sorted(_plain_rows(io.BytesIO(listed or b""), "SOURCE -"))
    else:
        watched.look(str(path))
        watched.look_at_names(str(path.parent))
        folder, names = str(path.parent), names_beside(path.parent, warn)
        rows = _rows(path, label_field, path_field)
    pictures, labels = Pictures(), Labels()
    places: dict[str, int] = {}
    missing, by_folder = 0, False
    for (name, label, is_folder), length in _with_lengths(folder, rows, watched):
        if not name or "\0" in name:
            raise InputError(f"SOURCE {path} names an impossible path: {name!r}")
        above, slash, rest = name.rpartition("/")
        current = above + slash
        if current not in places:
            places[current] = pictures.begin(Folder(current, _joined(folder, current)))
        missing += length is None
        pictures.add(rest, length or 0, place=places[current])  # told as unreadable when it is read
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
        if all(ref.name.rpartition(" ")[2].isdecimal() for ref in pictures):  # as Caffe's lists
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
    if path != STDIN and not any(is_url(name) for name in (str(path), *watched.stamps)):
        pictures.watched = watched
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
    entries = list(_entries(io.BytesIO(data), str(path)))
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


def _with_lengths(
    folder: str, rows: Iterable[Row], watched: Watched
) -> Iterator[tuple[Row, int | None]]:
    """Each row with the bytes of its file, without holding them all."""
    left = iter(rows)
    while some := list(islice(left, LOOKED_UP)):
        for above in dict.fromkeys(name[: name.rfind("/") + 1] for name, *_ in some):
            place = _joined(folder, above)
            if place not in watched.stamps:
                watched.look(place)
        yield from zip(some, _lengths(folder, [name for name, *_ in some]))


def _sorted(rows: Iterable[Row]) -> Iterator[Row]:
    """Rows by path and label: find(1) lists files in no fixed order.

    Sorted, the same files are the same dataset. A path holds no NUL, so one text stands for both.
    """
    texts, all_by_folder = [], False  # of one list all are, or none
    for name, label, by_folder in rows:
        texts.append(f"{name}\0{label}")
        all_by_folder = by_folder
    texts.sort()
    for text in texts:
        name, _, label = text.partition("\0")
        yield name, label, all_by_folder


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
    """The entries of a list file, in its order, none kept: a list may have millions."""
    suffix = path.suffix.lower()
    with _opened(path) as file:
        if suffix in (".csv", ".tsv"):
            yield from _table_rows(file, path, label_field, path_field)
            return
        if suffix in (".jsonl", ".ndjson"):
            yield from _json_rows(file, path, label_field, path_field)
            return
        for field, option in ((label_field, "--label-field"), (path_field, "--path-field")):
            if field is not None:
                raise InputError(
                    f"SOURCE {path} has no columns for {option}", "a .csv with a header"
                )
        if suffix == ".lst" and _is_mxnet(file, path):
            yield from _mxnet_rows(file, path)
        else:
            yield from _plain_rows(file, f"SOURCE {path}")


@contextmanager
def _opened(path: AnyPath) -> Iterator[BinaryIO]:
    """A list file, to be read from its begin; one elsewhere as a copy. Raises StorageError."""
    try:
        file = io.BytesIO(path.read_bytes()) if isinstance(path, Url) else path.open("rb")
        with file:
            yield file
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error


def _entries(file: BinaryIO, where: str) -> Iterator[str]:
    """What ends with NUL, or where there is no NUL with the end of a line, of any system's.

    file  read from its begin, twice: the first time to see what ends its entries
    """
    separator = _separator(file, where)
    file.seek(0)
    keep: Callable[[bytes], bytes] = bytes if separator == b"\0" else bytes.strip
    for entry in _split(file, separator):
        if keep(entry):
            yield os.fsdecode(entry)


def _separator(file: BinaryIO, where: str) -> bytes:
    file.seek(0)
    _check_encoding(file.read(2), where)
    file.seek(0)
    separator = b"\r"
    while block := file.read(_BLOCK):
        if b"\0" in block:
            return b"\0"
        if b"\n" in block:
            separator = b"\n"
    return separator


def _split(file: BinaryIO, separator: bytes) -> Iterator[bytes]:
    """The pieces between separators; of lines without the CR before LF, and without a BOM."""
    begun = [file.read(len(codecs.BOM_UTF8)).removeprefix(codecs.BOM_UTF8)]
    while block := file.read(_BLOCK):
        begun.append(block)
        if separator not in block:
            continue
        *whole, rest = b"".join(begun).split(separator)
        begun = [rest]
        if separator == b"\n":
            yield from (piece.removesuffix(b"\r") for piece in whole)
        else:
            yield from whole
    yield from b"".join(begun).split(separator)


def _plain_rows(file: BinaryIO, where: str) -> Iterator[Row]:
    """Entries that are each a path, TAB, label.

    Where none has a TAB each is a path, and its class is the folder that it lies in. So it is where
    entries end with NUL and not all have a TAB, since a name may hold one.
    """
    entries = without = 0
    first = ""
    for entry in _entries(file, where):
        entries += 1
        if "\t" not in entry:
            without += 1
            first = first or entry.removeprefix("./")
    labelled = not without
    if 0 < without < entries and _separator(file, where) != b"\0":
        raise InputError(
            f"{where}: {without} of {entries} lines have no TAB and label, as {first}",
            "a label on each, or for names with a TAB paths that end with NUL (find -print0)",
        )
    for entry in _entries(file, where):
        entry = entry.removeprefix("./")
        if labelled:
            name, _, label = entry.rpartition("\t")
        else:
            name, label = entry, os.path.basename(os.path.dirname(entry))
            if not label:
                raise InputError(
                    f"{where}: {name} lies in no folder that could be its class", "path TAB label"
                )
        yield name, label, not labelled


def _is_mxnet(file: BinaryIO, path: AnyPath) -> bool:
    """Whether a list is as MXNet's im2rec writes it: number, label, path. Raises InputError."""
    several = None
    empty = True
    for entry in _entries(file, f"SOURCE {path}"):
        row = entry.split("\t")
        if len(row) < 3 or not row[0].strip().isdecimal():
            return False
        empty = False
        if len(row) > 3:
            several = several or row
    if several is not None:
        raise InputError(
            f"SOURCE {path}: {several[-1]} has {len(several) - 2} labels",
            "a .csv with a header, and --label-field to choose one",
        )
    return not empty


def _mxnet_rows(file: BinaryIO, path: AnyPath) -> Iterator[Row]:
    for entry in _entries(file, f"SOURCE {path}"):
        _, label, name = entry.split("\t")
        yield name, label, False


def _check_encoding(data: bytes, where: str) -> None:
    if data.startswith(_UTF16):
        raise InputError(f"{where} is in UTF-16", "iconv -f UTF-16 -t UTF-8")


def _text(data: bytes, where: str) -> str:
    _check_encoding(data, where)
    return data.decode("utf-8-sig", "surrogateescape")


def _table_rows(
    file: BinaryIO, path: AnyPath, label_field: str | None, path_field: str | None
) -> Iterator[Row]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    first = _text(file.readline(), f"SOURCE {path}")
    file.seek(0)
    blanks = first.count(", ")  # after every comma: as it is typed by hand, and no part of a value
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        reader = csv.reader(
            text,
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
    file: BinaryIO, path: AnyPath, label_field: str | None, path_field: str | None
) -> Iterator[Row]:
    paths = PATH_FIELDS if path_field is None else (path_field,)
    wanted = LABEL_FIELDS if label_field is None else (label_field,)
    _check_encoding(file.read(2), f"SOURCE {path}")
    file.seek(0)
    for number, line in enumerate(file, 1):
        line = line.removesuffix(b"\n")
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

    def is_watched(self, path: AnyPath) -> bool:
        """The list, and every folder that it names; a URL in it is met only when it is read."""
        return True

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
