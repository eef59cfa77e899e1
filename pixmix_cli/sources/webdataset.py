"""Datasets in: WebDataset, tar files in which members of one key are a sample."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.pictures import STDIN, Container, Pictures, Warn
from pixmix_cli.sources.source import Labels, Source, digest_of_source, label_text, names_beside
from pixmix_cli.storage import remote, spool, tar
from pixmix_cli.storage.images import is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url

MAX_LABEL_BYTES = 1 << 20  # of a .cls or .json member
MAX_SHARDS = 1_000_000  # of a pattern; beyond it is surely a slip
LABEL_FIELDS = ("label", "cls", "class", "class_name")  # of a .json, the first there is


def open_webdataset(path: AnyPath, warn: Warn, label_field: str | None = None) -> Source:
    """List the samples of tar shards, reading headers and labels only.

    A sample is a run of members with the same name up to the first dot: a picture and its `.cls`,
    or a `.json` with the label (a number or a class name) in one of LABEL_FIELDS.

    path         a folder of .tar files, one .tar, or a pattern as `shards/{000000..000099}.tar`
    warn         called with one line for each kind of thing passed over
    label_field  the .json's field that is the label, instead of .cls
    raises       InputError, StorageError
    """
    shards = shards_of(path)
    pictures, labels = Pictures(), Labels()
    no_picture: list[str] = []
    no_label: list[str] = []
    indexes: Iterator[Iterable[_Sample]] = (_index(shard, label_field) for shard, _ in shards)
    if any(isinstance(shard, Url) for shard, _ in shards):  # several at a time
        indexes = remote.ahead(lambda pair: list(_index(pair[0], label_field)), shards)
    for (shard, name), index in zip(shards, indexes):
        pictures.begin(Container(f"{name}/", str(shard)))
        for sample in index:
            if sample.picture is None:
                no_picture.append(f"{name}/{sample.key}")
            elif sample.label is None:
                no_label.append(f"{name}/{sample.key}")
            else:
                pictures.add(sample.picture.name, sample.picture.length, sample.picture.offset)
                labels.add(sample.label)
    wanted = ".cls member, and no .json with a label" if label_field is None else "such label"
    if not pictures:
        if no_label:
            raise InputError(f"SOURCE {path}: sample {no_label[0]} has no {wanted}")
        raise InputError(f"SOURCE {path} holds no samples with a picture")
    for without, what in ((no_picture, "picture"), (no_label, wanted)):
        if without:
            warn(f"{len(without)} samples without {what} are left out, as {without[0]}")
    classes, numbers = labels.finish(f"SOURCE {path}", names_beside(shards[0][0].parent, warn))
    digest = digest_of_source("webdataset", classes, pictures, numbers)
    return Source(str(path), "webdataset", classes, pictures, numbers, digest)


class _Sample(NamedTuple):
    """What a tar's index says of a sample; None for what it has not."""

    key: str
    picture: tar.Member | None
    label: str | None


def _index(shard: AnyPath, label_field: str | None) -> Iterator[_Sample]:
    """The samples of one tar."""
    with _Labelled(shard, label_field) as labelled:
        for key, members in _samples(shard, labelled.reader):
            picture = _picture_of(members)
            yield _Sample(key, picture, None if picture is None else labelled.read(members))


def shards_of(path: AnyPath) -> list[tuple[AnyPath, str]]:
    """The tar files that a path or pattern names, in order, each with a short name of its own.

    raises  InputError when there is none, or one of a list is missing
    """
    if path.is_dir():
        inside = [p for p in path.iterdir() if p.name.endswith(".tar") and p.name[0] != "."]
        found: list[AnyPath] = sorted(inside, key=lambda p: p.name)
        if not found:
            raise InputError(f"SOURCE {path} holds no .tar files")
    elif path.exists() or not is_pattern(path):
        found = [path]
    else:
        found = []
        for name in expand_braces(str(path)):
            if isinstance(path, Url):
                magic = glob.has_magic(name) and path.protocol not in ("http", "https")
                found += [Url(match) for match in (remote.matching(name) if magic else [name])]
                continue
            matches = [name] if not glob.has_magic(name) or Path(name).exists() else glob.glob(name)
            found += [Path(match) for match in sorted(matches)]
        if not found:
            raise InputError(f"SOURCE {path}: no file matches this pattern")
    there = partial(map, _is_file) if not isinstance(path, Url) else partial(remote.ahead, _is_file)
    for shard, is_there in zip(found, there(found)):
        if not is_there:
            raise InputError(f"SOURCE {path}: {shard} does not exist")
    names = [shard.name for shard in found]
    if len(set(names)) < len(names):
        top = os.path.commonpath([str(shard.parent) for shard in found])
        names = [os.path.relpath(str(shard), top) for shard in found]
    return list(zip(found, names))


def _is_file(path: AnyPath) -> bool:
    return path.is_file()


def is_pattern(path: AnyPath) -> bool:
    """Whether a path that does not exist can be meant as a pattern."""
    return glob.has_magic(str(path)) or _BRACES.search(str(path)) is not None


_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand_braces(text: str) -> list[str]:
    """What a shell makes of `a{00..12}b` and `a{x,y}b`. Raises InputError beyond MAX_SHARDS."""
    braces = _BRACES.search(text)
    if braces is None:
        return [text]
    span = _RANGE.fullmatch(braces[1])
    if span is None:
        parts = braces[1].split(",")
    else:
        first, last = int(span[1][:20]), int(span[2][:20])
        if abs(last - first) >= MAX_SHARDS:
            raise InputError(f"{text} stands for more than {MAX_SHARDS} files")
        step = 1 if last >= first else -1
        width = len(span[1]) if span[1].startswith("0") or span[2].startswith("0") else 0
        parts = [f"{number:0{width}d}" for number in range(first, last + step, step)]
    before, after = text[: braces.start()], expand_braces(text[braces.end() :])
    if len(parts) * len(after) > MAX_SHARDS:
        raise InputError(f"{text} stands for more than {MAX_SHARDS} files")
    return [f"{before}{part}{rest}" for part in parts for rest in after]


def _samples(
    shard: AnyPath, reader: remote.Reader | None
) -> Iterator[tuple[str, dict[str, tar.Member]]]:
    """(key, extension -> member) of every sample of one tar."""
    key = ""
    found: dict[str, tar.Member] = {}
    for member in tar.members(shard, reader):
        folder, _, base = member.name.rpartition("/")
        stem, dot, extension = base.partition(".")
        if not stem or not dot:  # hidden files; no extension
            continue
        own = f"{folder}/{stem}" if folder else stem
        if own != key or extension in found:
            yield from _apart(key, found)
            key, found = own, {}
        found[extension] = member
    yield from _apart(key, found)


def _apart(key: str, members: dict[str, tar.Member]) -> Iterator[tuple[str, dict[str, tar.Member]]]:
    """One sample; but `1.jpg 1.cls 2.jpg 2.cls` are two, of pictures with dots in their names."""
    if "cls" not in members and "json" not in members:
        inner: dict[str, dict[str, tar.Member]] = {}
        for extension, member in members.items():
            before, _, last = extension.rpartition(".")
            inner.setdefault(before, {})[last] = member
        parts = {name: part for name, part in inner.items() if "cls" in part or "json" in part}
        if parts:
            yield from ((f"{key}.{name}", part) for name, part in parts.items())
            return
    if members:
        yield key, members


def _picture_of(members: dict[str, tar.Member]) -> tar.Member | None:
    """The picture of a sample: `jpg` before `small.jpg`."""
    inner = None
    for extension, member in members.items():
        if is_picture_name(f"x.{extension}"):
            if "." not in extension:
                return member
            inner = inner or member
    return inner


class _Labelled:
    """Reads the labels of one tar's samples. A context manager that holds the file open."""

    def __init__(self, shard: AnyPath, field: str | None) -> None:
        self._shard = shard
        self._fields = LABEL_FIELDS if field is None else (field,)
        self._cls = field is None
        self._descriptor = -1
        self.reader = remote.Reader(shard) if isinstance(shard, Url) else None

    def __enter__(self) -> _Labelled:
        if isinstance(self._shard, Url):
            return self
        try:
            self._descriptor = os.open(self._shard, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self._shard), "reading") from error
        return self

    def __exit__(self, *ending: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, members: dict[str, tar.Member]) -> str | None:
        """The label of a sample, or None. Raises InputError for a damaged one."""
        if self._cls and "cls" in members:
            return self._read(members["cls"]).decode("utf-8", "surrogateescape").strip() or None
        if "json" not in members:
            return None
        member = members["json"]
        try:
            record = json.loads(self._read(member))
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self._shard}: {member.name} is no JSON: {reason}") from None
        if not isinstance(record, dict):
            return None
        for field in self._fields:
            text = label_text(record.get(field))
            if text is not None:
                return text
        return None

    def _read(self, member: tar.Member) -> bytes:
        if member.length > MAX_LABEL_BYTES:
            raise InputError(
                f"{self._shard}: {member.name} has {member.length} bytes, too many for a label"
            )
        if self.reader is not None:
            return self.reader.pread(member.length, member.offset)
        try:
            return os.pread(self._descriptor, member.length, member.offset)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self._shard), "reading") from error


class WebDataset(Kind):
    """Tars of samples."""

    name = "webdataset"
    endings = (".tar",)
    takes = ("label_field",)

    def is_folder(self, listing: Listing) -> bool:
        """Tars and no folders."""
        return listing.endings[".tar"] > 0 and not listing.folders

    def is_pattern(self, path: AnyPath) -> bool:
        """As shards/{000000..000099}.tar."""
        return is_pattern(path)

    def is_stream(self, head: bytes) -> bool:
        """A tar."""
        return tar.is_tar(head)

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """List the samples of every tar."""
        return open_webdataset(path, warn, choice.label_field)

    def open_stream(self, stream: BinaryIO, head: bytes, warn: Warn, choice: Choice) -> Source:
        """List the samples of the tar on stdin, which is kept for this run."""
        local = spool.keep(stream, "stdin.tar", head)
        with spool.errors_about(local, "the tar on stdin"):
            source = self.open(local, warn, choice)
        return replace(source, path=str(STDIN))


KIND = WebDataset()
