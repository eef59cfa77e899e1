"""Long arrays in one file, each block with a checksum: read where asked, never whole.

A memory map would do as well but for three things: what is read at random places stays in the
process's memory, 64 KB for each place; a file that is cut short ends the process (SIGBUS); and a
damaged number would be used without a word.

    arrays, one after the other     in blocks of BLOCK bytes
    a CRC for each block            4 bytes each
    JSON                            {"arrays": {name: [type, first byte, length]}, "about": ...}
    an end of fixed length          lengths of the two above, CRC over both, MAGIC
"""

from __future__ import annotations

import array
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from pixmix_cli.errors import StorageError
from pixmix_cli.storage.files import PartialFile, Tmp
from pixmix_cli.storage.inside import open_file

BLOCK = 4096  # bytes that are read and checked together
KEPT = 64  # blocks that are kept, since the next number is often in the same
MAGIC = b"pixmix-1"
_END = struct.Struct("<QQI8s")


def write_arrays(
    path: Path, tmp: Tmp, arrays: Mapping[str, tuple[str, Iterable[bytes | memoryview]]], about: Any
) -> None:
    """Write the file whole or not at all.

    arrays   name -> (type code of `array.array`, pieces of the array)
    about    what JSON can hold
    raises   StorageError
    """
    file = PartialFile(path, tmp)
    try:
        crcs = array.array("I")
        places: dict[str, list[Any]] = {}
        total, rest = 0, b""
        for name, (code, pieces) in arrays.items():
            first = total
            for piece in pieces:
                data = rest + piece
                total += len(data) - len(rest)
                whole = len(data) // BLOCK * BLOCK
                crcs.extend(
                    zlib.crc32(data[start : start + BLOCK]) for start in range(0, whole, BLOCK)
                )
                file.write(data[:whole])
                rest = data[whole:]
            places[name] = [code, first, total - first]
        if rest:
            crcs.append(zlib.crc32(rest))
            file.write(rest)
        table = crcs.tobytes()
        text = json.dumps({"arrays": places, "order": sys.byteorder, "about": about}).encode()
        crc = zlib.crc32(text, zlib.crc32(table))
        file.write(table + text + _END.pack(len(table), len(text), crc, MAGIC))
        file.commit()
    except BaseException:
        file.discard()
        raise


class Blocks:
    """Such a file, open to be read.

    about   what `write_arrays` was given
    """

    def __init__(self, path: Path) -> None:
        """Open it. Raises ValueError for one that is not whole; OSError, InputError for a link."""
        self._path = path
        self._file = open_file(path, os.O_RDONLY)
        try:
            size = os.fstat(self._file).st_size
            tail = os.pread(self._file, _END.size, max(0, size - _END.size))
            if len(tail) < _END.size:
                raise ValueError("too short")
            table, text, crc, magic = _END.unpack(tail)
            self._length = size - _END.size - table - text
            if magic != MAGIC or self._length < 0 or -(-self._length // BLOCK) * 4 != table:
                raise ValueError("no end")
            data = _read(self._file, self._length, table + text)
            if zlib.crc32(data) != crc:
                raise ValueError("damaged")
            self._crcs = array.array("I", data[:table])
            told = json.loads(data[table:])
            if told["order"] != sys.byteorder:
                raise ValueError("of another kind of processor")
            self.about = told["about"]
            self._arrays = told["arrays"]
        except BaseException:
            os.close(self._file)
            raise
        self._kept: dict[int, bytes] = {}

    def __del__(self) -> None:
        """Close the file."""
        if hasattr(self, "_kept"):
            os.close(self._file)

    def __contains__(self, name: str) -> bool:
        """Whether it has an array of that name."""
        return name in self._arrays

    def __getitem__(self, name: str) -> Numbers:
        """One of its arrays. Raises KeyError."""
        code, first, length = self._arrays[name]
        return Numbers(self, code, first, length)

    def get(self, name: str) -> Numbers | None:
        """One of its arrays; None where it has none of that name."""
        return self[name] if name in self._arrays else None

    def read(self, first: int, length: int) -> bytes:
        """Some bytes of the arrays. Raises StorageError: they are damaged, or the disk fails."""
        begin, end = first // BLOCK, -(-(first + length) // BLOCK)
        if end - begin <= 2:
            data = b"".join(map(self._block, range(begin, end)))
        else:
            data = self._checked(begin, end)
        return data[first - begin * BLOCK :][:length]

    def _block(self, number: int) -> bytes:
        kept = self._kept.get(number)
        if kept is None:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            kept = self._kept[number] = self._checked(number, number + 1)
        return kept

    def _checked(self, begin: int, end: int) -> bytes:
        """Whole blocks, each checked."""
        start = begin * BLOCK
        try:
            data = _read(self._file, start, min(end * BLOCK, self._length) - start)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self._path), "reading") from error
        except ValueError as error:  # it was cut short
            raise self._damaged() from error
        for number in range(begin, end):
            place = number * BLOCK - start
            if zlib.crc32(data[place : place + BLOCK]) != self._crcs[number]:
                raise self._damaged()
        return data

    def _damaged(self) -> StorageError:
        return StorageError(
            f"{self._path} is damaged", f"rm '{self._path}', then the same command again"
        )


def _read(descriptor: int, first: int, length: int) -> bytes:
    data = os.pread(descriptor, length, first)
    while len(data) < length:
        more = os.pread(descriptor, length - len(data), first + len(data))
        if not more:
            raise ValueError("cut short")
        data += more
    return data


class Numbers(Sequence[int]):
    """An array in such a file: a part is read when it is asked for."""

    def __init__(self, blocks: Blocks, code: str, first: int, length: int) -> None:
        """The array of this type code that begins at byte `first`; length in bytes."""
        self._blocks = blocks
        self._code = code
        self._first = first
        self._item = array.array(code).itemsize
        self._count = length // self._item

    def __len__(self) -> int:
        """How many."""
        return self._count

    @overload
    def __getitem__(self, index: int) -> int: ...

    @overload
    def __getitem__(self, index: slice) -> array.array[int]: ...

    def __getitem__(self, index: int | slice) -> int | array.array[int]:
        """One of them, or some. Raises StorageError where they are damaged."""
        if isinstance(index, slice):
            start, stop, step = index.indices(self._count)
            if step != 1:
                return array.array(self._code, (self[i] for i in range(start, stop, step)))
            length = max(0, stop - start) * self._item
            return array.array(
                self._code, self._blocks.read(self._first + start * self._item, length)
            )
        place = index + self._count if index < 0 else index
        if not 0 <= place < self._count:
            raise IndexError(index)
        item = self._blocks.read(self._first + place * self._item, self._item)
        return array.array(self._code, item)[0]

    def tolist(self) -> list[int]:
        """All of them."""
        return self[:].tolist()

    def bytes(self, start: int, stop: int) -> bytes:
        """Of an array of bytes, those from start to stop."""
        return self._blocks.read(self._first + start, stop - start)
