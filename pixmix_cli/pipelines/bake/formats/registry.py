"""The layouts that a baked set can have."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.rows import Row, has_its_length
from pixmix_cli.pipelines.bake.formats.base import ShardWriter, encoded
from pixmix_cli.pipelines.bake.formats.imagefolder import FolderShard, picture_path
from pixmix_cli.pipelines.bake.formats.npy import NpyShard, _StoredArrays, part_path
from pixmix_cli.pipelines.bake.formats.parquet import ParquetShard, parquet_row, parquet_rows
from pixmix_cli.pipelines.bake.formats.webdataset import StreamShard, TarShard, tar_members
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, Task
from pixmix_cli.storage.files import (
    Tmp,
    read_bytes,
)
from pixmix_cli.storage.tar import BLOCK, members


def shard_writer(job: BakeJob, tmp: Tmp, task: Task, classes: Sequence[str]) -> ShardWriter:
    """The writer for the job's format."""
    if job.stream:
        return StreamShard(job, task)
    if job.format == "webdataset":
        return TarShard(job, tmp, task)
    if job.format == "parquet":
        return ParquetShard(job, tmp, task, classes)
    if job.format == "imagefolder":
        return FolderShard(job, tmp, task)
    return NpyShard(job, tmp, task)


def check_available(job: BakeJob) -> None:
    """Refuse a format whose library is not installed. Raises InputError."""
    if job.format == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise InputError(
                "writing Parquet files needs pyarrow", "pip install 'pixmix[parquet]'"
            ) from None


def estimated_size(job: BakeJob, baked: Baked) -> int:
    """Bytes that one sample takes in the job's format."""
    if job.format == "npy":
        return baked.pixels.nbytes + 8
    if job.format == "imagefolder":
        return len(encoded(job, baked))
    if job.format == "parquet":
        row = parquet_row(job, baked, "")
        return len(row["image"]["bytes"]) + len(str(row["key"])) + len(row.get("draws", "")) + 40
    sizes = [len(data) for data in tar_members(job, baked, "").values()]
    return sum(BLOCK + -(-size // BLOCK) * BLOCK for size in sizes)


def artefact_path(job: BakeJob, copy: Copy, shard: int, sample: Sample) -> str:
    """The file of the output in which a sample's copy lies."""
    if job.format in ("webdataset", "parquet"):
        extension = {"webdataset": "tar"}.get(job.format, job.format)
        return f"{copy.folder}/{shard:06d}.{extension}"
    if job.format == "imagefolder":
        return picture_path(job, sample, copy)
    return f"{copy.folder}/images.npy"


def parts(job: BakeJob, baked: Baked, class_name: str, place: int) -> dict[str, bytes]:
    """Name -> bytes of all that a sample's copy puts into its file, as `stored_parts` reads it.

    place  the sample's place in the copy's order
    """
    if job.format == "webdataset":
        return tar_members(job, baked, class_name)
    if job.format == "parquet":
        row = parquet_row(job, baked, class_name)
        name = row["image"]["path"]
        return {name: row["image"]["bytes"], f"{name}: label": str(row["label"]).encode()}
    if job.format == "imagefolder":
        return {"the picture": encoded(job, baked)}
    label = struct.pack("<q", baked.sample.label)
    return {f"picture {place}": baked.pixels.tobytes(), f"label {place}": label}


def stored_parts(path: Path) -> Mapping[str, bytes]:
    """What lies in a file: its parts by name. Raises StorageError, OSError or ValueError."""
    if path.suffix == ".tar":
        with path.open("rb") as file:
            found = {}
            for member in members(path):
                file.seek(member.offset)
                found[member.name] = file.read(member.length)
        return found
    if path.suffix == ".npy":
        return _StoredArrays(path)
    if path.suffix == ".parquet":
        found = {}
        for row in parquet_rows(path):
            name = row["image"]["path"]
            found[name] = row["image"]["bytes"]
            found[f"{name}: label"] = str(row["label"]).encode()
        return found
    return {"the picture": read_bytes(path)}


def is_in_place(output: Path, row: Row) -> bool:
    """Whether the artefact that a row tells of is still there, whole."""
    path = output / row["path"]
    if path.suffix != ".npy":
        whole = has_its_length(output, row)
        return whole and ("idx_sha256" not in row or path.with_suffix(".idx").is_file())
    if path.exists():  # joined already: the row tells of a slice of it
        return path.stat().st_size >= row["bytes"] and path.with_name("labels.npy").exists()
    part = part_path(output, Copy.from_code(row["copy"]), row["shard"])
    return has_its_length(output, {**row, "path": part.relative_to(output)})
