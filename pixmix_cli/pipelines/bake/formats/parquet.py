"""Parquet: one row a sample, as Hugging Face `datasets` reads it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pixmix_cli.errors import StorageError
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

PARQUET_GROUP = 100  # samples a row group: what a reader decodes at once, and a writer holds


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
        "copy": baked.copy.number,
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
        self._files: dict[Copy, PartialFile] = {}
        self._writers: dict[Copy, Any] = {}
        self._rows: dict[Copy, list[Row]] = {copy: [] for copy in task.copies}
        self._counts = dict.fromkeys(task.copies, 0)
        for copy in task.copies:
            final = job.output / copy.folder / f"{task.shard:06d}.parquet"
            self._files[copy] = PartialFile(final, tmp)

    def add(self, baked: Baked, class_name: str) -> None:
        """Keep a sample until its row group is whole."""
        copy = baked.copy
        self._rows[copy].append(parquet_row(self._job, baked, class_name))
        self._counts[copy] += 1
        if len(self._rows[copy]) == PARQUET_GROUP:
            self._write_group(copy)

    def _write_group(self, copy: Copy) -> None:
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
                "copy": copy.code,
                "count": self._counts[copy],
                "path": f"{copy.folder}/{self._task.shard:06d}.parquet",
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
