"""Rows: what a manifest says of each artefact, and of each item that was skipped.

A row is one line of JSON in manifest.jsonl, errors.jsonl or a journal. The class of a row follows
from its output's command and format, and is decided in one place, `Kinds.row`.

    Row
    ├── SkippedRow           an item that could not be used
    │   ├── SkippedSample    of a baked set
    │   └── SkippedPicture   of a mixing set
    ├── Artefact             a file, or a slice of one
    │   ├── BakedRow         of a baked set
    │   │   ├── BakedShard     a tar or Parquet file
    │   │   ├── BakedSlice     a slice of a copy's arrays
    │   │   └── BakedPicture   a picture file
    │   ├── MixingShard      a tar of a mixing set
    │   └── MixingPicture    a picture file of a mixing set
    └── MixingMember         a picture inside a MixingShard
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from pixmix_cli.mixing.draws import DrawsJson
from pixmix_cli.storage.json_types import checked

FIRST_PLAIN = 1_000_000  # the code of the first plain copy of a baked set
_BIGGEST = 2**62  # of the whole numbers in a row

Place = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row. A field that is None is left out of its line."""

    rank: ClassVar[int] = 0  # among rows of one copy, shard and index

    def to_json(self) -> dict[str, Any]:
        """The row as its line holds it."""
        values = {name: getattr(self, name) for name in _shape(type(self)).names}
        facts = values.pop("facts", {})
        return {name: value for name, value in values.items() if value is not None} | facts

    @property
    def place(self) -> Place:
        """(copy, shard, index, rank): rows are sorted by it, and of equal ones the last counts."""
        copy, shard, index = (getattr(self, name, None) for name in ("copy", "shard", "index"))
        return copy or 0, shard or 0, -1 if index is None else index, self.rank


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRow(Row):
    """An item that could not be used, and why."""

    rank: ClassVar[int] = 2
    error: str
    index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedSample(SkippedRow):
    """A sample of the source; of the mixing set where `shard` is -1, and `copy` too."""

    key: str
    shard: int
    copy: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedPicture(SkippedRow):
    """A picture of a mixing set. facts: what its maker says of it."""

    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact(Row):
    """A file of the output, or a slice of one.

    path    relative to the output, with forward slashes; never out of it
    bytes   its length
    sha256  of its bytes, hexadecimal
    """

    path: str
    bytes: int
    sha256: str

    @property
    def pictures(self) -> int:
        """How many pictures it holds."""
        return 1

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """Of every file that it stands for."""
        return (self.sha256,)


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedRow(Artefact):
    """An artefact of a baked set. copy: a Copy's code."""

    copy: int
    shard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedShard(BakedRow):
    """A tar, perhaps with a .idx beside it, or a Parquet file."""

    count: int
    idx_sha256: str | None = None

    @property
    def pictures(self) -> int:
        """How many pictures it holds."""
        return self.count

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """Of the shard and its index."""
        return self.sha256, self.idx_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedSlice(BakedRow):
    """A slice of images.npy, which `path` names, and of labels.npy beside it."""

    count: int
    labels_sha256: str

    @property
    def pictures(self) -> int:
        """How many pictures it holds."""
        return self.count

    @property
    def hashes(self) -> tuple[str | None, ...]:
        """Of the pictures and the labels."""
        return self.sha256, self.labels_sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class BakedPicture(BakedRow):
    """A picture file. index, key: of its sample in the source; draws: as Draws.to_json."""

    index: int
    key: str
    label: int
    draws: DrawsJson


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingPicture(Artefact):
    """A picture file of a mixing set.

    rejected  fractals that were drawn before this one and thrown away
    facts     what else its maker says of it
    """

    index: int
    rejected: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingShard(Artefact):
    """A tar of a mixing set: what could be made of the pictures index to stop - 1."""

    index: int
    stop: int
    count: int

    @property
    def pictures(self) -> int:
        """How many pictures it holds."""
        return self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class MixingMember(Row):
    """A picture in a tar of a mixing set: its member's name, length and hash; as MixingPicture."""

    rank: ClassVar[int] = 1
    path: str
    member: str
    bytes: int
    sha256: str
    index: int
    rejected: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The classes of the rows of one output."""

    artefact: type[Artefact]
    skipped: type[SkippedRow]
    member: type[MixingMember] | None = None

    def kind(self, line: dict[str, Any]) -> type[Row]:
        """The class of a row, from its line of JSON.

        By more than one field: a row that has lost one is still known for what it was.
        """
        if "error" in line or ("path" not in line and "sha256" not in line):
            return self.skipped
        if self.member is not None and "stop" not in line and "count" not in line:
            return self.member
        return self.artefact

    def row(self, line: Any) -> Row:
        """The row that a line of JSON holds.

        raises  ValueError that names a field that is missing or of another type, a number that is
                absurd, a path that leads out of the output
        """
        if not isinstance(line, dict):
            raise ValueError("it is no object")
        kind = self.kind(line)
        shape = _shape(kind)
        row = checked(kind, shape.apart(line) if "facts" in shape.names else line)
        for name in shape.numbers:
            if not -1 <= (getattr(row, name) or 0) < _BIGGEST:
                raise ValueError(f"{name} is {getattr(row, name)}")
        if isinstance(row, Artefact | MixingMember):
            check_path(row.path)
        return row


# What the rows of a baked set's artefacts are, where they are no shards, by --format
_BAKED: dict[str, type[BakedRow]] = {"npy": BakedSlice, "imagefolder": BakedPicture}
_MIXING = {
    "folder": Kinds(MixingPicture, SkippedPicture),
    "webdataset": Kinds(MixingShard, SkippedPicture, MixingMember),
}


def kinds_of(command: str, options: Mapping[str, Any]) -> Kinds:
    """The classes of the rows of an output, by what made it.

    raises  ValueError for an option `format` that is missing or unknown
    """
    layout = options.get("format")
    if command == "bake" and isinstance(layout, str):
        return Kinds(_BAKED.get(layout, BakedShard), SkippedSample)
    if layout not in _MIXING:
        raise ValueError(f"options.format is {layout!r}: expected {' or '.join(_MIXING)}")
    return _MIXING[layout]


def check_path(path: str) -> None:
    """Raise ValueError for a path that names no file inside an output."""
    if "\0" in path:
        raise ValueError("path holds a NUL")
    if not path or path.startswith("/") or set(path.split("/")) & {"", ".", ".."}:
        raise ValueError(f"path {path} leads out of the folder")


# Names that pixmix gives to artefacts: only such files are ever removed
_OURS = re.compile(
    r"(copy|plain)-\d{3,}/(.+\.(jpg|png|webp)|\d{6,}(\.\w+)+|(images|labels)\.npy)"
    r"|\d{3,}/\d{6,}\.(jpg|png|webp)|\d{6,}\.tar",
    re.DOTALL,
)
FOLDERS = re.compile(r"(copy|plain)-\d{3,}|\d{3,}")  # and to folders in an output


def is_given(path: str) -> bool:
    """Whether a path, relative to an output, is one that pixmix gives to an artefact."""
    try:
        check_path(path)
    except ValueError:
        return False
    return _OURS.fullmatch(path) is not None


def files_of(line: Mapping[str, Any]) -> Iterator[str]:
    """The files that a row, as its line has it, stands for."""
    path = line["path"]
    yield path
    if "idx_sha256" in line:
        yield path.removesuffix("tar") + "idx"
    if "labels_sha256" in line:
        yield path.removesuffix("images.npy") + "labels.npy"


def companions(path: str) -> tuple[str, ...]:
    """A row's path, and the names of what is written with it and has no row of its own."""
    if path.endswith("images.npy"):
        return path, path.replace("images.npy", "labels.npy")
    if path.endswith(".tar"):
        return path, path.removesuffix("tar") + "idx"
    return (path,)


def has_its_length(output: Path, row: Artefact) -> bool:
    """Whether the file of a row is still there, with the length that was written."""
    try:
        return (output / row.path).stat().st_size == row.bytes
    except OSError:
        return False


@dataclass(frozen=True, slots=True)
class _Shape:
    """The fields of a class of rows, found once: rows come in millions."""

    names: dict[str, None]  # in order
    numbers: tuple[str, ...]  # whole numbers

    def apart(self, line: dict[str, Any]) -> dict[str, Any]:
        """A line with all that is no field of its own in one field, `facts`."""
        facts: dict[str, Any] = {}
        apart: dict[str, Any] = {"facts": facts}
        for name, value in line.items():
            (apart if name in self.names else facts)[name] = value
        return apart


_SHAPES: dict[type[Row], _Shape] = {}


def _shape(kind: type[Row]) -> _Shape:
    shape = _SHAPES.get(kind)
    if shape is None:
        found = fields(kind)
        names = dict.fromkeys(one.name for one in found)
        numbers = tuple(one.name for one in found if one.type in ("int", "int | None"))
        shape = _SHAPES[kind] = _Shape(names, numbers)
    return shape
