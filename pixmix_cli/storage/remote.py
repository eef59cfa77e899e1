"""Files that lie elsewhere: object stores and web servers, through fsspec.

`Url` has those of pathlib's methods that inputs and outputs need, so most code does not ask which
of the two it holds. What a listing says (folder or file, length) costs no further request. No
library is loaded until the first request, so local paths cost nothing.

Every request is tried ATTEMPTS times with growing pauses; the stores' own retries, whose number and
pauses differ from library to library, are switched off where we can.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import itertools
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pixmix_cli.errors import InputError, StorageError

T = TypeVar("T")
Item = TypeVar("Item")

ATTEMPTS = 6
FIRST_PAUSE = 0.25  # seconds, doubled after each attempt: 8 s in all, a store's usual hiccup
PARALLEL = 16  # requests under way at once: hides 50 ms of latency at 300 pictures a second

_EXTRAS = {  # protocol: the extra that brings its library; None: fsspec is enough
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("http", "https"), "https"),
    "hf": "hf",
    "memory": None,
}
READ_ONLY = ("http", "https", "hf")
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://")
# Errors that another attempt would not mend
_FINAL = (
    *(FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError),
    *(ImportError, ValueError, TypeError, NotImplementedError),
)
_NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "ProfileNotFound")


def is_url(text: str) -> bool:
    """Whether a text names something elsewhere: scheme://..."""
    return "://" in text and _URL.match(text) is not None


def any_path(text: str) -> AnyPath:
    """A local path or a URL, whichever a text is."""
    return Url(text) if is_url(text) else Path(text)


def is_inside(inner: AnyPath, outer: AnyPath) -> bool:
    """Whether one is the other or lies below it."""
    if isinstance(inner, Url) or isinstance(outer, Url):
        return f"{inner}/".startswith(f"{outer}/")
    place = inner.resolve()
    return outer.resolve() in (place, *place.parents)


class Info(NamedTuple):
    """What a store says of a name."""

    folder: bool
    length: int  # bytes; 0 where the store does not say
    version: str  # changes with the content, where the store has such a thing


class Entry(NamedTuple):
    """A file found by `walk`; `name` without its folders, `path` the whole URL."""

    name: str
    path: str
    length: int
    version: str


@dataclass(frozen=True, slots=True)
class Url:
    """A place elsewhere, with the methods of pathlib.Path that are needed here."""

    text: str
    known: Info | None = field(default=None, compare=False)  # from a listing

    def __post_init__(self) -> None:
        """A folder may be written with a slash at its end."""
        object.__setattr__(self, "text", self.text.rstrip("/") or self.text)

    def __str__(self) -> str:
        """The URL as it was given."""
        return self.text

    def __truediv__(self, name: str) -> Url:
        """A file or folder below this one."""
        return Url(f"{self.text}/{name}")

    @property
    def protocol(self) -> str:
        """The part before ://."""
        return self.text.partition("://")[0]

    @property
    def _path(self) -> PurePosixPath:
        rest = self.text.partition("://")[2]
        return PurePosixPath(urlsplit(self.text).path if self.protocol in READ_ONLY[:2] else rest)

    @property
    def name(self) -> str:
        """The last part, without a query."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """The name's ending, with its dot."""
        return self._path.suffix

    @property
    def parent(self) -> Url:
        """The folder that holds it; itself at the top."""
        above, slash, _ = self.text.rpartition("/")
        return self if not slash or above.endswith("/") else Url(above)

    def with_name(self, name: str) -> Url:
        """Another file of the same folder."""
        return self.parent / name

    def with_suffix(self, suffix: str) -> Url:
        """The file with another ending."""
        return self.with_name(self.stem + suffix)

    def look(self) -> Info | None:
        """What the store says of it; None when there is nothing. Raises StorageError."""
        return self.known or _look(self)

    def exists(self) -> bool:
        """Whether there is a file or folder of this name. Raises StorageError."""
        return self.look() is not None

    def is_file(self) -> bool:
        """Whether it is a file. Raises StorageError."""
        found = self.look()
        return found is not None and not found.folder

    def is_dir(self) -> bool:
        """Whether it is a folder. Raises StorageError."""
        found = self.look()
        return found is not None and found.folder

    @property
    def length(self) -> int:
        """A file's bytes, 0 where the store does not say. Raises StorageError."""
        found = self.look()
        if found is None:
            raise StorageError(f"{self} does not exist")
        return found.length

    def iterdir(self) -> list[Url]:
        """What lies in a folder, sorted. Raises StorageError."""
        return _list_folder(self)

    def read_bytes(self) -> bytes:
        """All of a file. Raises StorageError, FileNotFoundError."""
        return read(self.text)


AnyPath = Path | Url


def attempt(doing: str, where: object, call: Callable[[], T]) -> T:
    """What a request returns, tried several times.

    doing   "reading", "writing", ... for the error message
    raises  FileNotFoundError, FileExistsError; StorageError for all else
    """
    failures = 0
    while True:
        try:
            return call()
        except (FileNotFoundError, FileExistsError, StorageError, InputError):
            raise
        except _FINAL as error:
            raise _refused(doing, where, error) from error
        except Exception as error:
            if type(error).__name__ in _NO_CREDENTIALS:
                raise _refused(doing, where, error) from error
            failures += 1
            if failures == ATTEMPTS:
                raise StorageError(
                    f"{doing} {where} failed {ATTEMPTS} times: {_reason(error)}",
                    "the network and the address, then again (--resume keeps what is done)",
                ) from error
            time.sleep(FIRST_PAUSE * 2 ** (failures - 1))


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _refused(doing: str, where: object, error: BaseException) -> StorageError:
    if isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
        return StorageError(
            f"{doing} {where} is not allowed: {_reason(error)}",
            "credentials for it (docs/faq.md tells how they are given)",
        )
    return StorageError(f"{doing} {where} failed: {_reason(error)}")


@functools.lru_cache(maxsize=16)
def filesystem(protocol: str) -> Any:
    """The fsspec file system of a protocol.

    raises  InputError for a protocol that pixmix does not know, or whose library is missing
    """
    if protocol not in _EXTRAS:
        known = " ".join(f"{name}://" for name in _EXTRAS)
        raise InputError(f"{protocol}:// is no kind of address that pixmix knows", known)
    try:
        import fsspec

        system = fsspec.filesystem(protocol, **_options(protocol))
    except ImportError:
        raise InputError(
            f"{protocol}:// needs a library that is not installed",
            f"pip install 'pixmix[{_EXTRAS[protocol] or 'https'}]'",
        ) from None
    if hasattr(system, "retries"):
        system.retries = 1  # s3fs and gcsfs; ours are in `attempt`
    return system


def _options(protocol: str) -> dict[str, Any]:
    options: dict[str, Any] = {"use_listings_cache": False}  # others may write there meanwhile
    if protocol in ("s3", "s3a"):
        from fsspec.config import conf

        ours = {"retries": {"total_max_attempts": 1}, "max_pool_connections": 2 * PARALLEL}
        options["config_kwargs"] = {**ours, **conf.get(protocol, {}).get("config_kwargs", {})}
    return options


def opened(url: Url | str) -> tuple[Any, str]:
    """The file system of a URL, and the name of the file in it. Raises InputError."""
    text = str(url)
    system = filesystem(text.partition("://")[0])
    return system, system._strip_protocol(text)


def _info(told: dict[str, Any]) -> Info:
    names = ("ETag", "etag", "md5Hash", "blob_id", "mtime", "created", "LastModified")
    version = next((str(told[name]) for name in names if told.get(name)), "")
    return Info(told.get("type") == "directory", int(told.get("size") or 0), version)


def _look(url: Url) -> Info | None:
    system, name = opened(url)
    try:
        return _info(attempt("looking at", url, lambda: system.info(name)))
    except FileNotFoundError:
        return None


def _list_folder(url: Url) -> list[Url]:
    system, name = opened(url)
    told = attempt("listing", url, lambda: system.ls(name, detail=True))
    found = []
    for item in told:
        inside = item["name"].rstrip("/").removeprefix(name.rstrip("/")).strip("/")
        if inside:  # stores may list the folder itself
            found.append(replace(url / inside, known=_info(item)))
    return sorted(found, key=lambda child: child.text)


def read(text: str, offset: int = 0, length: int = -1) -> bytes:
    """Some bytes of a file; all of them by default.

    raises  StorageError, when it is shorter than that too; FileNotFoundError
    """
    if length == 0:
        return b""
    system, name = opened(text)

    def once() -> bytes:
        if length < 0:
            whole: bytes = system.cat_file(name)
            return whole
        data: bytes = system.cat_file(name, start=offset, end=offset + length)
        if len(data) > length:  # a web server that knows no ranges
            data = data[offset : offset + length]
        if len(data) < length:
            raise OSError(f"{len(data)} of {length} bytes at {offset} came")
        return data

    return attempt("reading", text, once)


def ahead(
    function: Callable[[Item], T], items: Iterable[Item], most: int = PARALLEL
) -> Iterator[T]:
    """function(item) for every item, in order, with up to `most` under way at once.

    In threads that wait for requests, and that the process does not wait for when it ends.
    """
    waiting: deque[Future[T]] = deque()
    left = iter(items)
    while True:
        for item in itertools.islice(left, most - len(waiting)):
            waiting.append(start(function, item))
        if not waiting:
            return
        yield waiting.popleft().result()


def start(function: Callable[[Item], T], item: Item) -> Future[T]:
    """function(item), under way in a thread of its own."""
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(function(item))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return future


def walk(root: Url) -> Iterator[tuple[str, list[Entry]]]:
    """Every folder below root in sorted order: (relative path with a slash at its end, files).

    Hidden files and folders are passed over, as for local folders.

    raises  StorageError, FileNotFoundError
    """
    top: dict[str, Any] = {}
    for relative, entry in files_below(root):
        *folders, name = relative.split("/")
        if any(part.startswith(".") or not part for part in (*folders, name)):
            continue
        node = top
        for folder in folders:
            node = node.setdefault(f"{folder}/", {})
        node[name] = entry
    yield from _walk(top, "")


def _walk(node: dict[str, Any], relative: str) -> Iterator[tuple[str, list[Entry]]]:
    names = sorted(node)
    yield relative, [node[name] for name in names if not name.endswith("/")]
    # sorted by name without the slash, as os.scandir gives them
    for name in sorted(name[:-1] for name in names if name.endswith("/")):
        yield from _walk(node[f"{name}/"], f"{relative}{name}/")


def files_below(root: Url) -> Iterator[tuple[str, Entry]]:
    """(path relative to root, file) of every file below a folder. Raises StorageError."""
    system, name = opened(root)
    told = attempt("listing", root, lambda: system.find(name, detail=True))
    start = f"{name.rstrip('/')}/"
    for path, item in told.items():
        info = _info(item)
        relative = path.removeprefix(start)
        if not info.folder and relative and relative != path and not relative.endswith("/"):
            last = relative.rpartition("/")[2]
            yield relative, Entry(last, f"{root}/{relative}", info.length, info.version)


def matching(pattern: str) -> list[str]:
    """The URLs of all files that a pattern with * ? [ matches, sorted. Raises StorageError."""
    system, name = opened(pattern)
    protocol = pattern.partition("://")[0]
    found = attempt("listing", pattern, lambda: system.glob(name))
    return sorted(f"{protocol}://{path.lstrip('/')}" for path in found)


def fetch(text: str, target: Path) -> None:
    """Copy a file to a local one. Raises StorageError, FileNotFoundError."""
    system, name = opened(text)
    expected = Url(text).length

    def once() -> None:
        system.get_file(name, str(target))
        came = target.stat().st_size
        if expected and came != expected:
            raise OSError(f"{came} of {expected} bytes came")

    attempt("reading", text, once)


def upload(local: Path, text: str, sha256: str) -> None:
    """Store a file as one object, and look whether it arrived as it is.

    Object stores show an object when it is complete, and not before. The store's own MD5 is
    compared where it gives one; else the object is read back and compared by its SHA-256.

    raises  StorageError
    """
    system, name = opened(text)
    length = local.stat().st_size

    def once() -> None:
        system.put_file(str(local), name)
        try:
            told = system.info(name)
        except FileNotFoundError:
            raise OSError("the store took it and does not have it") from None
        if told["size"] != length:
            raise OSError(f"{told['size']} of {length} bytes arrived")
        if _md5_told(told) == _digest(local.open("rb"), "md5"):
            return
        if _digest(system.open(name, "rb"), "sha256") != sha256:
            raise OSError("other bytes arrived than were sent")

    try:
        attempt("writing", text, once)
    except FileNotFoundError as error:  # no such bucket
        raise StorageError(f"writing {text} failed: {_reason(error)}") from None


def _md5_told(told: dict[str, Any]) -> str | None:
    """The MD5, in hexadecimal digits, that a store gives for an object; None without one."""
    if "md5Hash" in told:  # Google's
        return base64.b64decode(told["md5Hash"]).hex()
    tag = str(told.get("ETag") or "").strip('"')  # of S3: an MD5, unless in parts or encrypted
    return tag if re.fullmatch("[0-9a-f]{32}", tag) else None


def _digest(file: Any, algorithm: str) -> str:
    with file:
        digest = hashlib.new(algorithm, usedforsecurity=False)
        while block := file.read(LARGE_BLOCK):
            digest.update(block)
        return digest.hexdigest()


def write(text: str, data: bytes) -> None:
    """Store a few bytes as one object. Raises StorageError."""
    system, name = opened(text)
    try:
        attempt("writing", text, lambda: system.pipe_file(name, data))
    except FileNotFoundError as error:
        raise StorageError(f"writing {text} failed: {_reason(error)}") from None


def remove(texts: Iterable[str]) -> None:
    """Remove files; those that are not there are no error. Raises StorageError."""
    for _ in ahead(_remove, texts):
        pass


def _remove(text: str) -> None:
    system, name = opened(text)
    with contextlib.suppress(FileNotFoundError):
        attempt("removing", text, lambda: system.rm_file(name))


@dataclass(frozen=True, slots=True)
class Upload:
    """A folder for partial files which, once whole, are stored elsewhere.

    folder  local, for the partial files
    root    local mirror of the output (see mirror.py), in which the final names lie
    url     of the output
    """

    folder: Path
    root: Path
    url: str

    def __truediv__(self, name: str) -> Path:
        """A temporary name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def url_of(self, final: Path) -> str:
        """Where a file of the mirror really is."""
        return f"{self.url}/{final.relative_to(self.root).as_posix()}"

    def send(self, partial: Path, final: Path, sha256: str) -> None:
        """Store a partial file under its final name. Raises StorageError, OSError."""
        upload(partial, self.url_of(final), sha256)
        if not self.root.exists():  # on another machine than the run's
            partial.unlink()
            return
        final.parent.mkdir(parents=True, exist_ok=True)
        if is_metadata(final, self.root):
            partial.replace(final)
        else:
            stand_in(final, partial.stat().st_size)
            partial.unlink()


def is_metadata(path: Path, root: Path) -> bool:
    """Whether a file of a mirror is one that says something of the output."""
    return path.parent in (root, root / ".pixmix") and path.suffix in (".json", ".jsonl", ".md")


def stand_in(path: Path, length: int) -> None:
    """Make an empty file of a length, which takes no room on the disk."""
    with path.open("wb") as file:
        file.truncate(length)


SMALL_BLOCK, LARGE_BLOCK = 32 << 10, 1 << 20  # bytes
KEPT_BLOCKS = 4


class Reader:
    """Reads short pieces of a long file, mostly onwards, as for the headers of a tar.

    A request brings a block. Blocks grow while pieces follow each other closely (small pictures:
    many headers a block) and are small again after a jump (large pictures: what lies between is
    not fetched).
    """

    def __init__(self, url: Url) -> None:
        """Look up its length. Raises StorageError."""
        self._text = str(url)
        self.length = url.length
        self._block = SMALL_BLOCK
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=KEPT_BLOCKS)

    def pread(self, length: int, offset: int) -> bytes:
        """Some bytes; fewer at the file's end. Raises StorageError, FileNotFoundError."""
        length = max(0, min(length, self.length - offset))
        for begin, block in reversed(self._kept):
            if begin <= offset and offset + length <= begin + len(block):
                return block[offset - begin : offset - begin + length]
        if self._kept:
            gap = offset - self._kept[-1][0] - len(self._kept[-1][1])
            near = -self._block <= gap <= self._block
            self._block = min(2 * self._block, LARGE_BLOCK) if near else SMALL_BLOCK
        wanted = min(max(length, self._block), self.length - offset)
        block = read(self._text, offset, max(wanted, 0))
        self._kept.append((offset, block))
        return block[:length]
