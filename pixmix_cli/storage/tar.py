"""Tar files with fixed headers, and the pictures inside anyone's tar files."""

from __future__ import annotations

import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from pixmix_cli.errors import ArchiveError, StorageError
from pixmix_cli.storage import remote, spool
from pixmix_cli.storage.remote import AnyPath, Url

BLOCK = 512
PACKED = (
    ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst", ".tar.lz4",
)  # fmt: skip
ENDINGS = (".tar", *PACKED)
_AGAIN = "downloading or making it again"


class Sink(Protocol):
    """Anything that takes bytes in order."""

    def write(self, data: bytes, /) -> object:
        """Append bytes."""


class TarWriter:
    """A ustar archive in which only names and contents vary: no time, owner or host."""

    def __init__(self, sink: Sink) -> None:
        """Write members to `sink`, which is neither closed nor flushed here."""
        self._sink = sink

    def add(self, name: str, data: bytes) -> None:
        """Append one regular file (mode 0644, owner 0, modification time 0)."""
        self.add_all([(name, data)])

    def add_all(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Append several regular files by one write."""
        blocks: list[bytes] = []
        for name, data in files:
            blocks += (_header(name, len(data)), data, bytes(-len(data) % BLOCK))
        self._sink.write(b"".join(blocks))

    def finish(self) -> None:
        """Write the two zero blocks that end an archive."""
        self._sink.write(b"\0" * (2 * BLOCK))


def _header(name: str, length: int) -> bytes:
    """The 512-byte header of a regular file (POSIX.1-1988, ustar), sooner than tarfile makes it."""
    encoded = name.encode("ascii", "replace")
    if len(encoded) > 100 or not name.isascii() or length >= 1 << 33:
        info = tarfile.TarInfo(name)  # rare: the library knows the ways round each limit
        info.size = length
        info.mode = 0o644
        return info.tobuf(tarfile.USTAR_FORMAT)
    octal = b"%011o" % length
    # Adler-32's lower half is 1 + the sum of the bytes modulo 65521, quicker than sum()
    checksum = (zlib.adler32(encoded) & 0xFFFF) + (zlib.adler32(octal) & 0xFFFF) + _OTHERS_SUM
    return b"%b%b%b%06o\0 %b" % (
        encoded.ljust(100, b"\0"), _OWNER, octal + _TIME, checksum, _REST
    )  # fmt: skip


_OWNER = b"0000644\0" + b"0000000\0" * 2  # mode, user, group
_TIME = b"\0" + b"0" * 11 + b"\0"  # after the end of the length
_REST = (b"0" + bytes(100) + b"ustar\00000").ljust(BLOCK - 156, b"\0")  # kind, no link, version
# the checksum's own field counts as spaces; 2 is what Adler-32 begins with, twice
_OTHERS_SUM = sum(_OWNER + _TIME + _REST) + 8 * ord(" ") - 2


class Member(NamedTuple):
    """A regular file inside a tar: its name and where its bytes lie."""

    name: str
    offset: int
    length: int


def is_tar(head: bytes) -> bool:
    """Whether what begins with these bytes, at least 262, is a tar (POSIX or GNU)."""
    return head[257:262] == b"ustar"


def members(path: AnyPath, reader: remote.Reader | None = None) -> Iterator[Member]:
    """The regular files of an uncompressed tar, by reading its headers only.

    Names are names: nothing is ever written where they point. Links to files in the tar are those
    files, as for tarfile's extractfile; other links and devices are passed over.

    reader  of a remote tar, where the caller reads from it too
    raises  ArchiveError for a compressed, truncated, broken or sparse archive, saying where;
            StorageError
    """
    if not path.is_file():
        raise StorageError(f"{path} is no regular file")
    found = 0
    try:
        for member in _remote_members(path, reader) if isinstance(path, Url) else _local(path):
            found += 1
            yield member
    except _UnusualError:
        yield from islice(_unusual_members(path), found, None)
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error


def _remote_members(path: Url, reader: remote.Reader | None) -> Iterator[Member]:
    reader = reader or remote.Reader(path)
    return _plain_members(reader.pread, reader.length)


def _local(path: Path) -> Iterator[Member]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        yield from _plain_members(partial(os.pread, descriptor), size)
    finally:
        os.close(descriptor)


def _unusual_members(path: AnyPath) -> Iterator[Member]:
    if isinstance(path, Path):
        yield from _members_by_tarfile(path)
        return
    copy = spool.fetch(path)  # tarfile jumps about in it
    with spool.errors_about(copy, path):
        yield from _members_by_tarfile(copy)
    spool.discard(copy)


class _UnusualError(Exception):
    """Something in a tar that `_plain_members` leaves to the library."""


@dataclass(frozen=True, slots=True)
class _Link:
    """A link inside a tar.

    position  of its header: a hard link means the last file of that name before it
    """

    name: str
    target: str
    hard: bool
    position: int


def _plain_members(pread: Callable[[int, int], bytes], size: int) -> Iterator[Member]:
    """What `members` yields, in a fifth of the time, for archives that nearly everyone has.

    raises  _UnusualError at anything that `_entries` leaves to the library
    """
    files: dict[str, list[Member]] | None = None  # made when a link comes: few tars have any
    for entry in _entries(pread, size):
        if isinstance(entry, Member):
            yield entry
            continue
        if files is None:
            files = _by_name(one for one in _entries(pread, size) if isinstance(one, Member))
        found = _linked(entry, files)
        if found is not None:
            yield found


def _linked(link: _Link, files: dict[str, list[Member]]) -> Member | None:
    """The file that a link stands for, under the link's name."""
    target = link.target if link.hard else f"{posixpath.dirname(link.name)}/{link.target}"
    there = files.get(_normal(target), [])
    if link.hard:
        there = [member for member in there if member.offset < link.position]
    if not there:
        return None
    found = there[-1]._replace(name=link.name)
    if link.hard:  # and others may link to this one
        files.setdefault(_normal(link.name), []).append(found)
    return found


def _by_name(members: Iterable[Member]) -> dict[str, list[Member]]:
    found: dict[str, list[Member]] = {}
    for member in members:
        found.setdefault(_normal(member.name), []).append(member)
    return found


def _normal(name: str) -> str:
    return posixpath.normpath(name).lstrip("/")


def _entries(pread: Callable[[int, int], bytes], size: int) -> Iterator[Member | _Link]:
    """The files and links of a tar.

    Reads ustar and the two usual ways of long names, GNU's and pax. Raises _UnusualError at
    anything else, broken archives included: tarfile knows them all and words the error.

    pread  (length, offset) -> bytes, as os.pread
    size   bytes of the archive
    """
    position = 0
    name, length, target = None, None, None  # given by a header before the member's own
    while True:
        head = pread(BLOCK, position)
        if len(head) < BLOCK:
            raise _UnusualError
        if head == _ZERO:
            break
        own_length = _number(head[124:136])
        # Adler-32's lower half is 1 + the sum of the bytes modulo 65521, quicker than sum()
        before, after = zlib.adler32(head[:148]), zlib.adler32(head[156:])
        checksum = (before & 0xFFFF) + (after & 0xFFFF) - 2 + 8 * ord(" ")
        if (checksum - _number(head[148:156])) % 65521:
            raise _UnusualError
        data, kind = position + BLOCK, head[156:157]
        if kind in b"xLK":
            if not 0 < own_length <= _LONGEST_HEADER:
                raise _UnusualError
            content = pread(own_length, data)
            if kind == b"L":
                name = _text(content)
            elif kind == b"K":
                target = _text(content)
            else:
                pax_name, pax_length, pax_target = _pax(content)
                name = name if pax_name is None else pax_name
                length = length if pax_length is None else pax_length
                target = target if pax_target is None else pax_target
            position = data + _padded(own_length)
            continue
        if kind not in _REGULAR:
            if kind not in b"125":  # links and folders have no content
                raise _UnusualError
            if kind != b"5":
                to = _text(head[157:257]) if target is None else target
                yield _Link(_name(head) if name is None else name, to, kind == b"1", position)
            position, name, length, target = data, None, None, None
            continue
        if name is None:
            name = _name(head)
            if kind == b"\0" and name.endswith("/"):  # how tars of before 1988 mark folders
                raise _UnusualError
        length = own_length if length is None else length
        if data + length > size:
            raise _UnusualError
        yield Member(name, data, length)
        position, name, length, target = data + _padded(length), None, None, None
    if not _ends_properly(pread, size) or name is not None or length is not None:
        raise _UnusualError


_ZERO = bytes(BLOCK)
_REGULAR = (b"0", b"\0")
_LONGEST_HEADER = 1 << 20  # bytes of a long name or a pax header


def _padded(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _name(head: bytes) -> str:
    prefix, name = _text(head[345:500]), _text(head[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _number(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits.isdigit():
        raise _UnusualError
    try:
        return int(digits, 8)
    except ValueError:
        raise _UnusualError from None


def _pax(content: bytes) -> tuple[str | None, int | None, str | None]:
    """Path, size and link of an extended header ("<length> <key>=<value>\\n" again and again)."""
    name, length, target = None, None, None
    position = 0
    while position < len(content):
        digits, _, _ = content[position : position + 20].partition(b" ")
        if not digits.isdigit() or int(digits) <= len(digits) + 1:
            raise _UnusualError
        end = position + int(digits)
        key, equals, value = content[position + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or content[end - 1 : end] != b"\n":
            raise _UnusualError
        if key == b"path":
            name = value.decode("utf-8", "surrogateescape").rstrip("/")
        elif key == b"size":
            if not value.isdigit():
                raise _UnusualError
            length = int(value)
        elif key == b"linkpath":
            target = value.decode("utf-8", "surrogateescape")
        elif key.startswith((b"GNU.sparse", b"hdrcharset")):
            raise _UnusualError
        position = end
    return name, length, target


def _members_by_tarfile(path: Path) -> Iterator[Member]:
    last = "its first member"
    files: dict[str, list[Member]] = {}  # made when a link comes
    try:
        with tarfile.open(path, "r:") as archive:
            size = path.stat().st_size
            for info in archive:
                if info.islnk() or info.issym():
                    files = files or _files_by_tarfile(archive)
                    link = _Link(info.name, info.linkname, info.islnk(), info.offset)
                    found = _linked(link, files)
                    if found is not None:
                        yield found
                    continue
                if not info.isreg() or info.size < 0:
                    continue
                if info.sparse is not None or info.type == tarfile.GNUTYPE_SPARSE:
                    # its bytes do not lie one after the other
                    raise ArchiveError(
                        f"{path}: member {info.name} is stored as a sparse file",
                        "tar without --sparse (-S)",
                    )
                if info.offset_data + info.size > size:
                    raise ArchiveError(f"{path} is truncated at member {info.name}", _AGAIN)
                last = f"the member after {info.name}"
                yield Member(info.name, info.offset_data, info.size)
        with path.open("rb") as raw:
            whole = _ends_properly(partial(os.pread, raw.fileno()), size)
        if not whole:
            raise ArchiveError(f"{path} is truncated at {last}", _AGAIN)
    except tarfile.ReadError as error:
        reason = " ".join(str(error).split())
        with path.open("rb") as raw:
            packing = spool.packing_of(raw.read(spool.HEAD))
        hint = _AGAIN if packing is None else packing.mend(path.name)
        raise ArchiveError(f"{path} is not a whole uncompressed tar file: {reason}", hint) from None
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise ArchiveError(f"{path} is broken at {last}: {error}", _AGAIN) from None
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error


def _files_by_tarfile(archive: tarfile.TarFile) -> dict[str, list[Member]]:
    found = [
        Member(info.name, info.offset_data, info.size)
        for info in archive.getmembers()
        if info.isreg()
    ]
    return _by_name(found)


def _ends_properly(pread: Callable[[int, int], bytes], size: int) -> bool:
    return size >= 2 * BLOCK and pread(BLOCK, size - BLOCK) == _ZERO
