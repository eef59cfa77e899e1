"""Decoded and resized mixing pictures in a file that every worker reads, kept between runs.

Decoding a 512 px picture and shrinking it costs as much as all the rest of a baked sample. Each is
done once, by the worker that first needs it, and waits in the user's cache folder for every other
worker and every later run; a bake of ten pictures never decodes a set of ten thousand.

A bake reads with pread rather than by memory map: the bytes come from the same shared page cache,
but a worker's memory stays flat, and a file cut short is an error that can be handled, not a
SIGBUS. A training loop maps: there a copy of each picture would be a good part of the work.

    FOLDER/<key>/pixels   pictures one after the other, in the order in which they were first needed
    FOLDER/<key>/index    for each picture of the set 24 bytes: where it lies, its sides, its CRC

Any number of processes may read and write at once. Space is handed out under a lock; a picture's
index entry is written after its pixels and carries a CRC over both, checked by each process before
the first use, so an entry torn by a crash is only a picture to be done again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.sources.pictures import PictureRef
from pixmix_cli.storage.remote import is_url

U8 = NDArray[np.uint8]

ENV_FOLDER = "PIXMIX_CACHE_DIR"
MAX_BYTES = 16 << 30  # of all cached sets together
KEEP_FREE = 2 << 30  # bytes of the disk that stay free
_ENTRY = struct.Struct("<qiiI4x")  # offset, height, width, CRC


def default_folder() -> Path:
    """$PIXMIX_CACHE_DIR, else pixmix/ in the user's cache folder."""
    named = os.environ.get(ENV_FOLDER)
    if named:
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "pixmix"


def identity(pictures: Sequence[PictureRef], made_how: str, versions: bytes = b"") -> str:
    """The key of a set: every picture's place, length and times of change, and how it is made.

    versions  what stands for the times of change of remote pictures

    The time of the last change of the inode, which no program can set, is part of it: a file that
    was replaced by another of the same length, with its old modification time, is noticed.
    A picture that cannot be looked at counts as missing.
    """
    digest = hashlib.sha256(made_how.encode() + versions)
    seen: dict[str, bytes] = {}
    for ref in pictures:
        status = seen.get(ref.path)
        if status is None:
            try:
                if is_url(ref.path):
                    raise OSError("no inode")
                s = os.stat(ref.path)
                fields = (s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns)
                status = struct.pack("<5q", *(_signed(f) for f in fields))
            except OSError:
                status = b"missing"
            seen = {ref.path: status}  # pictures of one tar follow each other
        digest.update(status + struct.pack("<2q", ref.offset, ref.length))
        digest.update(ref.path.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()[:32]


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def make_room(folder: Path, key: str) -> None:
    """Remove the sets least recently used until the others keep to MAX_BYTES. Never fails."""
    with contextlib.suppress(OSError):
        mine = folder / key
        mine.mkdir(parents=True, exist_ok=True)
        os.utime(mine)
        others = sorted(
            (entry.stat().st_mtime_ns, entry.path, _bytes_in(entry.path))
            for entry in os.scandir(folder)
            if entry.is_dir() and entry.name != key and len(entry.name) == len(key)
        )
        total = sum(size for _, _, size in others) + _bytes_in(str(mine))
        for _, path, size in others:
            if total <= MAX_BYTES // 2:
                break
            shutil.rmtree(path, ignore_errors=True)
            total -= size


def _bytes_in(folder: str) -> int:
    return sum(entry.stat().st_size for entry in os.scandir(folder))


class PictureCache:
    """One process's view of a set's cached pictures. Failing to read or keep one is no error."""

    def __init__(
        self, folder: Path, key: str, count: int, limit: int = MAX_BYTES, *, mapped: bool = False
    ) -> None:
        """Open or begin the cache of a set.

        folder  where all sets' caches are
        key     from `identity`
        count   pictures in the set
        limit   bytes that the file of pixels may reach
        mapped  hand out memory maps of the file and not copies: quicker, and shared by processes
        """
        self._limit = limit
        self._mapped = mapped
        self._map: U8 = np.empty(0, np.uint8)
        self._full = False
        self._checked = bytearray(count)
        self._pixels = self._index = -1
        try:
            place = folder / key
            place.mkdir(parents=True, exist_ok=True)
            self._pixels = _open(place / "pixels")
            self._index = _open(place / "index")
            if os.fstat(self._index).st_size < count * _ENTRY.size:
                os.ftruncate(self._index, count * _ENTRY.size)
        except OSError:
            self.close()

    def close(self) -> None:
        """Let go of the files."""
        for descriptor in (self._pixels, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._pixels = self._index = -1

    def get(self, number: int) -> U8 | None:
        """Picture `number`, (h, w, 3) uint8, or None when it is not there whole."""
        if self._index < 0:
            return None
        try:
            entry = os.pread(self._index, _ENTRY.size, number * _ENTRY.size)
            if len(entry) < _ENTRY.size:
                return None
            offset, height, width, crc = _ENTRY.unpack(entry)
            if height <= 0 or width <= 0 or offset < 0:
                return None
            if offset + height * width * 3 > os.fstat(self._pixels).st_size:
                return None  # a torn entry
            picture = self._read(offset, height, width)
            if picture is None:
                return None
        except (OSError, ValueError):
            return None
        if not self._checked[number]:
            if _crc(offset, picture) != crc:
                return None
            self._checked[number] = 1
        return picture

    def _read(self, offset: int, height: int, width: int) -> U8 | None:
        """What lies there, or None when the file ends before."""
        length = height * width * 3
        if self._mapped:
            if len(self._map) < offset + length:  # the file has grown
                self._map = np.frombuffer(
                    mmap.mmap(self._pixels, 0, access=mmap.ACCESS_READ), np.uint8
                )
            return self._map[offset : offset + length].reshape(height, width, 3)
        picture = np.empty((height, width, 3), np.uint8)
        whole = os.preadv(self._pixels, [picture.data], offset) == picture.nbytes
        return picture if whole else None

    def put(self, number: int, picture: U8) -> None:
        """Keep a picture, unless the cache or the disk is full."""
        if self._index < 0 or self._full:
            return
        picture = np.ascontiguousarray(picture)
        try:
            offset = self._allocate(picture.nbytes)
            if offset is None:
                self._full = True
                return
            written = os.pwrite(self._pixels, picture.data, offset)
            if written == picture.nbytes:
                height, width = picture.shape[:2]
                entry = _ENTRY.pack(offset, height, width, _crc(offset, picture))
                os.pwrite(self._index, entry, number * _ENTRY.size)
                self._checked[number] = 1
        except OSError:  # no space: the bake goes on without
            self._full = True

    def _allocate(self, length: int) -> int | None:
        fcntl.flock(self._pixels, fcntl.LOCK_EX)
        try:
            disk = os.fstatvfs(self._pixels)
            end = os.fstat(self._pixels).st_size
            if end + length > self._limit:
                return None
            if disk.f_bavail * disk.f_frsize < KEEP_FREE + length:
                return None
            os.ftruncate(self._pixels, end + length)
            return end
        finally:
            fcntl.flock(self._pixels, fcntl.LOCK_UN)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _crc(offset: int, picture: U8) -> int:
    sides = struct.pack("<qii", offset, *picture.shape[:2])
    return zlib.crc32(picture.reshape(-1).data, zlib.crc32(sides))
