"""Datasets in: WebDataset, tar files in which members of one key are a sample."""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.labels import (
    Labels,
    UnusableLabelError,
    label_in,
    label_text,
    names_beside,
)
from pixmix_cli.sources.passed_over import (
    UNREAD,
    gap_in,
    missing_parts,
    told,
    warn_of_loose_pictures,
)
from pixmix_cli.sources.pictures import STDIN, Container, Pictures, Unusable, Warn
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.sources.splits import split_of
from pixmix_cli.sources.watched import Watched
from pixmix_cli.storage import remote, spool, tar
from pixmix_cli.storage.images import is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url

MAX_LABEL_BYTES = 1 << 20  # of a .cls or .json member
KEPT_LABELS = 100_000  # of a tar, so that most are made out once
MAX_SHARDS = 1_000_000  # of a pattern; beyond it is surely a slip
REFUSED = (".zip", ".7z", ".rar", ".tar.z", ".tar.lz", ".tlz")  # with the command that unpacks them
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
    names = [name for _, name in shards]
    if path.is_dir():
        _check_whole(path, names, warn)
        warn_of_loose_pictures(path, (entry.name for entry in path.iterdir()), warn)
    watched = Watched()
    if isinstance(path, Path) and not path.exists():
        watched.matched = [str(shard) for shard, _ in shards]
    for place in dict.fromkeys(above for shard, _ in shards for above in (shard.parent, shard)):
        watched.look(str(place))
    watched.look_at_names(str(shards[0][0].parent))
    indexes: Iterator[tuple[AnyPath, Iterable[_Sample]]] = (
        _opened(shard, label_field) for shard, _ in shards
    )
    if any(isinstance(shard, Url) for shard, _ in shards):  # several at a time
        indexes = remote.ahead(lambda pair: _opened(pair[0], label_field, whole=True), shards)
    pictures, labels = Pictures(), Labels()
    bad, first, halves = 0, "", set()
    passed_over: Counter[str] = Counter()
    nothing = "it has no .cls member, and no .json with a label"
    if label_field is not None:
        nothing = f"it has no .json member with {label_field}"
    begun: tuple[str, str] | None = None
    for (shard, name), sample in _joined(indexes, names):
        if sample.picture is not None and sample.label is not None:
            if begun != ("", shard):
                begun = "", shard
                pictures.begin(Container(f"{name}/", shard))
            pictures.add(sample.picture.name, sample.picture.length, sample.picture.offset)
            labels.add_name(sample.label)
            continue
        if not sample.is_meant:
            passed_over.update(f".{extension.rpartition('.')[2]}" for extension in sample.others)
            continue
        reason = (sample.problem or nothing) if sample.picture is not None else sample.no_picture
        bad, first = bad + 1, first or f"{name}/{sample.key}: {reason}"
        halves.add((sample.picture is None, sample.label is None))
        if begun != (reason, name):
            begun = reason, name
            pictures.begin(Unusable(f"{name}/", reason))
        pictures.add(sample.key if sample.picture is None else sample.picture.name, 0)
        labels.leave_out()
    if bad == len(pictures):
        if bad:
            hint = None if label_field is None else "another --label-field, or without it"
            if {(True, False), (False, True)} <= halves:
                hint = "tar --sort=name: the files of a sample must follow each other"
            raise InputError(
                f"SOURCE {path}: none of its {bad} samples can be used, as {first}", hint
            )
        raise InputError(f"SOURCE {path} holds no samples with a picture")
    if bad:
        warn(f"{bad} of {len(pictures)} samples cannot be used, as {first}")
    if passed_over:
        warn(f"{told(passed_over)} in SOURCE {path} are no samples; passed over")
    classes, numbers = labels.finish(
        f"SOURCE {path}",
        names_beside(shards[0][0].parent, warn),
        lambda index: pictures[index].name,
    )
    if not any(isinstance(shard, Url) for shard, _ in shards):
        pictures.watched = watched
    digest = digest_of_source("webdataset", classes, pictures, numbers)
    return Source(str(path), "webdataset", classes, pictures, numbers, digest)


class _Sample(NamedTuple):
    """What a tar's index says of a sample.

    key      the names of its members up to the extension
    picture  its picture, None where it has none
    label    its label, None where there is none, or `problem` says what is wrong with it
    problem  "" where nothing is, or nothing is there
    others   the extensions of its members, where it has no picture
    """

    key: str
    picture: tar.Member | None
    label: str | None
    problem: str
    others: tuple[str, ...]

    @property
    def is_meant(self) -> bool:
        """Whether it was to be a sample, going by what there is of it."""
        told = self.picture is not None or self.label is not None or self.problem
        return bool(told) or self.has_other_picture

    @property
    def has_other_picture(self) -> bool:
        """Whether a member seems to be a picture of a kind that is not read."""
        return any(f".{other}".endswith(UNREAD) for other in self.others)

    @property
    def no_picture(self) -> str:
        """What is wrong with one without a picture."""
        there = " ".join(f".{other}" for other in self.others)[:100]
        return f"the sample has no picture that is read, but {there}"

    @property
    def is_half(self) -> bool:
        """Whether it has one of picture and label, and nothing is wrong with that."""
        return (self.picture is None) != (self.label is None) and not self.problem

    def fits(self, other: _Sample) -> bool:
        """Whether two halves are one sample."""
        both = self.is_half and other.is_half and self.key == other.key
        return both and (self.picture is None) != (other.picture is None)


def _check_whole(path: AnyPath, names: Sequence[str], warn: Warn) -> None:
    """Refuse a folder that lacks a shard, or has those of several splits.

    A pattern names what is meant, and is not checked.

    raises  InputError
    """
    missing = missing_parts(names)
    if missing is not None:
        raise InputError(
            f"SOURCE {path} lacks {missing[0]} of {missing[1]} shards, as {missing[2]}",
            f"downloading the rest, or '{path}/*.tar' for what is there",
        )
    firsts = ((split_of(name), name) for name in reversed(names))
    splits = {split: name for split, name in firsts if split is not None}
    if len(splits) > 1:
        told_of = " and ".join(sorted(splits))
        first = next((splits[s] for s in splits if s.startswith("train")), names[0])
        raise InputError(
            f"SOURCE {path} holds shards of the splits {told_of}",
            f"a pattern of those that are meant, as '{path}/{_ANY_NUMBER.sub('*', first)}'",
        )
    gap = gap_in(names)
    if gap is not None:
        warn(f"the numbers of the shards in SOURCE {path} lack {gap[0]}, as {gap[1]}")


_ANY_NUMBER = re.compile(r"\d+")


def _joined(
    indexes: Iterable[tuple[AnyPath, Iterable[_Sample]]], names: Sequence[str]
) -> Iterator[tuple[tuple[str, str], _Sample]]:
    """All samples in order, each with the file that holds its picture and the shard's name.

    A sample lies in two shards where tars were cut by size: it is made one.
    """
    held: tuple[tuple[str, str], _Sample] | None = None  # half of one, at the end of a shard
    for (path, index), name in zip(indexes, names):
        place = str(path), name
        last: _Sample | None = None
        for sample in index:
            if held is not None:
                before, half = held
                held = None
                if half.fits(sample):
                    if half.picture is None:
                        yield place, sample._replace(label=half.label)
                    else:
                        yield before, half._replace(label=sample.label)
                    continue
                yield before, half
            if last is not None:
                yield place, last
            last = sample
        if last is not None and last.is_half:
            held = place, last
        elif last is not None:
            yield place, last
    if held is not None:
        yield held


def _opened(
    shard: AnyPath, label_field: str | None, whole: bool = False
) -> tuple[AnyPath, Iterable[_Sample]]:
    """The tar to read, a temporary one where the shard is compressed, and its samples."""
    packed = shard.name.lower().endswith(tar.PACKED)
    there = spool.fetch(shard) if isinstance(shard, Url) and packed else shard
    if isinstance(there, Path) and there.is_file():
        with spool.errors_about(there, str(shard)):
            there = spool.unpacked(there)
    samples: Iterable[_Sample] = _index(there, label_field, str(shard))
    return there, list(samples) if whole else samples


def _index(shard: AnyPath, label_field: str | None, called: str) -> Iterator[_Sample]:
    """The samples of one tar. called: its name in errors."""
    with _Labelled(shard, label_field) as labelled, spool.errors_about(Path(str(shard)), called):
        for key, members in _samples(shard, labelled.reader):
            picture, label, problem = _picture_of(members), None, ""
            try:
                label = labelled.read(members)
            except UnusableLabelError as error:
                problem = str(error)
            yield _Sample(key, picture, label, problem, () if picture else tuple(members))


def shards_of(path: AnyPath) -> list[tuple[AnyPath, str]]:
    """The tar files that a path or pattern names, in order, each with a short name of its own.

    raises  InputError when there is none, or one of a list is missing
    """
    if path.is_dir():
        inside = [
            p for p in path.iterdir() if p.name.lower().endswith(tar.ENDINGS) and p.name[0] != "."
        ]
        found: list[AnyPath] = sorted(inside, key=lambda p: p.name)
        if not found:
            raise InputError(f"SOURCE {path} holds no .tar files")
    elif path.exists() or not is_pattern(path):
        found = [path]
    else:
        found = matching(path)
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


def matching(path: AnyPath) -> list[AnyPath]:
    """The files that a pattern stands for, in order; one without * may not be there.

    raises  InputError beyond MAX_SHARDS
    """
    found: list[AnyPath] = []
    for name in expand_braces(str(path)):
        if isinstance(path, Url):
            magic = glob.has_magic(name) and path.protocol not in ("http", "https")
            found += [Url(match) for match in (remote.matching(name) if magic else [name])]
            continue
        matches = [name] if not glob.has_magic(name) or Path(name).exists() else glob.glob(name)
        found += [Path(match) for match in sorted(matches)]
    return found


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
        extension = extension.lower()
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
        self._known: dict[bytes, str] = {}  # contents of .cls members
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
        """The label of a sample, or None where nothing could be one.

        raises  UnusableLabelError
        """
        if self._cls and "cls" in members:
            return self._text(self._read(members["cls"]))
        if "json" not in members:
            return None
        member = members["json"]
        try:
            record = json.loads(self._read(member))
        except UnusableLabelError:
            raise
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise UnusableLabelError(f"{member.name} is no JSON: {reason}") from None
        value = label_in(record, self._fields) if isinstance(record, dict) else None
        return None if value is None else label_text(value)

    def _text(self, content: bytes) -> str:
        text = self._known.get(content)
        if text is None:
            text = label_text(content)
            if len(self._known) < KEPT_LABELS:
                self._known[content] = text
        return text

    def _read(self, member: tar.Member) -> bytes:
        if member.length > MAX_LABEL_BYTES:
            raise UnusableLabelError(
                f"{member.name} has {member.length} bytes, too many for a label"
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
    endings = tar.ENDINGS
    takes = ("label_field",)

    def is_folder(self, listing: Listing) -> bool:
        """Tars."""
        return any(name.lower().endswith(tar.ENDINGS) for name in listing.names)

    def is_file(self, path: AnyPath) -> bool:
        """By its ending; also archives that are refused with the mend."""
        return path.name.lower().endswith((*tar.ENDINGS, *REFUSED))

    def is_pattern(self, path: AnyPath) -> bool:
        """As shards/{000000..000099}.tar."""
        return is_pattern(path)

    def is_stream(self, head: bytes) -> bool:
        """A tar."""
        return tar.is_tar(head)

    def is_watched(self, path: AnyPath) -> bool:
        """Every tar, but not one that is unpacked for this run."""
        names = [one.name for one in path.iterdir()] if path.is_dir() else [path.name]
        return not any(name.lower().endswith(tar.PACKED) for name in names)

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
