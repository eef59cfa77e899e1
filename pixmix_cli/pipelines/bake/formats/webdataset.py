"""WebDataset: tars of samples, each sample's members adjacent."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pixmix_cli.errors import InputError
from pixmix_cli.outputs.rows import BakedShard, Row
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines.bake.formats.base import (
    Record,
    ShardWriter,
    StreamedPiece,
    encoded,
    evenly_spaced,
    recorded_draws,
    sample_key,
    unicode_text,
)
from pixmix_cli.pipelines.bake.formats.reading import Files
from pixmix_cli.pipelines.bake.formats.shards import OpenShard, ShardFiles, ShardFormat, Stored
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, ShardTask
from pixmix_cli.pipelines.checks import (
    Expected,
    problems_of_file,
    problems_of_pictures,
    samples_in_tar,
    sha256_of_file,
)
from pixmix_cli.storage import images
from pixmix_cli.storage.files import PartialFile, Tmp, json_text
from pixmix_cli.storage.tar import BLOCK, TarWriter, members
from pixmix_cli.storage.tar_index import members_of


def sample_record(job: BakeJob, baked: Baked, class_name: str) -> str:
    """What a sample's .json says: where it comes from and every decision that made it.

    `draws` is JSON inside a string: `datasets` gives every column one Arrow type, guessed from the
    first five samples, and fails on nested lists that are sometimes empty.

    returns  canonical JSON; put together here, since an encoder takes three times as long
    """
    sample, copy = baked.sample, baked.copy
    # `pad` in every record, as `datasets` wants the same fields in all
    pad = f',"pad":{sample.pad}' if job.files.equal == "pad" else ""
    plain = ',"plain":true' if copy.plain else ""
    return (
        f'{{"class":{json_text(class_name)},"copy":{copy.number},'
        f'"draws":{json_text(baked.draws.text())},"key":{json_text(unicode_text(sample.ref.name))},'
        f'"label":{sample.label}{pad}{plain}}}'
    )


def tar_members(job: BakeJob, baked: Baked, class_name: str) -> dict[str, bytes]:
    """Name -> bytes of a sample's members, in their order in the tar."""
    key = sample_key(baked.sample)
    found = {
        f"{key}.{images.FORMATS[job.files.image_format]}": encoded(job, baked),
        f"{key}.cls": str(baked.sample.label).encode(),
    }
    if job.files.draws_json:
        found[f"{key}.json"] = sample_record(job, baked, class_name).encode()
    return found


# First word of the index that NVIDIA DALI's webdataset reader takes, as its wds2idx tool writes
# it. Then the number of samples, and for each a line: its members' extension, offset, length, name.
DALI_INDEX = "v1.2"


class TarShard(ShardFiles):
    """One WebDataset tar a copy: `000000123.jpg`, `.cls` and `.json`, members of a sample adjacent.

    The key is the sample's index in the source, so it has no dots, quotes or spaces, whatever the
    file was called; the .json holds the original name.
    """

    def __init__(self, job: BakeJob, tmp: Tmp, task: ShardTask) -> None:
        """Open one partial tar a copy."""
        super().__init__(job, tmp, task, ".tar")
        self._lines: dict[Copy, list[str]] = {copy: [] for copy in task.copies}
        self._indexes: dict[Copy, PartialFile] = {}
        if job.files.dali_index:
            for copy, file in self.files.items():
                self._indexes[copy] = PartialFile(file.final.with_suffix(".idx"), tmp)

    def put(self, file: PartialFile, baked: Baked, class_name: str) -> None:
        """Append a sample's members."""
        found = tar_members(self.job, baked, class_name)
        if self.job.files.dali_index:
            place, line = file.bytes + BLOCK, []
            for name, data in found.items():
                line.append(f"{name.partition('.')[2]} {place} {len(data)} {name}")
                place += len(data) + -len(data) % BLOCK + BLOCK
            self._lines[baked.copy].append(" ".join(line))
        TarWriter(file).add_all(found.items())

    def end(self, copy: Copy, file: PartialFile) -> None:
        """The tar's end, and the index beside it."""
        TarWriter(file).finish()
        if copy in self._indexes:
            lines = [f"{DALI_INDEX} {len(self._lines[copy])}", *self._lines[copy]]
            self._indexes[copy].write("".join(f"{line}\n" for line in lines).encode())

    def drop(self, copy: Copy) -> None:
        """The tar and its index."""
        super().drop(copy)
        if copy in self._indexes:
            self._indexes.pop(copy).discard()

    def beside(self) -> list[PartialFile]:
        """The indexes."""
        return list(self._indexes.values())

    def hash_beside(self, copy: Copy) -> str | None:
        """The index's."""
        return self._indexes[copy].sha256 if copy in self._indexes else None


class StreamShard:
    """A piece of the tar that goes to stdout, kept in memory until its turn comes.

    All copies are in one tar, so a sample's key tells the copy too: `copy-000/000000123`.
    """

    def __init__(self, job: BakeJob, task: ShardTask) -> None:
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
        """The bytes."""
        return [StreamedPiece(pictures=self._count, data=self._data.getvalue())]

    def discard(self) -> None:
        """Nothing is left behind."""


AT_ONCE = 16 << 20  # bytes of a tar that is read whole to find what lies where: of small pictures
_ENDINGS = frozenset(images.FORMATS.values())


class WebDataset(ShardFormat):
    """Tars that `webdataset` and NVIDIA DALI read."""

    name = "webdataset"
    suffixes = (".tar", ".idx")
    streams = True
    dali_index = True
    datasets_reads = True
    training = """\
import glob, os, warnings
import webdataset as wds

def read(epoch, transform, workers=0):  # workers of the DataLoader
    folders = sorted(glob.glob("copy-*"))
    shards = sorted(glob.glob(folders[epoch % len(folders)] + "/*.tar"))
    readers = max(1, workers) * int(os.environ.get("WORLD_SIZE", 1))
    if len(shards) < readers:
        warnings.warn(f"{len(shards)} shards for {readers} readers: some of them read nothing")
    dataset = wds.WebDataset(
        shards, shardshuffle=len(shards), nodesplitter=wds.split_by_node, empty_check=False
    )
    dataset = dataset.shuffle(1000).decode("pil").to_tuple("{extension}", "cls")
    return dataset.map_tuple(transform, int)
"""

    def writer(
        self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]
    ) -> ShardWriter:
        """Tars, or a piece of the one that goes to stdout."""
        return StreamShard(job, task) if job.destination.is_stream else TarShard(job, tmp, task)

    def names(self, job: BakeJob, task: ShardTask) -> list[str]:
        """The shard, and its index."""
        found = super().names(job, task)
        if job.files.dali_index:
            found += [name.removesuffix("tar") + "idx" for name in found]
        return found

    def is_in_place(self, output: Path, row: BakedShard) -> bool:
        """With its index, where there was one."""
        index = (output / row.path).with_suffix(".idx")
        return super().is_in_place(output, row) and (row.idx_sha256 is None or index.is_file())

    def estimated_size(self, job: BakeJob, baked: Baked) -> int:
        """Members with their headers, filled up to whole blocks."""
        sizes = [len(data) for data in tar_members(job, baked, "").values()]
        return sum(BLOCK + -(-size // BLOCK) * BLOCK for size in sizes)

    def fields(
        self, job: BakeJob, baked: Baked, class_name: str, place: int
    ) -> Mapping[str, bytes]:
        """The members."""
        return tar_members(job, baked, class_name)

    def stored_fields(self, path: Path) -> Mapping[str, bytes]:
        """The members of all samples."""
        return {
            f"{key}.{extension}": data
            for key, found in samples_in_tar(path)
            for extension, data in found.items()
        }

    def open_shard(self, path: str, files: Files) -> OpenShard:
        """A tar read by offset: its headers say where the pictures lie.

        Those of a small file are read together with all that lies between them.
        """
        names: list[str] = []
        labels: list[int] = []
        pieces: list[tuple[int, int]] = []
        where, found, data = files.at(path), None, b""
        if (files.length(path) or AT_ONCE + 1) <= AT_ONCE:
            data = files.read(path)
            found = members_of(data)
        for name, begin, length in members(where) if found is None else found:
            ending = name.partition(".")[2]
            if ending in _ENDINGS:
                names.append(name)
                pieces.append((begin, length))
            elif ending == "cls":
                text = data[begin : begin + length] if found else files.read(path, begin, length)
                labels.append(int(text))
        if len(labels) != len(names):
            raise ValueError(f"{len(names)} pictures have {len(labels)} labels")
        lie = np.array(pieces, np.int64).reshape(-1, 2)
        return OpenShard(names, labels, lambda place: files.read(path, *lie[place].tolist()))

    def samples(self, path: Path) -> Iterator[Stored]:
        """Each sample's picture, label and record. Raises InputError for a damaged record."""
        for key, found in samples_in_tar(path):
            pictures = [ending for ending in found if ending in images.FORMATS.values()]
            label = found.get("cls", b"").decode("ascii", "replace")
            record = _record(path, f"{key}.json", found["json"]) if "json" in found else None
            yield Stored(
                name=f"{key}.{pictures[0]}" if pictures else key,
                picture=found[pictures[0]] if pictures else b"",
                label=int(label) if label.isdecimal() else -1,
                key=None if record is None else record.key,
                draws=None if record is None else record.draws,
            )

    def check(self, folder: Path, rows: Sequence[BakedShard], expected: Expected) -> Iterator[str]:
        """Hashes of tar and index, members, labels, count."""
        row = rows[-1]
        path = folder / row.path
        if not path.is_file():
            yield "is missing"
            return
        yield from problems_of_file(path, row)
        index = path.with_suffix(".idx")
        if row.idx_sha256 is not None and (
            not index.is_file() or sha256_of_file(index) != row.idx_sha256
        ):
            yield f"its {index.name} is missing or not what was written"
        count = 0
        for key, found in samples_in_tar(path):
            count += 1
            yield from problems_of_pictures(key, found, expected)
            label = found.get("cls", b"none").decode("ascii", "replace")
            if not label.isdigit() or int(label) >= len(expected.classes):
                yield f"sample {key}: label {label} is not in classes.json"
            elif expected.draws_json:
                record = json.loads(found["json"])
                if (record["label"], record["class"]) != (int(label), expected.classes[int(label)]):
                    yield f"sample {key}: .cls, .json and classes.json disagree on the label"
        if count != row.count:
            yield f"holds {count} pictures, {row.count} expected"

    def records(
        self, folder: Path, rows: Iterable[BakedShard], manifest: Manifest, most: int
    ) -> Iterator[Record]:
        """Of whole shards, evenly spaced; reads the members that are needed, no pictures."""
        ending = ".json" if manifest["options"].get("draws-json") else ".cls"
        for row in evenly_spaced(rows, most):
            path, copy = folder / row.path, Copy.from_code(row.copy).number
            for name, content in _members_that_end(path, ending):
                if ending == ".json":
                    record = _record(path, name, content)
                    draws = recorded_draws(record.draws, f"{path}: {name}")
                    yield Record(record.key, copy, record.label, draws)
                else:
                    yield Record("", copy, _label(path, name, content), None)


class _Told(NamedTuple):
    """What a sample's .json records that others ask for."""

    key: str
    label: int
    draws: str


def _record(path: Path, name: str, content: bytes) -> _Told:
    try:
        record = json.loads(content)
        json.loads(record["draws"])
        return _Told(str(record["key"]), int(record["label"]), record["draws"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, name, error) from None


def _label(path: Path, name: str, content: bytes) -> int:
    try:
        return int(content)
    except ValueError as error:
        raise _damaged(path, name, error) from None


def _damaged(path: Path, name: str, error: Exception) -> InputError:
    return InputError(f"{path}: {name} is damaged: {error}", f"pixmix verify {path.parent.parent}")


def _members_that_end(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    with path.open("rb") as file:
        for member in members(path):
            if member.name.endswith(ending):
                file.seek(member.offset)
                yield member.name, file.read(member.length)


FORMAT = WebDataset()
