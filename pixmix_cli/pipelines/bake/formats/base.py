"""A layout of a baked set: everything that the rest of pixmix asks of it.

A file of this folder is a layout, and `registry` is the list of them. A new one is a class made
from `Format`, or from `shards.ShardFormat` where each shard of a copy is one file, and a line
there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError, PixMixError, StorageError
from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.mixing.draws import DrawsJson
from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.rows import BakedRow, BakedShard, Row, companions, has_its_length
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines.bake.formats.reading import CopyReader
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, ShardTask
from pixmix_cli.pipelines.checks import Expected, Finding
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images
from pixmix_cli.storage.files import Tmp, sync_directory
from pixmix_cli.storage.inside import TmpFolder
from pixmix_cli.storage.json_types import checked

U8 = NDArray[np.uint8]
R = TypeVar("R", bound=BakedRow)  # the rows of a format's artefacts

SHARD_RANGE = (100, 1000)  # samples: no shard too small to stream well, none too large to redo
GOOD_SHARD_COUNT = 64  # shards enough to feed many workers and loaders
MAX_COPIES = 8  # of a sample, that preview and report show


class ShardWriter(Protocol):
    """Takes a shard's pictures and commits them together."""

    def add(self, baked: Baked, class_name: str) -> None:
        """One picture of one copy."""

    def commit(self) -> list[Row]:
        """Put everything in place and say what there is: the journal's rows."""

    def discard(self) -> None:
        """Leave nothing behind."""


@runtime_checkable
class PixelWriter(ShardWriter, Protocol):
    """A writer that wants pixels only, so that many samples can be baked in one compiled call."""

    def add_many(self, copy: Copy, pixels: U8, labels: NDArray[np.int64]) -> None:
        """Pictures of one copy, (m, size, size, 3) uint8, and their labels, (m,) int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamedPiece(Row):
    """A piece of a tar on stdout, in place of a row: nothing of it is recorded."""

    pictures: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample for people to see: its copies, None where one does not decode.

    key    of its original in the source, None where the set does not record it
    index  of its original in the source, None where that is not known either
    """

    key: str | None
    index: int | None
    copies: list[U8 | None]


@dataclass(frozen=True, slots=True)
class Record:
    """What is recorded of one baked picture, or of `weight` of them that only share a label.

    copy  number of an augmented copy
    """

    key: str
    copy: int
    label: int
    draws: DrawsJson | None
    weight: int = 1


class Format(Protocol[R]):
    """A layout of a baked set.

    name            as --format and manifests have it
    training        Python lines with a function `read` of the epoch and more, which opens its copy;
                    {extension} is that of the pictures
    suffixes        of files that samples share; a shard's own file ends with the first
    file_pattern    regular expression of the names that only pixmix gives to files in a copy's
                    folder; "" where names are the user's
    sharded         users see shards: they can be shuffled, equally long, with each sample's draws
    encoded         pictures lie there in the image format, not as pixels
    row_a_picture   manifest.jsonl has a row a picture, not a row a shard
    joined          shards are pieces, which are joined when all are there
    size_is_option  the default shard size is recorded: it follows from more than the other settings
    streams         can be written to stdout
    dali_index      can have NVIDIA DALI's index beside its shards
    datasets_reads  Hugging Face `datasets` reads it, by `datasets_paths`
    needs_every_class  readers number the classes that they find, so each must have a picture
    """

    name: str
    training: str
    suffixes: tuple[str, ...] = ()
    file_pattern: str = ""
    sharded: bool = False
    encoded: bool = True
    row_a_picture: bool = False
    joined: bool = False
    size_is_option: bool = False
    streams: bool = False
    dali_index: bool = False
    datasets_reads: bool = False
    needs_every_class: bool = False

    # ---------------------------------------------------------------- before a bake

    def check_available(self) -> None:
        """Refuse when a library that it needs is not installed. Raises InputError."""
        return

    def versions(self) -> dict[str, str]:
        """Library -> version, of what decides its bytes besides the image codec."""
        return {}

    def class_names(self, source: Source) -> tuple[str, ...]:
        """The classes' names in the output. Raises InputError when it cannot keep the labels."""
        return tuple(map(unicode_text, source.classes))

    def naming(self, source: Source) -> bytes:
        """A number from 0 to 255 for each sample, of what the whole source says of its name."""
        return b""

    def targets(self, source: Source, naming: Sequence[int]) -> Sequence[str] | None:
        """The name in the output of each sample of the source, where it has one of its own."""
        return None

    def datasets_paths(self, folders: str, source: Source) -> list[str]:
        """Patterns of the files that `datasets` reads.

        folders  of copies, as copy-000 or copy-*
        """
        return [f"{folders}/*{self.suffixes[0]}"]

    def datasets_options(self, source: Source) -> dict[str, bool]:
        """Parameters of the builder that `datasets` reads the files with."""
        return {}

    def default_shard_size(self, samples: int, config: PixMixConfig) -> int:
        """Samples a shard when the user does not say: a function of dataset and recipe alone."""
        return even_shards(samples, GOOD_SHARD_COUNT, SHARD_RANGE)

    # ---------------------------------------------------------------- writing

    def writer(
        self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]
    ) -> ShardWriter:
        """Takes one shard's samples. Its partial files lie in tmp, its artefacts in job.output."""

    def path(self, job: BakeJob, copy: Copy, shard: int, sample: Sample) -> str:
        """The file of the output in which a sample's copy lies."""

    def names(self, job: BakeJob, task: ShardTask) -> list[str]:
        """Names of the files that a task puts into each copy's folder."""
        copy = task.copies[0]
        paths = (self.path(job, copy, task.shard, sample) for sample in task.samples)
        return [path.removeprefix(f"{copy.folder}/") for path in dict.fromkeys(paths)]

    def is_in_place(self, output: Path, row: R) -> bool:
        """Whether the artefact of a row is still there, as long as it was written."""
        return has_its_length(output, row)

    def join(self, output: Output) -> list[dict[str, Any]]:
        """Put together what was committed in pieces; {"path", ...} of each file written."""
        return []

    def estimated_size(self, job: BakeJob, baked: Baked) -> int:
        """Bytes that one sample takes."""
        return sum(map(len, self.fields(job, baked, "", 0).values()))

    # ---------------------------------------------------------------- comparing

    def fields(
        self, job: BakeJob, baked: Baked, class_name: str, place: int
    ) -> Mapping[str, bytes]:
        """Name -> bytes of what a sample puts into its file, as `stored_fields` finds it there.

        place  the sample's place in the copy's order
        """

    def stored_fields(self, path: Path) -> Mapping[str, bytes]:
        """The fields of all samples in a file. Raises StorageError, OSError, ValueError."""

    def check(self, folder: Path, rows: Sequence[R], expected: Expected) -> Iterator[str]:
        """What is wrong with one file of the output.

        rows    all rows of that file
        raises  PixMixError, OSError, ValueError, KeyError, TypeError: it cannot even be read
        """

    def check_folders(self, output: Path, classes: Sequence[str]) -> Iterator[tuple[str, str]]:
        """(name, problem) of folders in an output."""
        yield from ()

    # ---------------------------------------------------------------- mending

    def to_bake_again(self, output: Path, rows: Sequence[R], wrong: set[str], size: int) -> list[R]:
        """The rows whose artefacts have to be made again when these files are wrong.

        size  of the pictures, pixels
        """
        return [row for row in rows if row.path in wrong]

    def put_in_place(self, made: Path, output: Path, row: R) -> None:
        """Move what was baked again into the output; `made` is a folder laid out like it."""
        for name in companions(row.path):
            if (made / name).exists():
                move(made / name, output, name)

    def join_again(
        self, output: Output, made: Path, rows: Sequence[R], copies: Iterable[Copy]
    ) -> Iterator[Finding]:
        """Put copies together from pieces baked again and what lies there.

        rows  of all artefacts
        """
        yield from ()

    # ---------------------------------------------------------------- reading, to train

    def reader(self, folder: Path, rows: Iterable[R], size: int) -> CopyReader:
        """The samples of every copy, to be read one by one in any order.

        rows    the artefacts', sorted; those of the first copy decide what the samples are
        size    of the pictures, pixels
        raises  StorageError, InputError when the set is not what its rows say
        """

    # ---------------------------------------------------------------- showing

    def shown(self, folder: Path, rows: Sequence[R], count: int) -> Iterator[Shown]:
        """About `count` samples with MAX_COPIES copies at most; rows are the artefacts'."""

    def records(
        self, folder: Path, rows: Iterable[R], manifest: Manifest, most: int
    ) -> Iterator[Record]:
        """What is recorded of the pictures, of about `most` of them, evenly spaced.

        rows    of the augmented copies' artefacts
        raises  InputError, StorageError for a damaged set
        """


def even_shards(samples: int, good: int, limits: tuple[int, int]) -> int:
    """Samples a shard that give about `good` shards of equal size, within limits."""
    low, high = limits
    wanted = min(max(-(-samples // good), low), high)
    shards = max(1, -(-samples // wanted))
    return max(1, -(-samples // shards))


def evenly_spaced(rows: Iterable[BakedShard], most: int) -> list[BakedShard]:
    """Rows of shards, evenly spaced, that together have about `most` samples."""
    shards = list(rows)
    total = sum(row.count for row in shards)
    return shards[:: max(1, -(-total // most))]


def move(made: Path, output: Path, name: str) -> None:
    """Move a finished file to its place, durably. Raises InputError for a link; StorageError."""
    final = output / name
    try:
        TmpFolder(made.parent, output).rename(made, final)
        sync_directory(final.parent)
    except OSError as error:
        raise StorageError.from_os_error(error, str(final)) from error


# ---------------------------------------------------------------- what a sample is made of


def recorded_draws(text: str, where: str) -> DrawsJson:
    """The draws that a sample's record holds as JSON. Raises InputError for damaged ones."""
    try:
        return checked(DrawsJson, json.loads(text), "draws")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{where} is damaged: {error}", "pixmix verify, on this set") from None


def unicode_text(name: str) -> str:
    r"""A name as libraries want text: bytes in it that are no UTF-8 become \xe9 and so on."""
    if name.isascii():
        return name
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair, out of JSON
        return name.encode("utf-8", "backslashreplace").decode()


def encoded(job: BakeJob, baked: Baked) -> bytes:
    """A picture in the job's image format."""
    return images.encode(baked.pixels, job.files.image_format, job.files.quality)


def decoded(data: bytes, name: str) -> U8 | None:
    """A stored picture, (h, w, 3), or None when it does not decode."""
    try:
        return images.decode_rgb(data, name, max_pixels=images.OWN_PIXELS)
    except PixMixError:
        return None


def sample_key(sample: Sample) -> str:
    """A sample's name in a shard, without extension: its index, so free of dots and spaces."""
    return f"{sample.index:09d}" + (f"-pad{sample.pad}" if sample.pad else "")


def index_of(key: str) -> int | None:
    """The index in a sample's key, 123 of 000000123-pad1; None when it is no key of ours."""
    digits = key.partition("-")[0]
    return int(digits) if digits.isdecimal() else None


def picture_name(job: BakeJob, sample: Sample) -> str:
    """The name of a sample's picture in a shard, 000000123.jpg."""
    return f"{sample_key(sample)}.{images.FORMATS[job.files.image_format]}"
