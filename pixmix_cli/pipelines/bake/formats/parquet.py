"""Parquet: one row a sample, as Hugging Face `datasets` reads it."""

from __future__ import annotations

import contextlib
import json
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.pipelines.bake.formats.base import ShardWriter, encoded, picture_name
from pixmix_cli.pipelines.bake.formats.reading import Files
from pixmix_cli.pipelines.bake.formats.shards import OpenShard, ShardFiles, ShardFormat, Stored
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, ShardTask
from pixmix_cli.sources.source import Source
from pixmix_cli.storage.files import PartialFile, Tmp

ROW_GROUP = 100  # samples a row group: what a reader decodes at once, and a writer holds


def parquet_row(job: BakeJob, baked: Baked) -> dict[str, Any]:
    """One sample as a row of the Parquet file."""
    row: dict[str, Any] = {
        "image": {"bytes": encoded(job, baked), "path": picture_name(job, baked.sample)},
        "label": baked.sample.label,
        "key": baked.sample.ref.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace"),
        "copy": baked.copy.number,
    }
    if job.files.draws_json:
        row["draws"] = baked.draws.text()
    if job.files.equal == "pad":
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
    if job.files.draws_json:
        columns["draws"] = pa.string()
    if job.files.equal == "pad":
        columns["pad"] = pa.int64()
    features: dict[str, Any] = {
        name: {"dtype": str(kind), "_type": "Value"} for name, kind in columns.items()
    }
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(classes), "_type": "ClassLabel"}
    told = json.dumps({"info": {"features": features}})
    return pa.schema(list(columns.items()), metadata={"huggingface": told})


class ParquetShard(ShardFiles):
    """One Parquet file a copy: image {bytes, path}, label, key, copy and draws."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]) -> None:
        """Open one partial file a copy."""
        super().__init__(job, tmp, task, ".parquet")
        self._classes = classes
        self._writers: dict[Copy, Any] = {}
        self._rows: dict[Copy, list[dict[str, Any]]] = {copy: [] for copy in task.copies}

    def put(self, file: PartialFile, baked: Baked, class_name: str) -> None:
        """Keep a sample until its row group is whole."""
        copy = baked.copy
        self._rows[copy].append(parquet_row(self.job, baked))
        if len(self._rows[copy]) == ROW_GROUP:
            self._write_group(copy)

    def _write_group(self, copy: Copy) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if copy not in self._writers:
            schema = _parquet_schema(self.job, self._classes)
            sink = pa.PythonFile(_ArrowSink(self.files[copy]), mode="w")
            # pictures are compressed already
            self._writers[copy] = pq.ParquetWriter(sink, schema, compression="none")
        writer = self._writers[copy]
        writer.write_table(pa.Table.from_pylist(self._rows[copy], schema=writer.schema))
        self._rows[copy] = []

    def end(self, copy: Copy, file: PartialFile) -> None:
        """The last row group, and the file's own end."""
        if self._rows[copy] or copy not in self._writers:
            self._write_group(copy)
        self._writers[copy].close()


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


def parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The samples in a Parquet file of ours, as `parquet_row` makes them. Raises StorageError."""
    import pyarrow.parquet as pq

    with _errors_about(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROW_GROUP):
            yield from batch.to_pylist()


class ParquetPieces:
    """The pictures of a Parquet file, read by row groups, and each of these only once.

    A row group holds 100 pictures, and training asks for them in any order. Pictures are stored as
    they are, so when a group is read the first time, where each of its pictures lies in the file is
    noted, and from then on they are read there.
    """

    def __init__(self, path: str, files: Files, meta: Any) -> None:
        """Nothing is read yet. path: in the set; meta: the file's pyarrow.parquet.FileMetaData."""
        self._path, self._files, self._meta = path, files, meta
        lengths = [meta.row_group(number).num_rows for number in range(meta.num_row_groups)]
        self._begins = np.cumsum([0, *lengths]).tolist()
        self._pieces: dict[int, list[tuple[int, int] | bytes]] = {}  # by row group

    def picture(self, place: int) -> bytes:
        """The encoded picture."""
        group = bisect_right(self._begins, place) - 1
        pieces = self._pieces.get(group)
        if pieces is None:
            pieces = self._pieces[group] = self._located(group)
        piece = pieces[place - self._begins[group]]
        return piece if isinstance(piece, bytes) else self._files.read(self._path, *piece)

    def _located(self, group: int) -> list[tuple[int, int] | bytes]:
        """(offset, length) of each picture of a row group; itself where it is not found so."""
        import pyarrow.parquet as pq

        where = self._files.at(self._path)
        with _errors_about(where), pq.ParquetFile(where, metadata=self._meta) as file:
            table = file.read_row_group(group, ["image.bytes"], use_threads=False)
        pictures = [one["bytes"] for one in table.column("image").to_pylist()]
        column = self._meta.row_group(group).column(0)
        begin = column.data_page_offset
        if column.dictionary_page_offset is not None:
            begin = min(begin, column.dictionary_page_offset)
        chunk = self._files.read(self._path, begin, column.total_compressed_size)
        found: list[tuple[int, int] | bytes] = []
        last = 0
        for picture in pictures:
            stored = len(picture).to_bytes(4, "little") + picture  # as PLAIN pages have it
            at = chunk.find(stored, last)
            if at < 0:  # equal pictures are stored once
                at = chunk.find(stored)
            found.append(picture if at < 0 else (begin + at + 4, len(picture)))
            last = max(last, at)
        return found


@contextlib.contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # pyarrow raises many kinds on damaged files
        reason = " ".join(str(error).split())
        raise StorageError(f"{path} is no whole Parquet file: {reason}") from None


class Parquet(ShardFormat):
    """Files that Hugging Face `datasets` reads."""

    name = "parquet"
    suffixes = (".parquet",)
    datasets_reads = True
    training = """\
import glob
from datasets import load_dataset

def read(epoch, transform):  # of batches with the columns image, label, key, copy, draws
    folders = sorted(glob.glob("copy-*"))
    files = folders[epoch % len(folders)] + "/*.parquet"
    return load_dataset("parquet", data_files=files, split="train").with_transform(transform)
"""

    def check_available(self) -> None:
        """Needs pyarrow."""
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError:
            raise InputError(
                "Parquet files need pyarrow", "pip install 'pixmix[parquet]'"
            ) from None

    def versions(self) -> dict[str, str]:
        """Another pyarrow may write other bytes."""
        import pyarrow

        return {"pyarrow": pyarrow.__version__}

    def class_names(self, source: Source) -> tuple[str, ...]:
        """Each name once, as `datasets` wants it: a second crane is `134 crane`, by its label."""
        classes = super().class_names(source)
        seen = Counter(classes)
        named = [
            f"{label} {name}" if seen[name] > 1 else name for label, name in enumerate(classes)
        ]
        while len(set(named)) < len(named):  # where a class is called that already
            seen = Counter(named)
            named = [f"{i} {name}" if seen[name] > 1 else name for i, name in enumerate(named)]
        return tuple(named)

    def writer(
        self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]
    ) -> ShardWriter:
        """One file a copy."""
        return ParquetShard(job, tmp, task, classes)

    def estimated_size(self, job: BakeJob, baked: Baked) -> int:
        """Columns and what a row costs beside them."""
        row = parquet_row(job, baked)
        return len(row["image"]["bytes"]) + len(str(row["key"])) + len(row.get("draws", "")) + 40

    def open_shard(self, path: str, files: Files) -> OpenShard:
        """A file's names and labels, and its pictures by row group."""
        self.check_available()
        import pyarrow.parquet as pq

        where = files.at(path)
        with _errors_about(where), pq.ParquetFile(where) as file:
            pieces = ParquetPieces(path, files, file.metadata)
            table = file.read(["image.path", "label"], use_threads=False)
        names = [one["path"] for one in table.column("image").to_pylist()]
        return OpenShard(names, table.column("label").to_pylist(), pieces.picture)

    def samples(self, path: Path) -> Iterator[Stored]:
        """Each row of the file."""
        for row in parquet_rows(path):
            yield Stored(
                row["image"]["path"],
                row["image"]["bytes"],
                row["label"],
                row["key"],
                row.get("draws"),
            )


FORMAT = Parquet()
