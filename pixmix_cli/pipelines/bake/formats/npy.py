"""NumPy arrays: images.npy and labels.npy of each copy, joined from slices."""

from __future__ import annotations

import contextlib
import io
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.rows import META, Row
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Task
from pixmix_cli.storage.files import (
    PartialFile,
    Tmp,
    commit_all,
    partial_files,
    sha256_hex,
)


class NpyShard:
    """A slice of `copy-000/images.npy` and `labels.npy`, kept apart until all slices are there."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: Task) -> None:
        """Open the partial slices."""
        self._task = task
        self._images: dict[Copy, PartialFile] = {}
        self._labels: dict[Copy, PartialFile] = {}
        self._counts = dict.fromkeys(task.copies, 0)
        for copy in task.copies:
            final = part_path(job.output, copy, task.shard)
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
            {
                "bytes": self._images[copy].bytes,
                "copy": copy.code,
                "count": self._counts[copy],
                "labels_sha256": self._labels[copy].sha256,
                "path": f"{copy.folder}/images.npy",
                "sha256": self._images[copy].sha256,
                "shard": self._task.shard,
            }
            for copy in self._task.copies
        ]

    def discard(self) -> None:
        """Remove the partial slices."""
        for file in (*self._images.values(), *self._labels.values()):
            file.discard()


def part_path(output: Path, copy: Copy, shard: int) -> Path:
    """Where a slice of a copy's pictures waits; its labels are beside it, as .labels."""
    return output / META / "parts" / copy.folder / f"{shard:06d}.images"


def merge(output: Output, size: int) -> list[Row]:
    """Join the slices of every copy into images.npy and labels.npy.

    The slices stay until the output is finished, so this can simply be done again after a kill.

    size     side of a picture, pixels
    returns  a record for each array written
    """
    output.refresh()
    rows: dict[Copy, dict[int, Row]] = {}
    for row in output.rows():
        if "error" not in row:
            rows.setdefault(Copy.from_code(row["copy"]), {})[row["shard"]] = row
    records = []
    for copy, slices in sorted(rows.items(), key=lambda item: item[0].code):
        parts = [part_path(output.path, copy, shard) for shard in sorted(slices)]
        if not all(part.exists() for part in parts):
            continue  # joined by an earlier run
        count = sum(row["count"] for row in slices.values())
        with new_arrays(output, copy, count, size) as (pictures, labels):
            for part in parts:
                _append(output.at_hand(part), pictures)
                _append(output.at_hand(part.with_suffix(".labels")), labels)
        for file in (pictures, labels):
            path = f"{copy.folder}/{file.final.name}"
            records.append(
                {"bytes": file.bytes, "copy": copy.code, "path": path, "sha256": file.sha256}
            )
    return records


@contextlib.contextmanager
def new_arrays(output: Output, copy: Copy, count: int, size: int) -> Iterator[list[PartialFile]]:
    """images.npy and labels.npy of a copy, with their headers; in place when the block ends."""
    folder = output.path / copy.folder
    finals = [folder / "images.npy", folder / "labels.npy"]
    with partial_files(finals, output.tmp) as files:
        for file, header in zip(files, npy_headers(count, size)):
            file.write(header)
        yield files


def _append(part: Path, file: PartialFile) -> None:
    with part.open("rb") as source:
        while block := source.read(1 << 22):
            file.write(block)


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
    """A copy's arrays as parts by name, read one at a time."""

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


def npy_slices(rows: list[Row]) -> list[tuple[int, Row]]:
    """(first picture, row) of the slices of one copy's arrays, in order."""
    first = 0
    placed = []
    for row in sorted(rows, key=lambda row: row["shard"]):
        placed.append((first, row))
        first += row["count"]
    return placed


def sha256_of_array(array: np.ndarray) -> str:
    """SHA-256 of an array's bytes in C order."""
    return sha256_hex(array.tobytes())
