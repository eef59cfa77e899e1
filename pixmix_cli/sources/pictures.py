"""Pictures wherever they lie: in folders, nested or flat, or inside tar files; ours or anyone's."""

from __future__ import annotations

import array
import hashlib
import os
import stat
import sys
import threading
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, overload

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.storage import remote, spool, tar
from pixmix_cli.storage.images import EXTENSIONS, is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url, any_path, is_url

Warn = Callable[[str], None]

STDIN = Path("-")
_GZIPPED = (".tar.gz", ".tgz")
_GZIP_START = b"\x1f\x8b"


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

    def read(self) -> bytes:
        """The picture's bytes. Raises PixMixError."""
        if self.offset or is_url(self.path):
            return read_bytes_at(self.path, self.offset, self.length or -1)
        return read_bytes_at(self.path)


@dataclass(frozen=True, slots=True)
class PixelsRef(PictureRef):
    """A picture that lies in a file as plain uint8 values.

    layout  (height, width, order): "hwc" RGB, "chw" RGB one channel after the other, "hw" grey
    """

    layout: tuple[int, int, str]

    def pixels(self) -> NDArray[np.uint8]:
        """(h, w, 3) uint8 RGB, not writable. Raises StorageError."""
        height, width, order = self.layout
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

    layout  of pictures that are plain values (see PixelsRef); None for picture files
    """

    prefix: str
    path: str
    layout: tuple[int, int, str] | None = None

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """One of its pictures."""
        name = self.prefix + rest
        if self.layout is None:
            return PictureRef(name, self.path, offset, length)
        return PixelsRef(name, self.path, offset, length, self.layout)


class Place(Protocol):
    """A folder or file in which pictures lie, and how to read them there."""

    @property
    def prefix(self) -> str:
        """What the names of its pictures begin with."""

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """The picture whose name is prefix + rest."""


class Pictures(Sequence[PictureRef]):
    """A long list of pictures in little memory: 28 bytes each and the end of its name.

    Ten million PictureRef objects would take 3 GB. Here they are made when asked for.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._places: list[Place] = []
        self._place = array.array("i")
        self._rests = bytearray()  # UTF-8, one after the other
        self._ends = array.array("q", [0])
        self._offsets = array.array("q")
        self._lengths = array.array("q")
        self.versions = b""  # a hash over what the stores of remote pictures tell of versions

    def begin(self, place: Place) -> None:
        """What is added from now on lies here."""
        self._places.append(place)

    def add(self, rest: str, length: int, offset: int = 0) -> None:
        """Append a picture of the place begun last."""
        self._rests += rest.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._rests))
        self._place.append(len(self._places) - 1)
        self._offsets.append(offset)
        self._lengths.append(length)

    def extend(self, more: Pictures) -> None:
        """Append all of another list."""
        shift, start = len(self._places), len(self._rests)
        self._places += more._places
        self._place.extend(array.array("i", (number + shift for number in more._place)))
        self._rests += more._rests
        self._ends.extend(array.array("q", (end + start for end in more._ends[1:])))
        self._offsets.extend(more._offsets)
        self._lengths.extend(more._lengths)
        if more.versions:
            self.note_version(more.versions)

    def note_version(self, version: bytes) -> None:
        """Take into account what a store tells of the version of a file."""
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
        if index < 0:
            index += len(self)
        place = self._places[self._place[index]]
        rest = self._rests[self._ends[index] : self._ends[index + 1]]
        text = rest.decode("utf-8", "surrogateescape")
        return place.ref(text, self._offsets[index], self._lengths[index])

    def add_to(self, digest: hashlib._Hash) -> None:
        """Feed every name and length, in order."""
        prefixes = [encoded(place.prefix) for place in self._places]
        start = 0
        for place, end, length in zip(self._place, self._ends[1:], self._lengths):
            digest.update(b"%b%b\0%d\n" % (prefixes[place], bytes(self._rests[start:end]), length))
            start = end


def encoded(text: str) -> bytes:
    """A file name's bytes, whatever they are."""
    return text.encode("utf-8", "surrogateescape")


WEIGHTED_DRAWS = 1 << 40  # numbers that a weighted choice is drawn from; a float holds them all


@dataclass(frozen=True, slots=True)
class MixingSet:
    """The pictures to mix in, in a fixed order: set by set, and by name inside each.

    digest  SHA-256 over names and lengths: changes when a picture is added, lost or resized
    shares  (first drawn number, first picture, pictures) of each set when sets have weights
    """

    paths: tuple[str, ...]
    pictures: Pictures
    digest: str
    shares: tuple[tuple[int, int, int], ...] = ()

    @property
    def draws_from(self) -> int:
        """How many numbers a choice is drawn from, uniformly; `pick` makes a picture of one."""
        return WEIGHTED_DRAWS if self.shares else len(self.pictures)

    def pick(self, drawn: int) -> int:
        """The index of the picture that a number in 0..draws_from - 1 stands for."""
        if not self.shares:
            return drawn
        number = bisect_right(self.shares, drawn, key=lambda share: share[0]) - 1
        begin, first, count = self.shares[number]
        ends = [share[0] for share in self.shares[1:]] + [WEIGHTED_DRAWS]
        return first + (drawn - begin) * count // (ends[number] - begin)


class Ahead:
    """Reads pictures in a known order; remote ones before they are asked for, many at a time."""

    def __init__(self, refs: Iterable[PictureRef]) -> None:
        """The pictures that will be asked for, in that order."""
        self._left = iter(refs)
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


Files = list[os.DirEntry[str]] | list[remote.Entry]


def walk(root: AnyPath, warn: Warn) -> Iterator[tuple[str, Files]]:
    """Every folder below root in sorted order, links followed, loops not: (relative path, files).

    Hidden files and folders are passed over.

    raises  StorageError for a folder that cannot be listed
    """
    if isinstance(root, Url):
        return remote.walk(root)
    return _walk(str(root), "", frozenset(), warn)


def walk_each(roots: Sequence[AnyPath], warn: Warn) -> Iterator[Iterable[tuple[str, Files]]]:
    """`walk` of each of several folders; remote ones are listed several at a time."""
    if any(isinstance(root, Url) for root in roots):
        return remote.ahead(lambda root: list(walk(root, warn)), roots)
    return (walk(root, warn) for root in roots)


def _walk(
    folder: str, relative: str, above: frozenset[tuple[int, int]], warn: Warn
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be listed ({error.strerror})", "its permissions, or without it"
        ) from None
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        warn(f"{folder} is a link to a folder above it; not followed")
        return
    above = above | {identity}
    files: list[os.DirEntry[str]] = []
    folders: list[os.DirEntry[str]] = []
    for entry in listing:
        if entry.name.startswith("."):
            continue
        try:
            kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
        except OSError:  # a link to itself
            kind = "other"
        if kind == "folder":
            folders.append(entry)
        elif kind == "file" or entry.is_symlink():  # a dangling link is reported when it is read
            files.append(entry)
        else:
            warn(f"{entry.path} is no regular file; left out")
    yield relative, files
    for entry in folders:
        yield from _walk(entry.path, f"{relative}{entry.name}/", above, warn)


def find_pictures(path: AnyPath, warn: Warn) -> Pictures:
    """The pictures of one folder, tar file or picture file, sorted by name.

    warn    called with one line for each thing passed over
    raises  InputError when the path is missing; StorageError for a broken tar
    """
    found = Pictures()
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_file():
        if path.suffix == ".tar":
            _add_tar(found, path, path.name, _picture_members(path))
        elif path.name.endswith(_GZIPPED):
            packed = spool.fetch(path) if isinstance(path, Url) else path
            _add_spooled(found, spool.gunzip(packed), path.name, str(path))
        elif is_picture_name(path.name):
            found.begin(Folder("", str(path.parent)))
            found.add(path.name, length_at(path))
        else:
            raise InputError(f"{path} is neither a folder, a .tar or .tar.gz file nor a picture")
        if isinstance(path, Url):
            _note_version(found, path.look())
        return found
    if not path.is_dir():
        raise InputError(f"{path} is neither a folder nor a regular file")
    if (path / ".pixmix").is_dir():
        warn(f"{path} is an unfinished set (add --resume to the command that makes it)")
    folders: Iterable[tuple[str, Files]] = walk(path, warn)
    indexes: Iterator[Iterable[tar.Member]] | None = None
    if isinstance(path, Url):  # several tars are indexed at a time
        folders = list(folders)
        tars = [Url(e.path) for _, files in folders for e in files if e.name.endswith(".tar")]
        indexes = remote.ahead(lambda url: list(_picture_members(url)), tars)
    for relative, files in folders:
        folder = Folder(relative, f"{path}/{relative}".rstrip("/"))
        found.begin(folder)
        for entry in files:
            if is_picture_name(entry.name):
                found.add(entry.name, length_of(entry))
            elif entry.name.endswith(".tar"):
                members = next(indexes) if indexes else _picture_members(Path(entry.path))
                _add_tar(found, entry.path, f"{relative}{entry.name}", members)
                found.begin(folder)
            if isinstance(entry, remote.Entry):
                _note_version(found, entry)
    return found


def _note_version(found: Pictures, file: remote.Entry | remote.Info | None) -> None:
    if file is not None:
        found.note_version(encoded(f"{file.length} {file.version}"))


def _picture_members(path: AnyPath) -> Iterator[tar.Member]:
    return (member for member in tar.members(path) if is_picture_name(member.name))


def _add_tar(
    found: Pictures, path: AnyPath | str, name: str, members: Iterable[tar.Member]
) -> None:
    found.begin(Container(f"{name}/", str(path)))
    for member in members:
        found.add(member.name, member.length, member.offset)


def _add_spooled(found: Pictures, file: Path, name: str, where: str) -> None:
    """Add the pictures of a temporary tar; errors tell where it came from."""
    try:
        _add_tar(found, file, name, _picture_members(file))
    except StorageError as error:
        raise InputError(error.message.replace(str(file), where)) from None


def _pictures_on_stdin() -> Pictures:
    """The pictures of a tar that is piped in, which is kept in a temporary file meanwhile."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "--mixing-set - reads a tar, but stdin is a terminal",
            "pixmix generate-fractals -n 1000 -o - | ",
        )
    file = spool.keep(sys.stdin.buffer, "stdin.tar")
    with file.open("rb") as kept:
        start = kept.read(2)
    if not start:
        raise InputError("--mixing-set -: nothing came on stdin", "the command before it alone")
    if start == _GZIP_START:
        file = spool.gunzip(file)
    found = Pictures()
    _add_spooled(found, file, "stdin.tar", "the tar on stdin")
    return found


def open_mixing_set(
    paths: Sequence[AnyPath], warn: Warn, weights: Sequence[float] = ()
) -> MixingSet:
    """The pictures of one or several sets together.

    paths    folders, tars or pictures; - is a tar on stdin
    weights  how often each set is picked from, relative to the others; without them every picture
             is picked equally often
    raises   InputError when one is missing or holds no picture; StorageError for a broken tar
    """
    if weights and len(weights) != len(paths):
        raise InputError(f"there are {len(paths)} mixing sets and {len(weights)} weights")
    pictures = Pictures()
    starts = []
    for path in paths:
        if path != STDIN and not path.exists():
            raise InputError(f"mixing set {path} does not exist")
        found = _pictures_on_stdin() if path == STDIN else find_pictures(path, warn)
        if not found:
            endings = " ".join(EXTENSIONS)
            raise InputError(
                f"mixing set {path} holds no pictures ({endings}, or .tar files of them)",
                "pixmix generate-fractals -n 1000 -o mixing",
            )
        starts.append(len(pictures))
        pictures.extend(found)
    digest = digest_of(pictures)
    shares = _shares(weights, [*starts, len(pictures)])
    if shares:  # which picture is of which set counts too
        digest = hashlib.sha256(f"{digest} {starts}".encode()).hexdigest()
    return MixingSet(tuple(str(p) for p in paths), pictures, digest, shares)


def _shares(weights: Sequence[float], starts: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    shares, before = [], 0.0
    for weight, first, end in zip(weights, starts, starts[1:]):
        shares.append((int(WEIGHTED_DRAWS * (before / sum(weights))), first, end - first))
        before += weight
    return tuple(shares)


def weighted_paths(texts: Sequence[str]) -> tuple[tuple[AnyPath, ...], tuple[float, ...]]:
    """Paths and weights out of `fractals:1`, `featvis:2`; no weights out of plain paths.

    A path that exists as it is written is a path, whatever follows its last colon.

    raises  InputError for a weight that is no number above 0, or given to some sets only
    """
    paths, weights = [], []
    for text in texts:
        before, colon, after = text.rpartition(":")
        if not colon or not before or os.path.exists(text):
            paths.append(any_path(text))
            continue
        try:
            weight = float(after)
        except ValueError:
            paths.append(any_path(text))  # a path that does not exist, as will be said
            continue
        if not MIN_WEIGHT <= weight <= 1 / MIN_WEIGHT:
            raise InputError(f"--mixing-set {text}: a weight must be {MIN_WEIGHT} to 1000000")
        paths.append(any_path(before))
        weights.append(weight)
    if weights and len(weights) < len(paths):
        raise InputError("some of the mixing sets have a weight and others none", "one for each")
    return tuple(paths), tuple(weights)


MIN_WEIGHT = 1e-6  # a set picked from less often than that is a slip


def length_at(path: AnyPath) -> int:
    """A file's bytes. Raises StorageError, OSError."""
    return path.length if isinstance(path, Url) else path.stat().st_size


def length_of(entry: os.DirEntry[str] | remote.Entry) -> int:
    """A file's bytes; 0 for a link that leads nowhere, which is reported when it is read."""
    if isinstance(entry, remote.Entry):
        return entry.length
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def digest_of(pictures: Pictures, classes: Sequence[str] = ()) -> str:
    """SHA-256 over class names, and picture names and lengths, in order."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(encoded(f"{name}\0class\n"))
    pictures.add_to(digest)
    return digest.hexdigest()
