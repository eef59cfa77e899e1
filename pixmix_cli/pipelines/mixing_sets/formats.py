"""How a mixing set lies in its folder: as loose pictures, or as tar shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.part import Part
from pixmix_cli.outputs.rows import (
    MixingMember,
    MixingPicture,
    MixingShard,
    Row,
    SkippedPicture,
    has_its_length,
)
from pixmix_cli.pipelines.checks import (
    Expected,
    problems_of_file,
    problems_of_loose_picture,
    problems_of_pictures,
    samples_in_tar,
)
from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.storage import images
from pixmix_cli.storage.files import sha256_hex
from pixmix_cli.storage.tar import TarWriter

A_FOLDER = 1000  # pictures a folder: `ls` and network file systems stay quick


@dataclass(frozen=True, slots=True)
class Finished:
    """One picture from a worker: its row, and its bytes unless the worker stored them.

    The path of a picture that is not stored yet is its name in a tar.
    """

    row: MixingPicture | SkippedPicture
    data: bytes | None


class SetFormat(Protocol):
    """How the pictures of a set are stored.

    loose  each picture is a file, which the worker that made it stores at once
    """

    loose: bool

    def options(self, job: MixingSetJob) -> dict[str, Any]:
        """The settings of its own that decide bytes."""

    def unit(self, job: MixingSetJob, part: Part, total: int, together: int, least: int) -> int:
        """Pictures that one of several parts makes together, as `pending_pictures` has it."""

    def mark(
        self, wanted: NDArray[np.bool_], output: Path, row: Row, shard_size: int, settled: bool
    ) -> None:
        """Note in `wanted`, (total,), which pictures a row shows to be there, or not.

        settled  what was skipped is not wanted
        """

    def store(
        self,
        output: Output,
        job: MixingSetJob,
        total: int,
        pending: NDArray[np.int64],
        finished: Iterator[list[Finished]],
    ) -> Iterator[Step]:
        """Put in place what workers have finished, and journal it."""

    def described(self, job: MixingSetJob, pictures: int) -> dict[str, Any]:
        """What --dry-run says of it."""

    def check(self, folder: Path, rows: Sequence[Row], expected: Expected) -> Iterator[str]:
        """What is wrong with one file, whose rows these are."""


class Loose:
    """Loose files, 1,000 a folder."""

    loose = True

    def options(self, job: MixingSetJob) -> dict[str, Any]:
        """None."""
        return {}

    def unit(self, job: MixingSetJob, part: Part, total: int, together: int, least: int) -> int:
        """As many as are best made together."""
        return part.unit(total, together, least)

    def mark(
        self, wanted: NDArray[np.bool_], output: Path, row: Row, shard_size: int, settled: bool
    ) -> None:
        """A row is a picture, or one that was skipped."""
        if isinstance(row, SkippedPicture):
            wanted[row.index] = not settled
        elif isinstance(row, MixingPicture):
            wanted[row.index] = not has_its_length(output, row)

    def store(
        self,
        output: Output,
        job: MixingSetJob,
        total: int,
        pending: NDArray[np.int64],
        finished: Iterator[list[Finished]],
    ) -> Iterator[Step]:
        """The pictures are in place already."""
        for items in finished:
            rows = [item.row for item in items]
            output.commit(rows)
            made = tuple(row.to_json() for row in rows if isinstance(row, MixingPicture))
            yield Step(len(rows), made, errors=len(rows) - len(made))

    def described(self, job: MixingSetJob, pictures: int) -> dict[str, Any]:
        """Nothing."""
        return {}

    def check(self, folder: Path, rows: Sequence[Row], expected: Expected) -> Iterator[str]:
        """Hash and pixels."""
        for row in rows[-1:]:
            if isinstance(row, MixingPicture):
                yield from problems_of_loose_picture(folder / row.path, row, expected)


class Tars:
    """Tar shards, with a row each and a row a picture."""

    loose = False

    def options(self, job: MixingSetJob) -> dict[str, Any]:
        """Pictures a tar."""
        return {"shard-size": job.shard_size}

    def unit(self, job: MixingSetJob, part: Part, total: int, together: int, least: int) -> int:
        """A shard is made by one run."""
        return job.shard_size

    def mark(
        self, wanted: NDArray[np.bool_], output: Path, row: Row, shard_size: int, settled: bool
    ) -> None:
        """A shard's row stands for its pictures, skipped ones too; a shorter shard is old."""
        if isinstance(row, MixingShard) and row.stop == min(row.index + shard_size, len(wanted)):
            wanted[row.index : row.stop] = not has_its_length(output, row)

    def store(
        self,
        output: Output,
        job: MixingSetJob,
        total: int,
        pending: NDArray[np.int64],
        finished: Iterator[list[Finished]],
    ) -> Iterator[Step]:
        """Pictures in order into one tar after the other."""
        current: _OpenTar | None = None
        try:
            for item in in_order(finished, pending):
                shard = item.row.index // job.shard_size
                if current is not None and current.shard != shard:
                    yield current.commit(output)
                    current = None
                if current is None:
                    first = shard * job.shard_size
                    stop = min(first + job.shard_size, total)
                    current = _OpenTar(output, shard, first, stop)
                current.add(item)
            if current is not None:
                yield current.commit(output)
                current = None
        finally:
            if current is not None:
                current.discard()

    def described(self, job: MixingSetJob, pictures: int) -> dict[str, Any]:
        """How many tars, and of what size."""
        return {"shards": -(-pictures // job.shard_size), "shard_size": job.shard_size}

    def check(self, folder: Path, rows: Sequence[Row], expected: Expected) -> Iterator[str]:
        """Hashes of the tar and its members, pixels, count."""
        shards = [row for row in rows if isinstance(row, MixingShard)]
        if not shards:
            yield "has rows of its pictures, and none of its own"
            return
        shard = shards[-1]
        path = folder / shard.path
        if not path.is_file():
            yield "is missing"
            return
        yield from problems_of_file(path, shard)
        hashes = {row.member: row.sha256 for row in rows if isinstance(row, MixingMember)}
        count = 0
        for key, members in samples_in_tar(path):
            count += 1
            for extension, data in members.items():
                name = f"{key}.{extension}"
                if sha256_hex(data) != hashes.get(name):
                    yield f"member {name} is not what was written"
            yield from problems_of_pictures(key, members, expected)
        if count != shard.count:
            yield f"holds {count} pictures, {shard.count} expected"


LOOSE, TARS = Loose(), Tars()


def picture_path(index: int, image_format: str) -> str:
    """`012/012345.jpg`: where picture `index` lies in a folder set."""
    return f"{index // A_FOLDER:03d}/{member_name(index, image_format)}"


def member_name(index: int, image_format: str) -> str:
    """`012345.jpg`: its name in a tar."""
    return f"{index:06d}.{images.FORMATS[image_format]}"


def in_order(finished: Iterable[list[Finished]], indices: NDArray[np.int64]) -> Iterator[Finished]:
    """Pictures in the order of these indices, whatever order the tasks put them in."""
    waiting: dict[int, Finished] = {}
    order = iter(indices.tolist())
    expected = next(order, None)
    for items in finished:
        for item in items:
            waiting[item.row.index] = item
        while expected in waiting:
            yield waiting.pop(expected)
            expected = next(order, None)


class _OpenTar:
    """A tar shard being put together."""

    def __init__(self, output: Output, shard: int, first: int, stop: int) -> None:
        self.shard = shard
        self._name = f"{shard:06d}.tar"
        output.hand_out([([""], [self._name])])
        self._file = output.partial(self._name)
        self._range = (first, stop)
        self._rows: list[Row] = []
        self._count = 0

    def add(self, item: Finished) -> None:
        row = item.row
        if not isinstance(row, MixingPicture):
            self._rows.append(row)
            return
        assert item.data is not None
        TarWriter(self._file).add(row.path, item.data)
        self._count += 1
        self._rows.append(
            MixingMember(
                path=self._name,
                member=row.path,
                bytes=row.bytes,
                sha256=row.sha256,
                index=row.index,
                rejected=row.rejected,
                facts=row.facts,
            )
        )

    def commit(self, output: Output) -> Step:
        TarWriter(self._file).finish()
        self._file.commit()
        first, stop = self._range
        shard = MixingShard(
            path=self._name,
            bytes=self._file.bytes,
            sha256=self._file.sha256,
            index=first,
            stop=stop,
            count=self._count,
        )
        output.commit([shard, *self._rows])
        return Step(stop - first, (shard.to_json(),), errors=stop - first - self._count)

    def discard(self) -> None:
        self._file.discard()
