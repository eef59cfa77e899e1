"""Datasets in: Parquet files with pictures in a column, and what `datasets` saves to disk.

Arrow files hold pictures as they are, so workers read them like members of a tar and need no
pyarrow. Parquet packs rows in groups: a worker reads the picture column of one group at a time.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from pixmix_cli.errors import InputError, PictureError, PixMixError, StorageError
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.labels import Labels
from pixmix_cli.sources.passed_over import gap_in, missing_parts, warn_of_loose_pictures
from pixmix_cli.sources.pictures import Container, PictureRef, Pictures, UprightRef, Warn
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.sources.splits import split_of
from pixmix_cli.sources.walk import walk
from pixmix_cli.storage.remote import AnyPath, Url

ENDINGS = (".parquet", ".arrow")
IMAGE_NAMES = ("image", "img", "picture", "jpg", "png", "webp", "bytes")
ADDRESS_NAMES = (*IMAGE_NAMES, "url", "URL", "image_url", "path", "image_path", "file_name")
LABEL_NAMES = ("label", "labels", "cls", "fine_label", "class", "target")
KEPT_GROUPS = 2  # row groups in a worker's memory: the one in use, and its neighbour in the shard


@dataclass(frozen=True, slots=True)
class ParquetRef(UprightRef):
    """A picture in a Parquet file: `offset` is its row.

    column  of the pictures
    """

    column: str

    def read(self) -> bytes:
        """The picture's bytes, from its row group. Raises PixMixError."""
        try:
            found = _rows(self.path, self.column, self.offset)
        except PixMixError:
            raise
        except OSError as error:
            raise StorageError.from_os_error(error, self.path, "reading") from error
        except Exception as error:  # pyarrow's, on damaged files
            reason = " ".join(str(error).split())[:200]
            raise StorageError(f"{self.path} is damaged: {reason}") from None
        data = found.get("bytes") if isinstance(found, dict) else found
        if not isinstance(data, bytes):
            raise PictureError(f"{self.name}: there are no bytes in its row")
        return data


@dataclass(frozen=True, slots=True)
class ParquetFile:
    """A place of pictures: see Place."""

    prefix: str
    path: str
    column: str

    def ref(self, rest: str, offset: int, length: int) -> PictureRef:
        """The picture of one row."""
        return ParquetRef(self.prefix + rest, self.path, offset, length, self.column)


_files: OrderedDict[str, tuple[Any, list[int]]] = OrderedDict()  # path: (file, first rows)
_groups: OrderedDict[tuple[str, str, int], Any] = OrderedDict()


def _rows(path: str, column: str, row: int) -> Any:
    """One row of a column, through this process's few open files and row groups."""
    if path not in _files:
        file = _pyarrow().ParquetFile(path)
        _files[path] = file, _starts(file.metadata)
        while len(_files) > KEPT_GROUPS:
            _files.popitem(last=False)
    file, starts = _files[path]
    group = bisect_right(starts, row) - 1
    key = (path, column, group)
    if key not in _groups:
        while len(_groups) >= KEPT_GROUPS:
            _groups.popitem(last=False)
        _groups[key] = file.read_row_group(group, columns=[column]).column(0)
    return _groups[key][row - starts[group]].as_py()


def forget() -> None:
    """Let go of the open files and row groups."""
    _files.clear()
    _groups.clear()


def _starts(metadata: Any) -> list[int]:
    """The first row of each row group."""
    starts, row = [], 0
    for group in range(metadata.num_row_groups):
        starts.append(row)
        row += metadata.row_group(group).num_rows
    return starts


def _pyarrow() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError(
            "reading Parquet and Arrow files needs pyarrow", "pip install 'pixmix[parquet]'"
        ) from None
    return pyarrow.parquet


def open_parquet(
    path: Path, warn: Warn, split: str | None = None, label_field: str | None = None
) -> Source:
    """List the pictures of Parquet files or of a folder that `save_to_disk` wrote.

    path         a .parquet or .arrow file, a folder of them, or a pattern as data/train-*.parquet
    split        the part to take; without it train, where the files' names show parts
    label_field  column of the label; without it the first ClassLabel, or the first of LABEL_NAMES
    raises       InputError, also where pyarrow is not installed; StorageError
    """
    _pyarrow()
    try:
        files, split = files_of(path, split, warn)
        return _list(path, files, split, label_field)
    except PixMixError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise StorageError.from_os_error(error, str(path), "reading") from error
        raise _damaged(path, error) from None
    except Exception as error:  # pyarrow raises many kinds on damaged files
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"SOURCE {path} is damaged: {' '.join(str(error).split())[:200]}")


def files_of(
    path: Path, split: str | None, warn: Warn
) -> tuple[list[tuple[Path, str]], str | None]:
    """The files of one split, in order, each with a name of its own; and the split.

    raises  InputError when there is none, or no such split
    """
    if (path / "dataset_dict.json").is_file():
        saved = [p.name for p in path.iterdir() if (p / "state.json").is_file()]
        split = _choose_split(path, saved, split)
        return _arrow_files(path / split), split
    if path.is_file():
        found = [(path, path.name)]
    elif not path.exists() and is_pattern(path):
        found = _matching(path)
    elif (path / "state.json").is_file():
        found = _arrow_files(path)
    else:
        every = [
            (Path(entry.path), relative + entry.name)
            for relative, entries in walk(path, warn)
            for entry in entries
        ]
        found = [pair for pair in every if pair[1].lower().endswith(ENDINGS)]
        if found:
            warn_of_loose_pictures(path, (file.name for file, _ in every), warn)
    splits: dict[str | None, list[tuple[Path, str]]] = {}
    for file, name in found:
        splits.setdefault(split_of(name), []).append((file, name))
    if not found:
        raise InputError(f"SOURCE {path} holds neither .parquet nor .arrow files")
    known = [name for name in splits if name]
    if path.is_file() or not known:
        if split is not None:
            raise InputError(f"SOURCE {path} has no splits", "without --split")
        chosen = found
    elif split is None and None in splits:
        if len(known) > 1:
            raise InputError(
                f"SOURCE {path} has files of the splits {' and '.join(sorted(known))}, and of "
                f"none, as {splits[None][0][1]}",
                f"--split {known[0]}, or a pattern as '{path}/*{found[0][0].suffix}' for all",
            )
        chosen = found
    else:
        split = _choose_split(path, known, split)
        chosen = splits[split]
    _check_whole(path, [name for _, name in chosen], warn)
    return chosen, split


def is_pattern(path: AnyPath) -> bool:
    """Whether a path that does not exist can be meant as a pattern of files."""
    return (
        isinstance(path, Path) and glob.has_magic(str(path)) and path.name.lower().endswith(ENDINGS)
    )


def _matching(pattern: Path) -> list[tuple[Path, str]]:
    files = [Path(name) for name in sorted(glob.glob(str(pattern)))]
    if not files:
        raise InputError(f"SOURCE {pattern}: no file matches this pattern")
    top = os.path.commonpath([file.parent for file in files])
    return [(file, os.path.relpath(file, top)) for file in files]


def _check_whole(path: Path, names: Sequence[str], warn: Warn) -> None:
    """Refuse a folder that lacks a part; but a pattern names what is meant. Raises InputError."""
    missing = missing_parts(names)
    if not path.exists():
        return
    if missing is None:
        gap = gap_in(names)
        if gap is not None:
            warn(f"the numbers of the files in SOURCE {path} lack {gap[0]}, as {gap[1]}")
        return
    lacks = f"SOURCE {path} lacks {missing[0]} of {missing[1]} files, as {missing[2]}"
    if path.is_dir():
        there = f"'{path / os.path.dirname(names[0])}/*{os.path.splitext(names[0])[1]}'"
        raise InputError(lacks, f"downloading the rest, or {there} for what is there")
    warn(f"SOURCE {path} is one of {missing[1]} files of its dataset; the others are not read")


def _choose_split(path: Path, splits: Sequence[str], split: str | None) -> str:
    if split is None and len(splits) == 1:
        return splits[0]
    wanted = "train" if split is None else split
    if wanted not in splits:
        has = f"no split {split!r}" if split else "several splits"
        raise InputError(f"SOURCE {path} has {has}", f"--split {' or '.join(sorted(splits))}")
    return wanted


def _arrow_files(folder: Path) -> list[tuple[Path, str]]:
    """The files that state.json of a saved dataset names."""
    try:
        state = json.loads((folder / "state.json").read_bytes())
        names = [str(item["filename"]) for item in state["_data_files"]]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'state.json'} is damaged: {error}") from None
    for name in names:
        if "/" in name or name in ("", ".", ".."):
            raise InputError(f"{folder / 'state.json'} names a file elsewhere: {name}")
        if not (folder / name).is_file():
            raise InputError(f"SOURCE {folder} lacks {name}, which its state.json names")
    return [(folder / name, name) for name in names]


def _list(
    path: Path, files: list[tuple[Path, str]], split: str | None, label_field: str | None
) -> Source:
    pictures, labels = Pictures(), Labels()
    content = hashlib.sha256()
    runs: list[int] = []
    columns: _Columns | None = None
    holds_bytes = False
    for file, name in files:
        chunks: Iterable[tuple[Any, _Batch | _Group]]
        chunks = _batches(file) if file.suffix.lower() == ".arrow" else _groups_of(file, content)
        row = 0  # in the file
        for schema, chunk in chunks:
            found = _Columns.find(schema, path, label_field)
            if columns not in (None, found):
                raise InputError(f"SOURCE {path}: {name} has other columns than {files[0][1]}")
            columns = found
            if isinstance(chunk, _Group):
                runs.append(len(pictures))
                pictures.begin(ParquetFile(f"{name}/", str(file), columns.image))
            else:
                pictures.begin(Container(f"{name}/", str(file), upright=True))
            holds_bytes = holds_bytes or chunk.holds_bytes(columns.image)
            for offset, length in chunk.places(columns.image, row):
                pictures.add(str(row), length, offset)
                row += 1
            column = chunk.column(columns.label)
            column.validate(full=True)
            labels.extend(column.to_pylist())
            if len(labels) != len(pictures):
                raise InputError(f"SOURCE {path}: {name} is damaged")
    if columns is None or not pictures:
        raise InputError(f"SOURCE {path} holds no pictures")
    if not holds_bytes:
        raise InputError(
            f"SOURCE {path}: column {columns.image} holds paths or addresses of pictures, not the "
            "pictures",
            "dataset.cast_column with Image(), then save_to_disk",
        )
    classes, numbers = labels.finish(
        f"SOURCE {path}: column {columns.label}", columns.names, lambda index: pictures[index].name
    )
    digest = digest_of_source("parquet", classes, pictures, numbers, content.digest())
    return Source(str(path), "parquet", classes, pictures, numbers, digest, split, tuple(runs))


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns hold pictures and labels, and the class names where the file has them."""

    image: str
    label: str
    names: list[str] | None

    @classmethod
    def find(cls, schema: Any, path: Path, label_field: str | None) -> _Columns:
        """Choose by the metadata of `datasets`, else by name and type."""
        features = _features(schema)
        kinds = {
            name: feature.get("_type")
            for name, feature in features.items()
            if isinstance(feature, dict)
        }
        binary = [field.name for field in schema if _holds_bytes(field.type)]
        image = [name for name in binary if kinds.get(name) == "Image"]
        image += [name for name in IMAGE_NAMES if name in binary]
        image += binary if len(binary) == 1 else []
        there = ", ".join(schema.names)[:200]
        if not image:
            told = f"SOURCE {path} has no column of pictures (it has {there})"
            if any(name in schema.names for name in ADDRESS_NAMES):
                raise InputError(
                    f"{told}, but paths or addresses of them",
                    "a .csv of path and label, or img2dataset for addresses",
                )
            raise InputError(told, "a column image of bytes, or of {bytes, path}")
        if label_field is None:
            label = [name for name in schema.names if kinds.get(name) == "ClassLabel"]
            label += [name for name in LABEL_NAMES if name in schema.names]
        else:
            label = [label_field] if label_field in schema.names else []
        if not label:
            raise InputError(
                f"SOURCE {path} has no column {label_field or 'label'} (it has {there})",
                "--label-field",
            )
        names = features.get(label[0], {}).get("names") if kinds.get(label[0]) else None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            names = None
        return cls(image[0], label[0], names)


def _features(schema: Any) -> dict[str, Any]:
    """What `datasets` wrote about the columns."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_struct(kind):
        names = [kind.field(i).name for i in range(kind.num_fields)]
        return "bytes" in names and _holds_bytes(kind.field(names.index("bytes")).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group of a Parquet file."""

    file: Any
    number: int
    num_rows: int

    def column(self, name: str) -> Any:
        """One column of it."""
        return self.file.read_row_group(self.number, columns=[name]).column(0)

    def holds_bytes(self, name: str) -> bool:
        """Whether any picture is there, and not only its path; true where the file says nothing."""
        group = self.file.metadata.row_group(self.number)
        for index in range(group.num_columns):
            column = group.column(index)
            if column.path_in_schema in (name, f"{name}.bytes"):
                told = column.statistics if column.is_stats_set else None
                if told is not None and told.has_null_count:
                    return bool(told.null_count < self.num_rows)
        return True

    def places(self, name: str, row: int) -> Iterable[tuple[int, int]]:
        """(row, 0) of each picture; row is the first's."""
        return zip(range(row, row + self.num_rows), repeat(0))


def _groups_of(path: Path, content: Any) -> Iterator[tuple[Any, _Group]]:
    """(schema, row group); the file's footer goes to the hash.

    The footer gives every group's place and size, and in most files the columns' extremes.
    """
    with path.open("rb") as raw:
        size = raw.seek(0, 2)
        raw.seek(max(0, size - 8))
        length = int.from_bytes(raw.read(4), "little")
        raw.seek(max(0, size - 8 - length))
        content.update(raw.read(min(length, size)))
    file = _pyarrow().ParquetFile(path)
    for number in range(file.metadata.num_row_groups):
        yield file.schema_arrow, _Group(file, number, file.metadata.row_group(number).num_rows)


@dataclass(frozen=True, slots=True)
class _Batch:
    """A record batch of an Arrow file, which is mapped into memory from address `base`."""

    batch: Any
    base: int
    path: Path

    def column(self, name: str) -> Any:
        """One column of it."""
        return self.batch.column(name)

    def places(self, name: str, row: int) -> Iterable[tuple[int, int]]:
        """Where in the file each picture lies: (offset, length), bytes."""
        import pyarrow.types as types

        column = self.batch.column(name)
        column.validate()
        if types.is_struct(column.type):
            column = column.field("bytes")
        if len(column) == 0:
            return ()
        wide = types.is_large_binary(column.type)
        _, ends, data = column.buffers()
        offsets = np.frombuffer(ends, np.int64 if wide else np.int32).astype(np.int64)
        offsets = offsets[column.offset : column.offset + len(column) + 1]
        lengths = np.diff(offsets)
        start = 0 if data is None else data.address - self.base
        if not 0 <= start <= self.path.stat().st_size:
            raise InputError(f"{self.path} is compressed", "saving it again with save_to_disk")
        if (lengths < 0).any() or offsets[0] < 0:
            raise InputError(f"{self.path} is damaged")
        return zip((offsets[:-1] + start).tolist(), lengths.tolist())

    def holds_bytes(self, name: str) -> bool:
        """Whether any picture is there, and not only its path."""
        return any(length for _, length in self.places(name, 0))


def _batches(path: Path) -> Iterator[tuple[Any, _Batch]]:
    import pyarrow

    whole = pyarrow.memory_map(str(path)).read_buffer()
    if whole.slice(0, 6).to_pybytes() == b"ARROW1":
        file = pyarrow.ipc.open_file(whole)
        batches = (file.get_batch(number) for number in range(file.num_record_batches))
        schema = file.schema
    else:
        batches = pyarrow.ipc.open_stream(whole)
        schema = batches.schema
    for batch in batches:
        yield schema, _Batch(batch, whole.address, path)


class Parquet(Kind):
    """Parquet files, or what Hugging Face `datasets` saved."""

    name = "parquet"
    endings = ENDINGS
    takes = ("split", "label_field")
    spooled = True

    def is_folder(self, listing: Listing) -> bool:
        """By the files that `save_to_disk` writes, else by endings; but arrays are arrays."""
        if listing.names >= {"dataset_info.json", "state.json"}:
            return True
        if "dataset_dict.json" in listing.names:
            return True
        found = any(listing.endings[ending] for ending in self.endings)
        return "images.npy" not in listing.names and (found or listing.below("data", ".parquet"))

    def holds_pictures(self, listing: Listing) -> bool:
        """Whether the first file has a column of them; True where that cannot be told."""
        if isinstance(listing.path, Url):
            return True
        folder = Path(str(listing.path))
        names = [n for n in sorted(listing.names) if n.lower().endswith(".parquet")]
        if not names and listing.below("data", ".parquet"):
            folder /= "data"
            names = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith(".parquet"))
        if not names:
            return True
        try:
            schema = _pyarrow().read_schema(folder / names[0])
            _Columns.find(schema, folder, schema.names[0])
        except InputError:
            return False
        except Exception:  # pyarrow's, or what is said when the files are read
            return True
        return True

    def is_pattern(self, path: AnyPath) -> bool:
        """As data/train-*.parquet."""
        return is_pattern(path)

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """List the pictures of every file."""
        return open_parquet(Path(str(path)), warn, choice.split, choice.label_field)


KIND = Parquet()
