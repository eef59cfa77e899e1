"""The layouts a baked set can have: WebDataset tars, ImageFolder, .npy arrays."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.mixing.config import PAPER_OPERATIONS
from pixmix_cli.pipelines.bake.job import PLAIN, BakeJob, Sample, Task
from pixmix_cli.storage import images
from pixmix_cli.storage.files import (
    PartialFile,
    Tmp,
    canonical_json,
    commit_all,
    partial_files,
    read_bytes,
    sha256_hex,
)
from pixmix_cli.storage.output import META, Output, Row, has_its_length
from pixmix_cli.storage.source import Source
from pixmix_cli.storage.tar import BLOCK, TarWriter, members

if TYPE_CHECKING:
    from pixmix_cli.pipelines.bake.run import Plan
    from pixmix_cli.pipelines.bake.worker import Baked


class ShardWriter(Protocol):
    """Takes a shard's pictures and commits them together."""

    def add(self, baked: Baked, class_name: str) -> None:
        """One picture of one copy."""

    def commit(self) -> list[Row]:
        """Put everything in place and say what there is: the journal's rows."""

    def discard(self) -> None:
        """Leave nothing behind."""


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


def copy_folder(copy: int) -> str:
    """Folder name of one copy: epoch e reads copy e mod N."""
    return f"plain-{copy - PLAIN:03d}" if copy >= PLAIN else f"copy-{copy:03d}"


def draws_of(baked: Baked) -> Row:
    """Every decision that made a picture, with the mixing picture's name where one was used."""
    draws = baked.draws.to_json()
    if baked.mixing is None:
        del draws["mixing"], draws["mixing_offset"]
    else:
        draws["mixing_picture"] = baked.mixing
    return draws


def sample_record(job: BakeJob, baked: Baked, class_name: str) -> Row:
    """What a sample's .json says: where it comes from and every decision that made it.

    `draws` is JSON inside a string: `datasets` gives every column one Arrow type, guessed from the
    first five samples, and fails on nested lists that are sometimes empty.
    """
    record = {
        "class": class_name,
        "copy": baked.copy % PLAIN,
        "draws": canonical_json(draws_of(baked)),
        "key": baked.sample.ref.name,
        "label": baked.sample.label,
    }
    if baked.copy >= PLAIN:
        record["plain"] = True
    if job.equal == "pad":  # in every record, as `datasets` wants the same fields in all
        record["pad"] = baked.sample.pad
    return record


def encoded(job: BakeJob, baked: Baked) -> bytes:
    """A picture in the job's image format."""
    return images.encode(baked.pixels, job.image_format, job.quality)


def sample_key(sample: Sample) -> str:
    """A sample's name in a tar, without extension."""
    return f"{sample.index:09d}" + (f"-pad{sample.pad}" if sample.pad else "")


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
        self._files: dict[int, PartialFile] = {}
        self._indexes: dict[int, PartialFile] = {}
        self._lines: dict[int, list[str]] = {copy: [] for copy in task.copies}
        for copy in task.copies:
            final = job.output / copy_folder(copy) / f"{task.shard:06d}.tar"
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
                "copy": copy,
                "count": self._count // len(self._files),
                "path": f"{copy_folder(copy)}/{self._task.shard:06d}.tar",
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


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes' folders, sorted as the labels are, since ImageFolder numbers them so.

    The class names themselves where they are names of folders and sorted; else with the label in
    front.
    """
    fit = all(
        name not in ("", ".", "..") and not set(name) & set("/\0") and not name.startswith(".")
        for name in classes
    )
    if fit and all(a < b for a, b in pairwise(classes)) and all(len(n) < 200 for n in classes):
        return tuple(classes)
    width = len(str(len(classes) - 1))
    cleaned = (name.replace("/", "_").replace("\0", "_")[:40].strip() for name in classes)
    numbers = (f"{label:0{width}d}" for label in range(len(classes)))
    return tuple(
        number if name in ("", label) else f"{number} {name}"
        for number, label, name in zip(numbers, map(str, range(len(classes))), cleaned)
    )


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
        folder = copy_folder(baked.copy)
        TarWriter(self._data).add_all((f"{folder}/{name}", data) for name, data in found.items())
        self._count += 1

    def commit(self) -> list[Row]:
        """The bytes, in a row of their own."""
        return [{"count": self._count, "data": self._data.getvalue()}]

    def discard(self) -> None:
        """Nothing is left behind."""


PARQUET_GROUP = 100  # samples a row group: what a reader decodes at once, and a writer holds


def check_available(job: BakeJob) -> None:
    """Refuse a format whose library is not installed. Raises InputError."""
    if job.format == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise InputError(
                "writing Parquet files needs pyarrow", "pip install 'pixmix[parquet]'"
            ) from None


def parquet_writer() -> dict[str, str]:
    """What writes Parquet files, for the settings: another version may differ in bytes."""
    import pyarrow

    return {"pyarrow": pyarrow.__version__}


def parquet_row(job: BakeJob, baked: Baked, class_name: str) -> Row:
    """One sample as a row of the Parquet file."""
    name = f"{sample_key(baked.sample)}.{images.FORMATS[job.image_format]}"
    row: Row = {
        "image": {"bytes": encoded(job, baked), "path": name},
        "label": baked.sample.label,
        "key": baked.sample.ref.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "copy": baked.copy % PLAIN,
    }
    if job.with_json:
        row["draws"] = canonical_json(draws_of(baked))
    if job.equal == "pad":
        row["pad"] = baked.sample.pad
    return row


def _parquet_schema(job: BakeJob, classes: Sequence[str]) -> Any:
    """Columns, and what Hugging Face `datasets` takes them for.

    source  datasets.Features, as `datasets` itself writes them into a Parquet file's metadata
    """
    import pyarrow as pa

    columns = {
        "image": pa.struct({"bytes": pa.binary(), "path": pa.string()}),
        "label": pa.int64(),
        "key": pa.string(),
        "copy": pa.int64(),
    }
    if job.with_json:
        columns["draws"] = pa.string()
    if job.equal == "pad":
        columns["pad"] = pa.int64()
    features: dict[str, Any] = {
        name: {"dtype": str(kind), "_type": "Value"} for name, kind in columns.items()
    }
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    told = json.dumps({"info": {"features": features}})
    return pa.schema(list(columns.items()), metadata={"huggingface": told})


class ParquetShard:
    """One Parquet file a copy: image {bytes, path}, label, key, copy and draws."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: Task, classes: Sequence[str]) -> None:
        """Open one partial file a copy."""
        self._job = job
        self._task = task
        self._classes = classes
        self._files: dict[int, PartialFile] = {}
        self._writers: dict[int, Any] = {}
        self._rows: dict[int, list[Row]] = {copy: [] for copy in task.copies}
        self._counts = dict.fromkeys(task.copies, 0)
        for copy in task.copies:
            final = job.output / copy_folder(copy) / f"{task.shard:06d}.parquet"
            self._files[copy] = PartialFile(final, tmp)

    def add(self, baked: Baked, class_name: str) -> None:
        """Keep a sample until its row group is whole."""
        copy = baked.copy
        self._rows[copy].append(parquet_row(self._job, baked, class_name))
        self._counts[copy] += 1
        if len(self._rows[copy]) == PARQUET_GROUP:
            self._write_group(copy)

    def _write_group(self, copy: int) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if copy not in self._writers:
            schema = _parquet_schema(self._job, self._classes)
            sink = pa.PythonFile(_ArrowSink(self._files[copy]), mode="w")
            # pictures are compressed already
            self._writers[copy] = pq.ParquetWriter(sink, schema, compression="none")
        writer = self._writers[copy]
        writer.write_table(pa.Table.from_pylist(self._rows[copy], schema=writer.schema))
        self._rows[copy] = []

    def commit(self) -> list[Row]:
        """End the files and put them in place."""
        for copy, rows in self._rows.items():
            if rows or copy not in self._writers:
                self._write_group(copy)
            self._writers[copy].close()
        commit_all(list(self._files.values()))
        return [
            {
                "bytes": file.bytes,
                "copy": copy,
                "count": self._counts[copy],
                "path": f"{copy_folder(copy)}/{self._task.shard:06d}.parquet",
                "sha256": file.sha256,
                "shard": self._task.shard,
            }
            for copy, file in self._files.items()
        ]

    def discard(self) -> None:
        """Remove the partial files."""
        for file in self._files.values():
            file.discard()


class _ArrowSink:
    """A PartialFile as pyarrow wants a file to write to."""

    def __init__(self, file: PartialFile) -> None:
        self._file = file
        self.closed = False

    def write(self, data: bytes) -> int:
        self._file.write(bytes(data))
        return len(data)

    def tell(self) -> int:
        return self._file.bytes

    def flush(self) -> None:
        """The file itself is flushed when it is committed."""

    def close(self) -> None:
        self.closed = True


def target_names(source: Source) -> list[str]:
    """Output name of every sample without extension, each once.

    `class/sub/name` of an ImageFolder; the whole file name where two differ in nothing but the
    extension or case; with the sample's index where even that is taken. `class/index` of any other
    source, whose names may lead anywhere.
    """
    if source.kind != "imagefolder":
        return [f"{source.classes[label]}/{index:09d}" for index, label in enumerate(source.labels)]
    full = [ref.name for ref in source.pictures]
    names = [str(PurePosixPath(name).with_suffix("")) for name in full]
    numbered = [f"{name}-{index}" for index, name in enumerate(full)]
    for longer in (full, numbered):
        # without regard to case, as some file systems compare names
        seen = Counter(name.casefold() for name in names)
        names = [
            name if seen[name.casefold()] == 1 else other for name, other in zip(names, longer)
        ]
    return names


def picture_path(job: BakeJob, sample: Sample, copy: int) -> str:
    """Where a loose picture lies in the output."""
    return f"{copy_folder(copy)}/{sample.target}.{images.FORMATS[job.image_format]}"


class FolderShard:
    """ImageFolder: `copy-000/<class>/<name>.jpg`, each picture a file."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: Task) -> None:
        """Nothing is open yet."""
        self._job = job
        self._tmp = tmp
        self._task = task
        self._files: list[PartialFile] = []
        self._rows: list[Row] = []

    def add(self, baked: Baked, class_name: str) -> None:
        """Write a picture under a temporary name."""
        job = self._job
        path = picture_path(job, baked.sample, baked.copy)
        file = PartialFile(job.output / path, self._tmp)
        file.write(encoded(job, baked))
        file.close()
        self._files.append(file)
        self._rows.append(
            {
                "bytes": file.bytes,
                "copy": baked.copy,
                "index": baked.sample.index,
                "key": baked.sample.ref.name,
                "label": baked.sample.label,
                "path": path,
                "sha256": file.sha256,
                "shard": self._task.shard,
                "draws": draws_of(baked),
            }
        )

    def commit(self) -> list[Row]:
        """Put the pictures in place."""
        commit_all(self._files)
        return self._rows

    def discard(self) -> None:
        """Remove the partial pictures."""
        for file in self._files:
            file.discard()


class NpyShard:
    """A slice of `copy-000/images.npy` and `labels.npy`, kept apart until all slices are there."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: Task) -> None:
        """Open the partial slices."""
        self._task = task
        self._images: dict[int, PartialFile] = {}
        self._labels: dict[int, PartialFile] = {}
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

    def add_many(self, copy: int, pixels: np.ndarray, labels: np.ndarray) -> None:
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
                "copy": copy,
                "count": self._counts[copy],
                "labels_sha256": self._labels[copy].sha256,
                "path": f"{copy_folder(copy)}/images.npy",
                "sha256": self._images[copy].sha256,
                "shard": self._task.shard,
            }
            for copy in self._task.copies
        ]

    def discard(self) -> None:
        """Remove the partial slices."""
        for file in (*self._images.values(), *self._labels.values()):
            file.discard()


def part_path(output: Path, copy: int, shard: int) -> Path:
    """Where a slice of a copy's pictures waits; its labels are beside it, as .labels."""
    return output / META / "parts" / copy_folder(copy) / f"{shard:06d}.images"


def is_in_place(output: Path, row: Row) -> bool:
    """Whether the artefact that a row tells of is still there, whole."""
    path = output / row["path"]
    if path.suffix != ".npy":
        whole = has_its_length(output, row)
        return whole and ("idx_sha256" not in row or path.with_suffix(".idx").is_file())
    if path.exists():  # joined already: the row tells of a slice of it
        return path.stat().st_size >= row["bytes"] and path.with_name("labels.npy").exists()
    part = part_path(output, row["copy"], row["shard"])
    return has_its_length(output, {**row, "path": part.relative_to(output)})


def merge(output: Output, size: int) -> list[Row]:
    """Join the slices of every copy into images.npy and labels.npy.

    The slices stay until the output is finished, so this can simply be done again after a kill.

    size     side of a picture, pixels
    returns  a record for each array written
    """
    output.refresh()
    rows: dict[int, dict[int, Row]] = {}
    for row in output.rows():
        if "error" not in row:
            rows.setdefault(row["copy"], {})[row["shard"]] = row
    records = []
    for copy, slices in sorted(rows.items()):
        parts = [part_path(output.path, copy, shard) for shard in sorted(slices)]
        if not all(part.exists() for part in parts):
            continue  # joined by an earlier run
        count = sum(row["count"] for row in slices.values())
        with new_arrays(output, copy, count, size) as (pictures, labels):
            for part in parts:
                _append(output.at_hand(part), pictures)
                _append(output.at_hand(part.with_suffix(".labels")), labels)
        for file in (pictures, labels):
            path = f"{copy_folder(copy)}/{file.final.name}"
            records.append({"bytes": file.bytes, "copy": copy, "path": path, "sha256": file.sha256})
    return records


@contextlib.contextmanager
def new_arrays(output: Output, copy: int, count: int, size: int) -> Iterator[list[PartialFile]]:
    """images.npy and labels.npy of a copy, with their headers; in place when the block ends."""
    folder = output.path / copy_folder(copy)
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


def dataset_card(plan: Plan) -> str:
    """README.md of a baked set: what it is, and the lines that train from it."""
    job, config = plan.job, plan.job.config
    recipe = (
        f"preset {config.geometry}, size {config.size}, k {config.k}, beta {config.beta:g}, "
        f"severity {config.severity:g}, {'all 13' if config.all_ops else '9'} augmentations"
    )
    if config.operations != PAPER_OPERATIONS:
        recipe += f", operations {', '.join(config.operations)}"
    notes = _equal_shards(plan) + _plain_copies(job)
    extension = {"webdataset": "tar", "parquet": "parquet"}.get(job.format)
    head = _card_head(job, extension) if extension else ""
    return f"""{head}# PixMix-augmented dataset

Made by `pixmix bake`: {len(plan.source.pictures)} pictures of {len(plan.source.classes)} classes,
{job.copies} augmented {"copy" if job.copies == 1 else "copies"} of each.
Recipe: {recipe}, seed {job.seed}.
{notes}Epoch e reads `copy-XXX` with XXX = e mod {job.copies}.
`classes.json` lists the class names by label, `manifest.json` every setting, `manifest.jsonl` every
file with its SHA-256.

The pictures are cropped and augmented already: in training only convert and normalise them.

```python
{_TRAINING[job.format].format(extension=images.FORMATS[job.image_format])}```

PixMix: Hendrycks et al., PixMix: Dreamlike Pictures Comprehensively Improve Safety Measures,
CVPR 2022.
"""


def _card_head(job: BakeJob, extension: str) -> str:
    """The header by which `datasets.load_dataset` finds the shards."""
    lines = ["---", "configs:"]
    for name, folders in (("default", "copy"), ("plain", "plain"))[: 2 if job.plain else 1]:
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train"]
        lines += [f"    path: {folders}-*/*.{extension}"]
    return "\n".join([*lines, "---", "", ""])


def _plain_copies(job: BakeJob) -> str:
    if not job.plain:
        return ""
    return (
        "`plain-XXX` holds the crop and flip of `copy-XXX` without PixMix: a control to train on "
        "beside it.\n"
    )


def _equal_shards(plan: Plan) -> str:
    job, extra = plan.job, len(plan.order) - len(plan.source.pictures)
    if job.equal is None or not extra:
        return ""
    if job.equal == "pad":
        return (
            f"Shards hold {plan.shard_size} samples each: {extra} samples of each copy are "
            "repetitions (`pad` above 0 in .json).\n"
        )
    return f"Shards hold {plan.shard_size} samples each: {-extra} samples were left out for that.\n"


_TRAINING = {
    "parquet": """\
from datasets import load_dataset
dataset = load_dataset("parquet", data_files="copy-000/*.parquet", split="train")
dataset = dataset.with_transform(transform)  # columns image, label, key, copy, draws
""",
    "webdataset": """\
import glob, webdataset as wds
shards = sorted(glob.glob("copy-000/*.tar"))
dataset = wds.WebDataset(shards, shardshuffle=100).shuffle(1000).decode("pil")
dataset = dataset.to_tuple("{extension}", "cls")
""",
    "imagefolder": """\
from torchvision.datasets import ImageFolder
dataset = ImageFolder("copy-000", transform)
""",
    "npy": """\
import numpy as np
images = np.load("copy-000/images.npy", mmap_mode="r")  # (n, h, w, 3) uint8
labels = np.load("copy-000/labels.npy")  # (n,) int64
""",
}


def artefact_path(job: BakeJob, copy: int, shard: int, sample: Sample) -> str:
    """The file of the output in which a sample's copy lies."""
    if job.format in ("webdataset", "parquet"):
        extension = {"webdataset": "tar"}.get(job.format, job.format)
        return f"{copy_folder(copy)}/{shard:06d}.{extension}"
    if job.format == "imagefolder":
        return picture_path(job, sample, copy)
    return f"{copy_folder(copy)}/images.npy"


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


def parquet_rows(path: Path) -> Iterator[Row]:
    """The samples in a Parquet file of ours, as `parquet_row` makes them. Raises StorageError."""
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(PARQUET_GROUP):
                yield from batch.to_pylist()
    except FileNotFoundError:
        raise
    except Exception as error:  # pyarrow raises many kinds on damaged files
        reason = " ".join(str(error).split())
        raise StorageError(f"{path} is no whole Parquet file: {reason}") from None


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


def read_record(data: bytes) -> Row:
    """A sample's .json member."""
    record: Row = json.loads(data)
    return record
