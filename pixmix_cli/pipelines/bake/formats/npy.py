"""NumPy arrays: images.npy and labels.npy of each copy, joined from slices."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixmix_cli.errors import InputError
from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.outputs.file_names import META
from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import BakedSlice, Row, SkippedSample, has_its_length
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines.bake.formats.base import (
    MAX_COPIES,
    SHARD_RANGE,
    Format,
    Record,
    ShardWriter,
    Shown,
    even_shards,
)
from pixmix_cli.pipelines.bake.formats.reading import U8, CopyReader, Files
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, ShardTask
from pixmix_cli.pipelines.checks import Expected, Finding
from pixmix_cli.storage.files import PartialFile, Tmp, commit_all, partial_files, sha256_hex

ARRAYS = ("images.npy", "labels.npy")
LABEL_BYTES = 8
SLICE_BYTES = 16 << 20  # of one array that a task may make
GOOD_SLICE_COUNT = 16
BLOCK = 1 << 18  # bytes copied at a time, by way of memory that stays in a core's cache


class NpyShard:
    """A slice of `copy-000/images.npy` and `labels.npy`, kept apart until all slices are there."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: ShardTask) -> None:
        """Open the partial slices."""
        self._task = task
        self._images: dict[Copy, PartialFile] = {}
        self._labels: dict[Copy, PartialFile] = {}
        self._counts = dict.fromkeys(task.copies, 0)
        for copy in task.copies:
            final = slice_path(job.output, copy, task.shard)
            self._images[copy] = PartialFile(final, tmp)
            self._labels[copy] = PartialFile(final.with_suffix(".labels"), tmp)

    def add(self, baked: Baked, class_name: str) -> None:
        """Append a picture and its label."""
        self._images[baked.copy].write(baked.pixels.tobytes())
        self._labels[baked.copy].write(struct.pack("<q", baked.sample.label))
        self._counts[baked.copy] += 1

    def add_many(self, copy: Copy, pixels: np.ndarray, labels: np.ndarray) -> None:
        """Append pictures of one copy, (m, h, w, 3) uint8, and their labels, (m,) "<i8"."""
        self._images[copy].write(pixels.reshape(-1).data)
        self._labels[copy].write(labels.tobytes())
        self._counts[copy] += len(labels)

    def commit(self) -> list[Row]:
        """Put the slices in place."""
        commit_all([*self._images.values(), *self._labels.values()])
        return [
            BakedSlice(
                path=f"{copy.folder}/{ARRAYS[0]}",
                bytes=self._images[copy].bytes,
                sha256=self._images[copy].sha256,
                copy=copy.code,
                shard=self._task.shard,
                count=self._counts[copy],
                labels_sha256=self._labels[copy].sha256,
            )
            for copy in self._task.copies
        ]

    def discard(self) -> None:
        """Remove the partial slices."""
        for file in (*self._images.values(), *self._labels.values()):
            file.discard()


def slice_path(output: Path, copy: Copy, shard: int) -> Path:
    """Where a slice of a copy's pictures waits; its labels are beside it, as .labels."""
    return output / META / "parts" / copy.folder / f"{shard:06d}.images"


def join(output: Output) -> list[dict[str, Any]]:
    """Join the slices of every copy into images.npy and labels.npy.

    The slices stay until the output is finished, so this can simply be done again after a kill.

    returns  a record for each array written
    """
    output.refresh()
    rows: dict[Copy, dict[int, BakedSlice]] = {}
    for row in output.rows():
        if isinstance(row, BakedSlice):
            rows.setdefault(Copy.from_code(row.copy), {})[row.shard] = row
    records = []
    for copy, by_shard in sorted(rows.items(), key=lambda item: item[0].code):
        slices = [slice_path(output.path, copy, shard) for shard in sorted(by_shard)]
        if not all(file.exists() for file in slices):
            continue  # joined by an earlier run
        count = sum(row.count for row in by_shard.values())
        with new_arrays(output, copy, count, output.plan.options["size"]) as (pictures, labels):
            for file in slices:
                _append(output.at_hand(file), pictures)
                _append(output.at_hand(file.with_suffix(".labels")), labels)
        for array in (pictures, labels):
            path = f"{copy.folder}/{array.final.name}"
            records.append(
                {"bytes": array.bytes, "copy": copy.code, "path": path, "sha256": array.sha256}
            )
    return records


@contextlib.contextmanager
def new_arrays(output: Output, copy: Copy, count: int, size: int) -> Iterator[list[PartialFile]]:
    """images.npy and labels.npy of a copy, with their headers; in place when the block ends."""
    folder = output.path / copy.folder
    finals = [folder / name for name in ARRAYS]
    with partial_files(finals, output.tmp) as files:
        for file, header in zip(files, npy_headers(count, size)):
            file.write(header)
        yield files


def _append(piece: Path, file: PartialFile) -> None:
    block = memoryview(bytearray(BLOCK))
    with piece.open("rb", buffering=0) as source:
        while length := source.readinto(block):
            file.write(block[:length])


def npy_headers(count: int, size: int) -> tuple[bytes, bytes]:
    """The bytes before the pictures, (count, size, size, 3) uint8, and before the labels, int64."""
    headers = []
    for shape, dtype in (((count, size, size, 3), np.dtype("u1")), ((count,), np.dtype("<i8"))):
        header = io.BytesIO()
        description = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, description)
        headers.append(header.getvalue())
    return headers[0], headers[1]


class _StoredArrays(Mapping[str, bytes]):
    """A copy's arrays as fields by name, read one at a time."""

    def __init__(self, path: Path) -> None:
        self._arrays = {
            "picture": np.load(path, mmap_mode="r", allow_pickle=False),
            "label": np.load(path.with_name("labels.npy"), mmap_mode="r", allow_pickle=False),
        }

    def __getitem__(self, name: str) -> bytes:
        kind, _, place = name.partition(" ")
        try:
            return self._arrays[kind][int(place)].tobytes()
        except IndexError:
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return (f"{kind} {i}" for kind in self._arrays for i in range(len(self._arrays[kind])))

    def __len__(self) -> int:
        return sum(len(array) for array in self._arrays.values())


class ArrayReader:
    """The pictures of every copy, by their places in its array."""

    def __init__(self, folder: Path, rows: Iterable[BakedSlice], size: int) -> None:
        """Read the labels."""
        counts: dict[int, int] = {}
        for row in rows:
            counts[row.copy] = counts.get(row.copy, 0) + row.count
        self._shape = (size, size, 3)
        self._header: dict[str, bytes] = {}
        lengths: dict[str, int] = {}
        for code, count in counts.items():
            for name, header, each in zip(ARRAYS, npy_headers(count, size), self._each):
                path = f"{Copy.from_code(code).folder}/{name}"
                self._header[path] = header
                lengths[path] = len(header) + count * each
        self._files = Files(folder, lengths)
        self._seen: set[str] = set()
        first = next(iter(lengths))
        data = self._data(first.replace(*ARRAYS), 0, None)
        self.labels = np.frombuffer(data, "<i8").astype(np.int64)
        self.indices = np.array(list(itertools.islice(_baked(folder), len(self.labels))), np.int64)

    @property
    def _each(self) -> tuple[int, int]:
        return math.prod(self._shape), LABEL_BYTES

    def picture(self, copy: str, number: int) -> tuple[str, bytes | U8]:
        """One sample of a copy."""
        each, _ = self._each
        data = self._data(f"{copy}/{ARRAYS[0]}", number * each, each)
        return copy, np.frombuffer(data, np.uint8).reshape(self._shape)

    def _data(self, path: str, offset: int, length: int | None) -> bytes:
        """Some bytes of an array, or all of them."""
        header = self._header[path]
        if path not in self._seen:
            if self._files.read(path, 0, len(header)) != header:
                raise self._files.damaged(path, "it is not the array that was written")
            self._seen.add(path)
        if length is None:
            return self._files.read(path)[len(header) :]
        return self._files.read(path, len(header) + offset, length)


def _baked(folder: Path) -> Iterator[int]:
    """The indices of the source's samples, without those that were left out."""
    skipped = {
        row.index
        for row in committed_rows(folder)
        if isinstance(row, SkippedSample) and row.shard >= 0
    }
    return (index for index in itertools.count() if index not in skipped)


class Placed(NamedTuple):
    """A slice of one copy's arrays: its row, and where its bytes lie in the two files."""

    row: BakedSlice
    first: int  # its first picture
    places: tuple[slice, slice]  # in images.npy and labels.npy, bytes


def placed(rows: Iterable[BakedSlice], size: int) -> list[Placed]:
    """The slices of one copy, in their order in its arrays.

    size  side of a picture, pixels
    """
    in_order = sorted(rows, key=lambda row: row.shard)
    headers = npy_headers(sum(row.count for row in in_order), size)
    found, first = [], 0
    for row in in_order:
        places = [
            slice(len(header) + first * each, len(header) + (first + row.count) * each)
            for header, each in zip(headers, (size * size * 3, LABEL_BYTES))
        ]
        found.append(Placed(row, first, (places[0], places[1])))
        first += row.count
    return found


class NpyArrays(Format[BakedSlice]):
    """Two arrays a copy: the whole of it in memory, or mapped."""

    name = "npy"
    suffixes = (".npy",)
    file_pattern = r"(images|labels)\.npy"
    encoded = False
    joined = True
    size_is_option = True
    training = """\
import glob
import numpy as np

def read(epoch):
    folders = sorted(glob.glob("copy-*"))
    folder = folders[epoch % len(folders)]
    images = np.load(folder + "/images.npy", mmap_mode="r")  # (n, h, w, 3) uint8
    return images, np.load(folder + "/labels.npy")  # (n,) int64
"""

    def default_shard_size(self, samples: int, config: PixMixConfig) -> int:
        """Slices that nobody sees are to be worth their files when pictures are small."""
        low, high = SHARD_RANGE
        most = max(high, SLICE_BYTES // (config.size**2 * 3))
        return even_shards(samples, GOOD_SLICE_COUNT, (low, most))

    def writer(
        self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]
    ) -> ShardWriter:
        """A slice of every copy."""
        return NpyShard(job, tmp, task)

    def path(self, job: BakeJob, copy: Copy, shard: int, sample: Sample) -> str:
        """The pictures' array."""
        return f"{copy.folder}/{ARRAYS[0]}"

    def names(self, job: BakeJob, task: ShardTask) -> list[str]:
        """None: slices lie apart, and the arrays have rows before they are joined."""
        return []

    def is_in_place(self, output: Path, row: BakedSlice) -> bool:
        """The slice, or where it is joined already, the arrays that hold it."""
        path = output / row.path
        if path.exists():
            return path.stat().st_size >= row.bytes and path.with_name(ARRAYS[1]).exists()
        file = slice_path(output, Copy.from_code(row.copy), row.shard)
        return has_its_length(output, replace(row, path=file.relative_to(output).as_posix()))

    def join(self, output: Output) -> list[dict[str, Any]]:
        """Every copy's arrays, from its slices."""
        return join(output)

    def estimated_size(self, job: BakeJob, baked: Baked) -> int:
        """The pixels and the label."""
        return baked.pixels.nbytes + LABEL_BYTES

    def fields(
        self, job: BakeJob, baked: Baked, class_name: str, place: int
    ) -> Mapping[str, bytes]:
        """The pixels and the label, at their place."""
        label = struct.pack("<q", baked.sample.label)
        return {f"picture {place}": baked.pixels.tobytes(), f"label {place}": label}

    def stored_fields(self, path: Path) -> Mapping[str, bytes]:
        """Every picture and label, by its place."""
        return _StoredArrays(path)

    def check(self, folder: Path, rows: Sequence[BakedSlice], expected: Expected) -> Iterator[str]:
        """Shapes, and the hash of every slice."""
        path = folder / rows[0].path
        if not path.is_file():
            yield "is missing"
            return
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
        labels = np.load(path.with_name(ARRAYS[1]), allow_pickle=False)
        count, size = sum(row.count for row in rows), expected.size
        if pictures.shape != (count, size, size, 3) or labels.shape != (count,):
            yield f"has shapes {pictures.shape} and {labels.shape}, {count} pictures expected"
            return
        for row, first, _ in placed(rows, pictures.shape[1]):
            these = slice(first, first + row.count)
            if sha256_hex(pictures[these].tobytes()) != row.sha256:
                yield f"pictures {these.start} to {these.stop - 1} are not what was written"
            if sha256_hex(labels[these].tobytes()) != row.labels_sha256:
                yield f"labels {these.start} to {these.stop - 1} are not what was written"

    def to_bake_again(
        self, output: Path, rows: Sequence[BakedSlice], wrong: set[str], size: int
    ) -> list[BakedSlice]:
        """Of the arrays that are wrong, the slices that are."""
        broken = []
        for copy in _copies_of(row for row in rows if row.path in wrong):
            folder = output / copy.folder
            for row, _, places in placed(_of(copy, rows), size):
                files = [folder / name for name in ARRAYS]
                hashes = tuple(map(_sha256_of_piece, files, places))
                if hashes != row.hashes:
                    broken.append(row)
        return broken

    def put_in_place(self, made: Path, output: Path, row: BakedSlice) -> None:
        """Slices are joined, not moved."""

    def join_again(
        self, output: Output, made: Path, rows: Sequence[BakedSlice], copies: Iterable[Copy]
    ) -> Iterator[Finding]:
        """Arrays anew: slices made again, and the others as they lie there."""
        size = output.plan.options["size"]
        for copy in copies:
            folder = output.path / copy.folder
            slices = placed(_of(copy, rows), size)
            count = sum(one.row.count for one in slices)
            with new_arrays(output, copy, count, size) as files:
                for row, _, places in slices:
                    pictures = slice_path(made, copy, row.shard)
                    again = (pictures, pictures.with_suffix(".labels"))
                    for file, name, where, fresh in zip(files, ARRAYS, places, again):
                        whole = slice(0, where.stop - where.start)
                        there = (fresh, whole) if fresh.exists() else (folder / name, where)
                        for block in _piece(*there):
                            file.write(block)
            yield Finding(f"{folder.name}/{ARRAYS[0]}", "written again", repaired=True)

    def reader(self, folder: Path, rows: Iterable[BakedSlice], size: int) -> CopyReader:
        """A stretch of an array a sample."""
        return ArrayReader(folder, rows, size)

    def shown(self, folder: Path, rows: Sequence[BakedSlice], count: int) -> Iterator[Shown]:
        """Samples of the augmented copies evenly spaced, in the order of the source."""
        files = sorted(folder.glob(f"copy-*/{ARRAYS[0]}"))[:MAX_COPIES]
        try:
            arrays = [np.load(file, mmap_mode="r", allow_pickle=False) for file in files]
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{folder} is damaged: {error}", f"pixmix verify {folder}") from None
        if not arrays:
            return
        length = min(len(array) for array in arrays)
        sources = list(itertools.islice(_baked(folder), length))
        for place in list(range(0, length, max(1, length // count)))[:count]:
            yield Shown(None, sources[place], [np.array(array[place]) for array in arrays])

    def records(
        self, folder: Path, rows: Iterable[BakedSlice], manifest: Manifest, most: int
    ) -> Iterator[Record]:
        """Labels alone, of one copy."""
        for file in sorted(folder.glob(f"copy-*/{ARRAYS[1]}"))[:1]:
            labels, counts = np.unique(np.load(file, allow_pickle=False), return_counts=True)
            for label, count in zip(labels.tolist(), counts.tolist()):
                yield Record("", 0, label, None, count)


def _of(copy: Copy, rows: Iterable[BakedSlice]) -> list[BakedSlice]:
    return [row for row in rows if row.copy == copy.code]


def _copies_of(rows: Iterable[BakedSlice]) -> list[Copy]:
    return [Copy.from_code(code) for code in sorted({row.copy for row in rows})]


def _piece(path: Path, where: slice) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(where.start)
        left = where.stop - where.start
        while left and (block := file.read(min(left, BLOCK))):
            left -= len(block)
            yield block


def _sha256_of_piece(path: Path, where: slice) -> str:
    digest = hashlib.sha256()
    for block in _piece(path, where):
        digest.update(block)
    return digest.hexdigest()


FORMAT = NpyArrays()
