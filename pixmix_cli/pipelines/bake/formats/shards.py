"""Layouts in which each shard of a copy is one file: what they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pixmix_cli.outputs.rows import BakedShard, Row
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines.bake.formats.base import (
    MAX_COPIES,
    U8,
    Format,
    Record,
    Shown,
    decoded,
    encoded,
    evenly_spaced,
    index_of,
    picture_name,
    recorded_draws,
)
from pixmix_cli.pipelines.bake.formats.reading import I64, CopyReader, Files
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, ShardTask
from pixmix_cli.pipelines.checks import (
    Expected,
    problem_of_label,
    problems_of_file,
    problems_of_picture,
)
from pixmix_cli.storage.files import PartialFile, Tmp, commit_all

GATHERED = 1 << 16  # bytes of a shard that are written at once: a dozen small pictures


@dataclass(frozen=True, slots=True)
class Stored:
    """A sample as it lies in a shard's file.

    name   of its picture, as `picture_name` gives it
    key    of its original in the source, where it is recorded
    draws  JSON of what was drawn, where it is recorded
    """

    name: str
    picture: bytes
    label: int
    key: str | None = None
    draws: str | None = None


class ShardFiles:
    """The writer of a `ShardFormat`: one file a copy, to which `put` appends a sample."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: ShardTask, suffix: str) -> None:
        """Open one partial file a copy."""
        self.job = job
        self._task = task
        self._suffix = suffix
        self.files = {
            copy: PartialFile(job.output / self._path(copy), tmp, GATHERED) for copy in task.copies
        }
        self.counts = dict.fromkeys(task.copies, 0)

    def _path(self, copy: Copy) -> str:
        return shard_path(copy, self._task.shard, self._suffix)

    def put(self, file: PartialFile, baked: Baked, class_name: str) -> None:
        """Append a sample to its copy's file."""
        raise NotImplementedError

    def end(self, copy: Copy, file: PartialFile) -> None:
        """Append what follows a copy's last sample."""

    def drop(self, copy: Copy) -> None:
        """Leave nothing of a copy of which no sample could be baked."""
        self.files.pop(copy).discard()

    def beside(self) -> list[PartialFile]:
        """What is committed together with the shards and has no row of its own."""
        return []

    def hash_beside(self, copy: Copy) -> str | None:
        """SHA-256 of the index beside a copy's shard."""
        return None

    def add(self, baked: Baked, class_name: str) -> None:
        """One picture of one copy."""
        self.put(self.files[baked.copy], baked, class_name)
        self.counts[baked.copy] += 1

    def commit(self) -> list[Row]:
        """End the files and put them in place; a file without samples stops those who read it."""
        for copy in [copy for copy, count in self.counts.items() if not count]:
            self.drop(copy)
        for copy, file in self.files.items():
            self.end(copy, file)
        commit_all([*self.files.values(), *self.beside()])
        return [
            BakedShard(
                path=self._path(copy),
                bytes=file.bytes,
                sha256=file.sha256,
                copy=copy.code,
                shard=self._task.shard,
                count=self.counts[copy],
                idx_sha256=self.hash_beside(copy),
            )
            for copy, file in self.files.items()
        ]

    def discard(self) -> None:
        """Remove the partial files."""
        for file in (*self.files.values(), *self.beside()):
            file.discard()


class OpenShard(NamedTuple):
    """A shard's file to be read sample by sample.

    names    of the samples' pictures, in the file's order
    labels   the samples' labels
    picture  the encoded picture at a place in the file's order; raises StorageError
    """

    names: Sequence[str]
    labels: Sequence[int]
    picture: Callable[[int], bytes]


def _rank(name: str) -> tuple[int, int]:
    """The place of a picture of `picture_name` among all: by lap of padding, then by index."""
    digits, _, lap = name.partition(".")[0].partition("-pad")
    if not digits.isdecimal() or not (lap or "0").isdecimal():
        raise ValueError(f"{name} is no sample of ours")
    return int(lap or 0), int(digits)


class ShardReader:
    """The samples of a set of shards, in the order of the source; those that fill up come last.

    What lies where in a shard is found when the shard is first needed, by each process for itself.
    """

    def __init__(self, layout: ShardFormat, folder: Path, rows: Iterable[BakedShard]) -> None:
        """See which samples there are; `rows` as for `Format.reader`."""
        everything = list(rows)
        self._layout = layout
        self._files = Files(folder, {row.path: row.bytes for row in everything})
        self._copy = ""
        self._open: dict[int, Callable[[int], bytes]] = {}
        self._expected: dict[int, I64] = {}  # by shard: the ranks of its samples, in their order
        labels: list[int] = []
        for row in everything:
            if row.copy == everything[0].copy:
                shard, self._expected[row.shard] = self._opened(row.path)
                if len(shard.names) != row.count:
                    reason = f"it holds {len(shard.names)} pictures, {row.count} expected"
                    raise self._files.damaged(row.path, reason)
                labels += shard.labels
        ranks = np.concatenate([np.empty((0, 2), np.int64), *self._expected.values()])
        places = [(n, i) for n, these in self._expected.items() for i in range(len(these))]
        order = np.lexsort((ranks[:, 1], ranks[:, 0]))
        self.labels: I64 = np.array(labels, np.int64)[order]
        self.indices: I64 = ranks[order, 1]
        self._places = np.array(places, np.int64).reshape(-1, 2)[order]

    def picture(self, copy: str, number: int) -> tuple[str, bytes | U8]:
        """One sample of a copy."""
        if copy != self._copy:
            self._open, self._copy = {}, copy
            self._files.close()
        shard, place = self._places[number].tolist()
        path = f"{copy}/{shard:06d}{self._layout.suffixes[0]}"
        read = self._open.get(shard)
        if read is None:
            opened, ranks = self._opened(path)
            if not np.array_equal(ranks, self._expected[shard]):
                raise self._files.damaged(path, "it does not hold the samples of the first copy")
            read = self._open[shard] = opened.picture
        return f"{self._files.folder / path}: picture {place}", read(place)

    def _opened(self, path: str) -> tuple[OpenShard, I64]:
        """A shard, and the rank of each of its samples."""
        try:
            shard = self._layout.open_shard(path, self._files)
            return shard, np.array([_rank(name) for name in shard.names], np.int64).reshape(-1, 2)
        except (ValueError, KeyError, TypeError) as error:
            raise self._files.damaged(path, " ".join(str(error).split())) from None

    def __getstate__(self) -> dict[str, Any]:
        """Without what this process found out about the shards."""
        return {**self.__dict__, "_open": {}, "_copy": ""}


def shard_path(copy: Copy, shard: int, suffix: str) -> str:
    """`copy-000/000012.tar`."""
    return f"{copy.folder}/{shard:06d}{suffix}"


def _together(streams: Sequence[Iterator[Stored]]) -> Iterator[tuple[str, list[Stored]]]:
    """A shard's samples, each with its copies side by side, which come in one order but for gaps.

    streams  a copy's samples each
    yields   a sample's key, and of it what the copies have
    """
    waiting: dict[str, dict[int, Stored]] = {}
    for group in zip_longest(*streams):
        for number, sample in enumerate(group):
            if sample is not None:
                key = sample.name.partition(".")[0]
                waiting.setdefault(key, {})[number] = sample
                if len(waiting[key]) == len(streams):
                    yield key, [one for _, one in sorted(waiting.pop(key).items())]
    for key, samples in waiting.items():
        yield key, [one for _, one in sorted(samples.items())]


class ShardFormat(Format[BakedShard]):
    """A layout in which each shard of a copy is one file; a subclass writes and reads `Stored`."""

    sharded: bool = True

    @property
    def file_pattern(self) -> str:  # type: ignore[override]
        """Six digits and a suffix."""
        return r"\d{6,}(" + "|".join(suffix.replace(".", r"\.") for suffix in self.suffixes) + ")"

    def samples(self, path: Path) -> Iterator[Stored]:
        """The samples in a file. Raises StorageError, OSError, ValueError."""
        raise NotImplementedError

    def path(self, job: BakeJob, copy: Copy, shard: int, sample: Sample) -> str:
        """The shard's file."""
        return shard_path(copy, shard, self.suffixes[0])

    def fields(
        self, job: BakeJob, baked: Baked, class_name: str, place: int
    ) -> Mapping[str, bytes]:
        """The picture and the label."""
        name = picture_name(job, baked.sample)
        label = str(baked.sample.label).encode()
        return {name: encoded(job, baked), f"{name}: label": label}

    def stored_fields(self, path: Path) -> Mapping[str, bytes]:
        """The pictures and the labels."""
        found: dict[str, bytes] = {}
        for sample in self.samples(path):
            found[sample.name] = sample.picture
            found[f"{sample.name}: label"] = str(sample.label).encode()
        return found

    def check(self, folder: Path, rows: Sequence[BakedShard], expected: Expected) -> Iterator[str]:
        """Hash, pictures, labels, count."""
        row = rows[-1]
        path = folder / row.path
        if not path.is_file():
            yield "is missing"
            return
        yield from problems_of_file(path, row)
        count = 0
        for sample in self.samples(path):
            count += 1
            yield from problems_of_picture(sample.picture, sample.name, expected)
            if problem := problem_of_label(sample.label, expected):
                yield f"sample {sample.name}: {problem}"
        if count != row.count:
            yield f"holds {count} pictures, {row.count} expected"

    def open_shard(self, path: str, files: Files) -> OpenShard:
        """A shard, by its path in the set. Raises StorageError, ValueError."""
        found = list(self.samples(files.at(path)))  # of layouts that are not read in pieces
        names, labels = [one.name for one in found], [one.label for one in found]
        return OpenShard(names, labels, lambda place: found[place].picture)

    def reader(self, folder: Path, rows: Iterable[BakedShard], size: int) -> CopyReader:
        """Every sample, wherever the shuffle put it."""
        return ShardReader(self, folder, rows)

    def shown(self, folder: Path, rows: Sequence[BakedShard], count: int) -> Iterator[Shown]:
        """The first samples of the first shards: those that are shuffled are as good as any."""
        shards: dict[int, list[BakedShard]] = {}
        for row in rows:
            shards.setdefault(row.shard, []).append(row)
        left = count
        for shard in sorted(shards):
            copies = sorted(shards[shard], key=lambda row: row.copy)[:MAX_COPIES]
            streams = [islice(self.samples(folder / row.path), left) for row in copies]
            for key, samples in _together(streams):
                pictures = [decoded(sample.picture, sample.name) for sample in samples]
                yield Shown(samples[0].key, index_of(key), pictures)
                left -= 1
            if left <= 0:
                return

    def records(
        self, folder: Path, rows: Iterable[BakedShard], manifest: Manifest, most: int
    ) -> Iterator[Record]:
        """Of whole shards, evenly spaced."""
        for row in evenly_spaced(rows, most):
            for sample in self.samples(folder / row.path):
                where = f"{folder / row.path}: {sample.name}"
                draws = None if sample.draws is None else recorded_draws(sample.draws, where)
                yield Record(sample.key or "", row.copy, sample.label, draws)
