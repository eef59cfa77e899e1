"""Pictures wherever they lie: in folders, nested or flat, or inside tar files; ours or anyone's."""

from __future__ import annotations

import array
import hashlib
import os
import stat
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import PictureError, StorageError
from pixmix_cli.sources.watched import Watched
from pixmix_cli.storage import remote
from pixmix_cli.storage.remote import is_url

Warn = Callable[[str], None]

STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Where one picture's bytes are.

    name    path relative to what the user named, with forward slashes; inside a tar
            `shard.tar/member`
    path    the file to open, or its URL
    offset  where the picture begins in it, bytes
    length  bytes
    """

    name: str
    path: str
    offset: int
    length: int

    @property
    def upright(self) -> bool:
        """Whether it is turned as its EXIF orientation says, as readers of its kind do."""
        return False

    def read(self) -> bytes:
        """The picture's bytes. Raises PixMixError."""
        if self.offset:
            return read_bytes_at(self.path, self.offset, self.length) if self.length else b""
        return read_bytes_at(self.path, 0, (is_url(self.path) and self.length) or -1)


class UprightRef(PictureRef):
    """A picture of a kind whose readers turn it as its EXIF orientation says."""

    __slots__ = ()

    @property
    def upright(self) -> bool:
        """It is."""
        return True


@dataclass(frozen=True, slots=True)
class PixelsRef(PictureRef):
    """A picture that lies in a file as plain uint8 values.

    layout  (height, width, order): "hwc" RGB, "chw" RGB one channel after the other, "hw" grey
    """

    layout: tuple[int, int, str]

    def pixels(self, data: bytes | memoryview | None = None) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB, not writable. Raises StorageError.

        data  its bytes, where they have been read already
        """
        height, width, order = self.layout
        if data is None:
            data = read_bytes_at(self.path, self.offset, self.length)
        if len(data) != height * width * (1 if order == "hw" else 3):
            raise StorageError(f"{self.path} ends inside picture {self.name}")
        if order == "chw":
            return np.frombuffer(data, np.uint8).reshape(3, height, width).transpose(1, 2, 0)
        if order == "hw":
            grey = np.frombuffer(data, np.uint8).reshape(height, width, 1)
            return np.broadcast_to(grey, (height, width, 3))
        return np.frombuffer(data, np.uint8).reshape(height, width, 3)

    def read(self) -> bytes:
        """The picture as a PPM file, which every decoder reads exactly. Raises StorageError."""
        height, width, _ = self.layout
        return b"P6 %d %d 255\n" % (width, height) + self.pixels().tobytes()


@dataclass(frozen=True, slots=True)
class UnusableRef(PictureRef):
    """A sample that is known to be of no use before it is read.

    reason  what it lacks, in words
    """

    reason: str

    def read(self) -> bytes:
        """Raises PictureError."""
        raise PictureError(f"{self.name}: {self.reason}")


def read_bytes_at(path: str, offset: int = 0, length: int = -1) -> bytes:
    """Some bytes of a regular file; all of them by default. Raises StorageError.

    A file that is read in pieces stays open until another is: opening it for each small picture
    costs more than reading it.
    """
    try:
        if is_url(path):
            return remote.read(path, offset, length)
        if offset and length >= 0:
            return os.pread(_open_container(path), length, offset)
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or device may never end
            raise StorageError(f"{path} is no regular file")
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  (hot, no Path object)
            return file.read(length)
    except OSError as error:
        raise StorageError.from_os_error(error, path, "reading") from error


_container = threading.local()  # the file read in pieces last, a thread's own


def _open_container(path: str) -> int:
    """A descriptor of a regular file: the one of the last call where it is the same file."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise StorageError(f"{path} is no regular file")
    identity = status.st_dev, status.st_ino
    kept: tuple[tuple[int, int], int] | None = getattr(_container, "kept", None)
    if kept is not None and kept[0] == identity:
        return kept[1]
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if kept is not None:
        os.close(kept[1])
    _container.kept = (identity, descriptor)
    return descriptor


@dataclass(frozen=True, slots=True)
class Folder:
    """Where pictures lie as files: the picture `rest` is the file `path/rest`.

    prefix  what the pictures' names begin with
    """

    prefix: str
    path: str

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """One of its pictures."""
        return PictureRef(self.prefix + rest, f"{self.path}/{rest}", 0, length)


@dataclass(frozen=True, slots=True)
class Container:
    """A file that holds pictures one after the other.

    layout   of pictures that are plain values (see PixelsRef); None for picture files
    upright  whether these are turned as EXIF says
    """

    prefix: str
    path: str
    layout: tuple[int, int, str] | None = None
    upright: bool = False

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """One of its pictures."""
        name = self.prefix + rest
        if self.layout is None:
            kind = UprightRef if self.upright else PictureRef
            return kind(name, self.path, offset, length)
        return PixelsRef(name, self.path, offset, length, self.layout)


@dataclass(frozen=True, slots=True)
class Unusable:
    """Where samples lie that cannot be used, for a reason that they share."""

    prefix: str
    reason: str

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """One of them."""
        return UnusableRef(self.prefix + rest, "", 0, 0, self.reason)


class Place(Protocol):
    """A folder or file in which pictures lie, and how to read them there."""

    @property
    def prefix(self) -> str:
        """What the names of its pictures begin with."""

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """The picture whose name is prefix + rest."""


class Pictures(Sequence[PictureRef]):
    """A long list of pictures in little memory: 20 bytes each and the end of its name.

    Eight more where pictures lie inside of files. Ten million PictureRef objects would take 3 GB.
    Here they are made when asked for.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._places: list[Place] = []
        self._place = array.array("i")
        self._rests = bytearray()  # UTF-8, one after the other
        self._ends = array.array("q", [0])
        self._offsets: array.array[int] | None = None  # as long as all are 0
        self._lengths = array.array("q")
        self.content = b""  # a hash over pixels, where names and lengths say nothing of them
        self.versions = b""  # a hash over the versions that the stores of remote pictures give
        self.watched: Watched | None = None  # what the list follows from; None where nobody noted

    @property
    def places(self) -> Sequence[Place]:
        """Where pictures lie, in the order in which these were begun."""
        return self._places

    def begin(self, place: Place) -> int:
        """What is added from now on lies here.

        returns  the place's number, for `add`
        """
        self._places.append(place)
        return len(self._places) - 1

    def add(self, rest: str, length: int, offset: int = 0, place: int = -1) -> None:
        """Append a picture.

        place  number of the place in which it lies; the one begun last when not given
        """
        if offset and self._offsets is None:
            self._offsets = _zeros(len(self))
        if self._offsets is not None:
            self._offsets.append(offset)
        self._rests += rest.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._rests))
        self._place.append(place if place >= 0 else len(self._places) - 1)
        self._lengths.append(length)

    def extend(self, more: Pictures) -> None:
        """Append all of another list."""
        shift, start = len(self._places), len(self._rests)
        if self._offsets is not None or more._offsets is not None:
            self._offsets = self._offsets or _zeros(len(self))
            self._offsets.extend(more._offsets or _zeros(len(more)))
        self._places += more._places
        self._place.extend(array.array("i", (number + shift for number in more._place)))
        self._rests += more._rests
        self._ends.extend(array.array("q", (end + start for end in more._ends[1:])))
        self._lengths.extend(more._lengths)
        if more.content:
            self.content = hashlib.sha256(self.content + more.content).digest()
        if more.versions:
            self.note_version(more.versions)

    def prefixes(self) -> list[str]:
        """What the names of the pictures begin with, of each place that has any."""
        return [self._places[number].prefix for number in self.used()]

    def used(self) -> Sequence[int]:
        """The numbers of the places that have any pictures, ascending."""
        return sorted(set(self._place))

    def columns(self) -> dict[str, memoryview]:
        """The list as arrays, one value a picture: number of the place, length, offset if any.

        `rest` holds the texts one after the other; `end` is where each of them ends in it.
        """
        lengths: Any = np.frombuffer(self._lengths, np.int64)
        if len(lengths) and lengths.min() >= 0 and lengths.max() < 1 << 32:
            lengths = lengths.astype(np.uint32)
        found = {
            "place": memoryview(self._place),
            "end": memoryview(self._ends)[1:],
            "length": memoryview(lengths),
            "rest": memoryview(self._rests),
        }
        if self._offsets is not None:
            found["offset"] = memoryview(self._offsets)
        return found

    def note_version(self, version: bytes) -> None:
        """Take into account what a store says of the version of a file."""
        self.versions = hashlib.sha256(self.versions + version).digest()

    def __len__(self) -> int:
        """How many pictures."""
        return len(self._place)

    @overload
    def __getitem__(self, index: int) -> PictureRef: ...

    @overload
    def __getitem__(self, index: slice) -> list[PictureRef]: ...

    def __getitem__(self, index: int | slice) -> PictureRef | list[PictureRef]:
        """One picture, or a list of them."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self.one(index + len(self) if index < 0 else index)

    def one(self, index: int) -> PictureRef:
        """One picture; index from 0."""
        place = self._places[self._place[index]]
        rest = self._rests[self._ends[index] : self._ends[index + 1]]
        text = rest.decode("utf-8", "surrogateescape")
        offset = 0 if self._offsets is None else self._offsets[index]
        return place.ref(text, offset, self._lengths[index])

    def add_to(self, digest: hashlib._Hash) -> None:
        """Feed every name and length, in order."""
        prefixes = [encoded(place.prefix) for place in self._places]
        start = 0
        ends = islice(self._ends, 1, None)
        for place, end, length in zip(self._place, ends, self._lengths):
            digest.update(b"%b%b\0%d\n" % (prefixes[place], bytes(self._rests[start:end]), length))
            start = end


def _zeros(count: int) -> array.array[int]:
    return array.array("q", bytes(8 * count))


def encoded(text: str) -> bytes:
    """A file name's bytes, whatever they are."""
    return text.encode("utf-8", "surrogateescape")


class Ahead:
    """Reads pictures in a known order; remote ones before they are asked for, many at a time."""

    def __init__(self, refs: Iterable[PictureRef]) -> None:
        """The pictures that will be asked for, in that order."""
        self._left = (ref for ref in refs if is_url(ref.path))
        self._waiting: deque[tuple[PictureRef, Future[bytes]]] = deque()

    def read(self, ref: PictureRef) -> bytes:
        """A picture's bytes. Raises PixMixError."""
        if not is_url(ref.path):
            return ref.read()
        for following in islice(self._left, remote.PARALLEL - len(self._waiting)):
            self._waiting.append((following, remote.start(PictureRef.read, following)))
        if self._waiting and self._waiting[0][0] == ref:
            return self._waiting.popleft()[1].result()
        return ref.read()


class Runs:
    """Reads pictures that are plain values in a known order; those that adjoin by one read.

    For small pictures a read costs as much as mixing them.
    """

    def __init__(self, refs: Iterable[PixelsRef]) -> None:
        """The pictures that will be asked for, in that order."""
        self._runs = deque(_runs(refs))
        self._path, self._begin = "", 0
        self._data = memoryview(b"")

    def pixels(self, ref: PixelsRef) -> NDArray[np.uint8]:
        """As `ref.pixels()`."""
        if self._runs and self._runs[0][:2] == (ref.path, ref.offset):
            self._path, self._begin, length = self._runs.popleft()
            try:
                self._data = memoryview(read_bytes_at(self._path, self._begin, length))
            except StorageError:  # told of the pictures that are lost by it, one by one
                self._data = memoryview(b"")
        at = ref.offset - self._begin
        if ref.path != self._path or not 0 <= at <= len(self._data) - ref.length:
            return ref.pixels()
        return ref.pixels(self._data[at : at + ref.length])


RUN = 1 << 20  # bytes that are read at once


def _runs(refs: Iterable[PixelsRef]) -> Iterator[tuple[str, int, int]]:
    """(path, offset, length) of stretches of several pictures that adjoin."""
    path, begin, end, count = "", 0, 0, 0
    for ref in refs:
        if ref.path == path and ref.offset == end and end + ref.length - begin <= RUN:
            end, count = end + ref.length, count + 1
            continue
        if count > 1:
            yield path, begin, end - begin
        path, begin, end, count = ref.path, ref.offset, ref.offset + ref.length, 1
    if count > 1:
        yield path, begin, end - begin


def digest_of(pictures: Pictures, classes: Sequence[str] = ()) -> str:
    """SHA-256 over class names, and picture names and lengths, in order."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(encoded(f"{name}\0class\n"))
    pictures.add_to(digest)
    return digest.hexdigest()
