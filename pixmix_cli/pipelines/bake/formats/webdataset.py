"""WebDataset: tars of samples, each sample's members adjacent."""

from __future__ import annotations

import io
import json

from pixmix_cli.outputs.rows import Row
from pixmix_cli.pipelines.bake.formats.base import draws_of, encoded, sample_key
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Task
from pixmix_cli.storage import images
from pixmix_cli.storage.files import (
    PartialFile,
    Tmp,
    canonical_json,
    commit_all,
)
from pixmix_cli.storage.tar import BLOCK, TarWriter


def sample_record(job: BakeJob, baked: Baked, class_name: str) -> Row:
    """What a sample's .json says: where it comes from and every decision that made it.

    `draws` is JSON inside a string: `datasets` gives every column one Arrow type, guessed from the
    first five samples, and fails on nested lists that are sometimes empty.
    """
    record = {
        "class": class_name,
        "copy": baked.copy.number,
        "draws": canonical_json(draws_of(baked)),
        "key": baked.sample.ref.name,
        "label": baked.sample.label,
    }
    if baked.copy.plain:
        record["plain"] = True
    if job.equal == "pad":  # in every record, as `datasets` wants the same fields in all
        record["pad"] = baked.sample.pad
    return record


def tar_members(job: BakeJob, baked: Baked, class_name: str) -> dict[str, bytes]:
    """Name -> bytes of a sample's members, in their order in the tar."""
    key = sample_key(baked.sample)
    found = {
        f"{key}.{images.FORMATS[job.image_format]}": encoded(job, baked),
        f"{key}.cls": str(baked.sample.label).encode(),
    }
    if job.with_json:
        found[f"{key}.json"] = canonical_json(sample_record(job, baked, class_name)).encode()
    return found


# First word of the index that NVIDIA DALI's webdataset reader takes, as its wds2idx tool writes
# it. Then the number of samples, and for each a line: its members' extension, offset, length, name.
DALI_INDEX = "v1.2"


class TarShard:
    """One WebDataset tar a copy: `000000123.jpg`, `.cls` and `.json`, members of a sample adjacent.

    The key is the sample's index in the source, so it has no dots, quotes or spaces, whatever the
    file was called; the .json tells the original name.
    """

    def __init__(self, job: BakeJob, tmp: Tmp, task: Task) -> None:
        """Open one partial tar a copy."""
        self._job = job
        self._task = task
        self._files: dict[Copy, PartialFile] = {}
        self._indexes: dict[Copy, PartialFile] = {}
        self._lines: dict[Copy, list[str]] = {copy: [] for copy in task.copies}
        for copy in task.copies:
            final = job.output / copy.folder / f"{task.shard:06d}.tar"
            self._files[copy] = PartialFile(final, tmp)
            if job.dali_index:
                self._indexes[copy] = PartialFile(final.with_suffix(".idx"), tmp)
        self._count = 0

    def add(self, baked: Baked, class_name: str) -> None:
        """Append a sample to its copy's tar."""
        file = self._files[baked.copy]
        found = tar_members(self._job, baked, class_name)
        if self._job.dali_index:
            place, line = file.bytes + BLOCK, []
            for name, data in found.items():
                line.append(f"{name.partition('.')[2]} {place} {len(data)} {name}")
                place += len(data) + -len(data) % BLOCK + BLOCK
            self._lines[baked.copy].append(" ".join(line))
        TarWriter(file).add_all(found.items())
        self._count += 1

    def commit(self) -> list[Row]:
        """End the tars and put them in place."""
        for file in self._files.values():
            TarWriter(file).finish()
        for copy, file in self._indexes.items():
            lines = [f"{DALI_INDEX} {len(self._lines[copy])}", *self._lines[copy]]
            file.write("".join(f"{line}\n" for line in lines).encode())
        commit_all([*self._files.values(), *self._indexes.values()])
        rows = []
        for copy, file in self._files.items():
            row = {
                "bytes": file.bytes,
                "copy": copy.code,
                "count": self._count // len(self._files),
                "path": f"{copy.folder}/{self._task.shard:06d}.tar",
                "sha256": file.sha256,
                "shard": self._task.shard,
            }
            if self._job.dali_index:
                row["idx_sha256"] = self._indexes[copy].sha256
            rows.append(row)
        return rows

    def discard(self) -> None:
        """Remove the partial tars."""
        for file in (*self._files.values(), *self._indexes.values()):
            file.discard()


class StreamShard:
    """A piece of the tar that goes to stdout, kept in memory until its turn comes.

    All copies are in one tar, so a sample's key tells the copy too: `copy-000/000000123`.
    """

    def __init__(self, job: BakeJob, task: Task) -> None:
        """Start with nothing."""
        self._job = job
        self._data = io.BytesIO()
        self._count = 0

    def add(self, baked: Baked, class_name: str) -> None:
        """Append a sample."""
        found = tar_members(self._job, baked, class_name)
        folder = baked.copy.folder
        TarWriter(self._data).add_all((f"{folder}/{name}", data) for name, data in found.items())
        self._count += 1

    def commit(self) -> list[Row]:
        """The bytes, in a row of their own."""
        return [{"count": self._count, "data": self._data.getvalue()}]

    def discard(self) -> None:
        """Nothing is left behind."""


def read_record(data: bytes) -> Row:
    """A sample's .json member."""
    record: Row = json.loads(data)
    return record
