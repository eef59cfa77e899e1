"""A source's listing in a file, from which other processes take the few pictures they want."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pixmix_cli.errors import InputError, ResumeMismatchError, StorageError
from pixmix_cli.sources.pictures import (
    Container,
    Folder,
    PictureRef,
    Pictures,
    Place,
    Unusable,
    read_bytes_at,
)
from pixmix_cli.sources.recognise import recognise
from pixmix_cli.sources.source import Source
from pixmix_cli.sources.watched import unchanged
from pixmix_cli.sources.webdataset import matching
from pixmix_cli.storage import spool
from pixmix_cli.storage.blocks import Blocks, write_arrays
from pixmix_cli.storage.files import Tmp, canonical_json, sha256_hex
from pixmix_cli.storage.images import EXTENSIONS

VERSION = 1  # raised when an older file could be taken for something else
MOST_PLACES = 1_000_000  # folders and tars; of more the list would not be short
_PIECE = 1 << 20  # numbers or bytes that are written at a time
_PLACES: dict[str, Callable[..., Place]] = {
    "folder": Folder, "container": Container, "unusable": Unusable,
}  # fmt: skip


class KnownRef(PictureRef):
    """A picture that another process has listed, perhaps long ago."""

    __slots__ = ()

    def read(self) -> bytes:
        """The picture's bytes.

        raises  ResumeMismatchError where the file has not the length that was listed; PixMixError
        """
        try:
            now = os.stat(self.path).st_size
        except OSError as error:
            raise StorageError.from_os_error(error, self.path, "reading") from error
        if now != self.length:  # looked at before it is read: it may have become huge
            raise ResumeMismatchError(
                f"{self.path} has {now} bytes, and had {self.length} when SOURCE was listed for "
                "this output",
                "the file as it was, or another --output",
            )
        return read_bytes_at(self.path)


@dataclass(frozen=True, slots=True)
class KnownFolder(Folder):
    """A folder of such pictures."""

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """One of its pictures."""
        return KnownRef(self.prefix + rest, f"{self.path}/{rest}", 0, length)


class StoredPictures(Pictures):
    """The pictures of a source that lie in such a file. None can be added."""

    def __init__(self, blocks: Blocks, places: list[Place], used: Sequence[int]) -> None:
        """The pictures of a file.

        places  in which they lie
        used    numbers of those that have any
        """
        super().__init__()
        self._places = places
        self._used = used
        self._rows = [blocks[name] for name in ("place", "end", "length")]
        self._offset = blocks.get("offset")
        self._texts = blocks["rest"]

    def prefixes(self) -> list[str]:
        """What the names of the pictures begin with, of each place that has any."""
        return [self._places[number].prefix for number in self._used]

    def __len__(self) -> int:
        """How many pictures."""
        return len(self._rows[0])

    def one(self, index: int) -> PictureRef:
        """One picture."""
        place, end, length = self._rows
        begin = end[index - 1] if index else 0
        text = self._texts.bytes(begin, end[index]).decode("utf-8", "surrogateescape")
        offset = 0 if self._offset is None else self._offset[index]
        return self._places[place[index]].ref(text, offset, length[index])

    def add_to(self, digest: hashlib._Hash) -> None:
        """Feed every name and length, in order."""
        for ref in self:
            digest.update(b"%b\0%d\n" % (os.fsencode(ref.name), ref.length))


# ---------------------------------------------------------------- writing


def can_store(source: Source) -> bool:
    """Whether a source can be stored: it is known what its listing follows from."""
    watched, places = source.pictures.watched, source.pictures.places
    return (
        watched is not None
        and watched.settled
        and len(places) <= MOST_PLACES
        and all(type(place) in _PLACES.values() for place in places)
        and not any(spool.is_temporary(getattr(place, "path", "")) for place in places)
    )


def store(
    path: Path,
    tmp: Tmp,
    source: Source,
    key: Any,
    asked: str,
    warnings: Sequence[str],
    more: Mapping[str, Any],
) -> None:
    """Write a source that `can_store`, whole or not at all.

    key       as `load` has to be given it
    asked     the kind that the user asked for, or "auto"
    warnings  what was said of the source when it was listed
    more      further arrays beside it, as buffers
    raises    StorageError
    """
    pictures, watched = source.pictures, source.pictures.watched
    assert watched is not None
    base = _base(source.path)
    names = {kind: name for name, kind in _PLACES.items()}
    places = [
        [names[type(place)], {**asdict(place), **_moved(place, base)}]  # type: ignore[call-overload]
        for place in pictures.places
    ]
    about = {
        "version": VERSION,
        "key": key,
        "identity": identity(source.path),
        "extensions": list(EXTENSIONS),
        "asked": asked,
        "kind": source.kind,
        "classes": list(source.classes),
        "digest": source.digest,
        "split": source.split,
        "runs": list(source.runs),
        "warnings": list(warnings),
        "places": places,
        "used": pictures.used(),
        "watched": [[_relative(name, base), stamp] for name, stamp in watched.stamps.items()],
        "matched": None if watched.matched is None else _names_of(watched.matched, base),
    }
    columns = {**pictures.columns(), "label": source.labels, **more}
    arrays = {
        name: (view.format, _pieces(view))
        for name, view in ((name, memoryview(column)) for name, column in columns.items())
    }
    write_arrays(path, tmp, arrays, about)


def _pieces(view: memoryview) -> Iterator[bytes]:
    for start in range(0, len(view), _PIECE):
        yield bytes(view[start : start + _PIECE])


def _base(path: str) -> str:
    """The folder that the paths of a source's pictures begin with: itself, or the one it is in.

    Of a pattern the last one before anything that stands for several.
    """
    while not os.path.isdir(path):
        path = os.path.dirname(path) or "."
    return path


def _relative(path: str, base: str) -> list[str]:
    """A path, and before it what it is relative to: another machine may see SOURCE elsewhere.

    So may another part on this machine, from another folder.
    """
    path, base = _from_root(path), _from_root(base)
    inside = path == base or path.startswith(f"{base}/")
    return ["SOURCE", path[len(base) :]] if inside else ["", path]


def _from_root(path: str) -> str:
    """A path from the root; .. stays, since the folder before it may be a link."""
    return path if path.startswith("/") else str(Path(os.getcwd(), path))


def _names_of(files: Iterable[str], base: str) -> str:
    """A hash over the names of files, seen from wherever."""
    names = sorted(_relative(file, base) for file in files)
    return sha256_hex(canonical_json(names).encode())


def _moved(place: Place, base: str) -> dict[str, list[str]]:
    path = getattr(place, "path", None)
    return {} if path is None else {"path": _relative(path, base)}


def identity(path: str) -> int:
    """Of a SOURCE that is the same wherever it is seen from; a copy of it has another.

    Of a pattern that of the folder it begins with; 0 where nothing is to be seen.
    """
    try:
        return os.stat(path if os.path.exists(path) else _base(path)).st_ino
    except OSError:
        return 0


# ---------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class Stored:
    """What `load` has found.

    arrays    all that `store` was given
    warnings  what was said of the source when it was listed
    """

    source: Source
    warnings: tuple[str, ...]
    arrays: Blocks


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a stored listing cannot be used.

    elsewhere  it is of another copy of the source, where it may be right
    """

    elsewhere: bool


def load(path: Path, source: str, key: Any, asked: str) -> Stored | Unfit:
    """A source that `store` has written, if nothing that it follows from has changed since.

    source  the path of the source, as it is seen here
    key     what decides the listing besides: all the choices that a user has
    asked   but the kind, or "auto"
    """
    try:
        blocks = Blocks(path)
        about = blocks.about
        if about["version"] != VERSION or about["extensions"] != list(EXTENSIONS):
            return Unfit(False)
        if about["identity"] != identity(source):
            return Unfit(True)
        base = _base(source)
        watched = [(_absolute(name, base), stamp) for name, stamp in about["watched"]]
        if about["key"] != key or not _is_kind(asked, about["asked"], about["kind"], source):
            return Unfit(False)
        if not unchanged(watched) or not _matches(source, base, about["matched"]):
            return Unfit(False)
        places = [_place(kind, fields, base) for kind, fields in about["places"]]
        pictures = StoredPictures(blocks, places, about["used"])
        found = Source(
            source,
            about["kind"],
            tuple(about["classes"]),
            pictures,
            blocks["label"],
            about["digest"],
            about["split"],
            tuple(about["runs"]),
        )
        return Stored(found, tuple(about["warnings"]), blocks)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return Unfit(False)  # absent, damaged, of another version


def _is_kind(asked: str, asked_then: str, kind: str, source: str) -> bool:
    """Whether this kind is what the user wants now, who may have named it then."""
    if asked in (asked_then, kind):
        return True
    with contextlib.suppress(InputError):
        return asked == "auto" and recognise(Path(source)).name == kind
    return False


def _matches(source: str, base: str, matched: str | None) -> bool:
    """Whether a source that is a pattern still stands for the same files."""
    if matched is None:
        return True
    with contextlib.suppress(InputError):
        return _names_of(map(str, matching(Path(source))), base) == matched
    return False


def _absolute(path: Sequence[str], base: str) -> str:
    begin, rest = path
    return base + rest if begin else rest


def _place(kind: str, fields: dict[str, Any], base: str) -> Place:
    if "path" in fields:
        fields["path"] = _absolute(fields["path"], base)
    if fields.get("layout") is not None:
        fields["layout"] = tuple(fields["layout"])
    return KnownFolder(**fields) if kind == "folder" else _PLACES[kind](**fields)
