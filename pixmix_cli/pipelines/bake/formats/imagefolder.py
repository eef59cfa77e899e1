"""ImageFolder: each picture a file in its class's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.outputs.rows import BakedPicture, Row
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines.bake.formats.base import (
    MAX_COPIES,
    U8,
    Format,
    Record,
    ShardWriter,
    Shown,
    decoded,
    encoded,
    unicode_text,
)
from pixmix_cli.pipelines.bake.formats.reading import CopyReader
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, ShardTask
from pixmix_cli.pipelines.checks import (
    Expected,
    problem_of_label,
    problems_of_loose_picture,
)
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images
from pixmix_cli.storage.files import PartialFile, Tmp, commit_all, read_bytes

CHAIN = "::"  # in a path, to `datasets`: a file inside another; it passes over such pictures


def folder_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Names of the classes' folders, sorted as the labels are, since ImageFolder numbers them so.

    The class names themselves where they are names of folders and sorted; else with the label in
    front.
    """
    classes = [name.replace(CHAIN, "__") for name in classes]
    fit = all(name and name[0] != "." and not set(name) & set("/\0") for name in classes)
    if fit and all(a < b for a, b in pairwise(classes)) and all(len(n) < 200 for n in classes):
        return tuple(classes)
    width = len(str(len(classes) - 1))
    cleaned = (name.replace("/", "_").replace("\0", "_")[:40].strip() for name in classes)
    numbers = (f"{label:0{width}d}" for label in range(len(classes)))
    return tuple(
        number if name in ("", label) else f"{number} {name}"
        for number, label, name in zip(numbers, map(str, range(len(classes))), cleaned)
    )


STEM, WHOLE, NUMBERED = range(3)  # how much of a file's name its output has


def naming_of(source: Source) -> bytes:
    """For each picture of an ImageFolder which of STEM, WHOLE and NUMBERED makes its name unique.

    The whole file name where two differ in nothing but the extension or case; with the sample's
    index where even that is taken. Of each name eight bytes are held, its hash.
    """
    found = bytearray(len(source.pictures))

    def compared(index: int) -> str:
        # without regard to case, as some file systems compare names
        name = _whole_name(source, index)
        return (_stem(name) if found[index] == STEM else name).casefold()

    hashes = np.fromiter(map(hash, map(compared, range(len(found)))), np.int64, len(found))
    longer = list(_repeated(hashes, compared))
    for index in longer:
        found[index] = WHOLE
    if longer:
        hashes[longer] = [hash(compared(index)) for index in longer]
        for index in list(_repeated(hashes, compared)):
            found[index] = NUMBERED
    return bytes(found)


def _repeated(hashes: NDArray[np.int64], text: Callable[[int], str]) -> Iterator[int]:
    """The numbers of the texts that another is equal to; `hashes` are theirs."""
    order = np.argsort(hashes, kind="stable")
    same = np.zeros(len(order) + 1, np.int8)
    same[1:-1] = hashes[order[1:]] == hashes[order[:-1]]
    edges = np.flatnonzero(np.diff(same))  # of runs of equal hashes, begin and end in turn
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist()):
        alike = order[begin : end + 1].tolist()
        seen = Counter(map(text, alike))
        yield from (index for index in alike if seen[text(index)] > 1)


def _whole_name(source: Source, index: int) -> str:
    """`class/sub/name.jpg`, as text."""
    name = source.pictures[index].name.partition("/")[2]
    return f"{source.classes[source.labels[index]]}/{unicode_text(name.replace(CHAIN, '__'))}"


def _stem(name: str) -> str:
    """A path without the extension."""
    last = name.rfind("/") + 1
    dot = name.rfind(".")
    return name[:dot] if last < dot < len(name) - 1 else name


class TargetNames(Sequence[str]):
    """Output name of every sample without extension, each once, made when asked for.

    `class/sub/name` of an ImageFolder, as `naming_of` says. `class/index` of any other source,
    whose names may lead anywhere.
    """

    def __init__(self, source: Source, naming: Sequence[int]) -> None:
        """The names for a source; `naming` is not looked at but of an ImageFolder."""
        self._source = source
        self._naming = naming

    def __len__(self) -> int:
        """How many."""
        return len(self._source.pictures)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """One of them, or some."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        source = self._source
        if source.kind != "imagefolder":
            return f"{source.classes[source.labels[index]]}/{index:09d}"
        name, how = _whole_name(source, index), self._naming[index]
        return _stem(name) if how == STEM else name if how == WHOLE else f"{name}-{index}"


def picture_path(job: BakeJob, sample: Sample, copy: Copy) -> str:
    """Where a loose picture lies in the output."""
    return f"{copy.folder}/{sample.target}.{images.FORMATS[job.files.image_format]}"


class FolderShard:
    """ImageFolder: `copy-000/<class>/<name>.jpg`, each picture a file."""

    def __init__(self, job: BakeJob, tmp: Tmp, task: ShardTask) -> None:
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
            BakedPicture(
                path=path,
                bytes=file.bytes,
                sha256=file.sha256,
                copy=baked.copy.code,
                shard=self._task.shard,
                index=baked.sample.index,
                key=baked.sample.ref.name,
                label=baked.sample.label,
                draws=baked.draws.to_json(),
            )
        )

    def commit(self) -> list[Row]:
        """Put the pictures in place."""
        commit_all(self._files)
        return self._rows

    def discard(self) -> None:
        """Remove the partial pictures."""
        for file in self._files:
            file.discard()


class FolderReader:
    """The pictures of every copy, which have the same names in each."""

    def __init__(self, folder: Path, rows: Iterable[BakedPicture]) -> None:
        """Note names and labels, from the rows of the first copy; the others' are not read."""
        first: int | None = None
        found: list[tuple[int, int, str]] = []
        for row in rows:
            if row.copy != first and first is not None:
                break
            first = row.copy
            found.append((row.index, row.label, row.path.partition("/")[2]))
        found.sort()
        self._folder = folder
        self.labels = np.array([label for _, label, _ in found], np.int64)
        self.indices = np.array([index for index, _, _ in found], np.int64)
        self._names = [name for _, _, name in found]

    def picture(self, copy: str, number: int) -> tuple[str, bytes | U8]:
        """One sample of a copy."""
        path = self._folder / copy / self._names[number]
        return str(path), read_bytes(path)


class ImageFolder(Format[BakedPicture]):
    """Loose pictures that `torchvision.datasets.ImageFolder` and `timm` read."""

    name = "imagefolder"
    row_a_picture = True
    datasets_reads = True
    needs_every_class = True
    training = """\
import glob
from torchvision.datasets import ImageFolder

def read(epoch, transform):
    folders = sorted(glob.glob("copy-*"))
    return ImageFolder(folders[epoch % len(folders)], transform)
"""

    def class_names(self, source: Source) -> tuple[str, ...]:
        """Names of folders; each must hold a picture, as ImageFolder numbers those it finds."""
        for name, count in zip(source.classes, source.counts()):
            if not count:
                raise InputError(
                    f"class {name} holds no pictures in SOURCE {source.path}, and "
                    "an ImageFolder cannot keep its label",
                    "without that class, or --format webdataset",
                )
        return folder_names([unicode_text(name) for name in source.classes])

    def naming(self, source: Source) -> bytes:
        """Of an ImageFolder how much of each file's name it takes."""
        return naming_of(source) if source.kind == self.name else b""

    def targets(self, source: Source, naming: Sequence[int]) -> Sequence[str]:
        """Class and file name, without extension."""
        return TargetNames(source, naming)

    def datasets_paths(self, folders: str, source: Source) -> list[str]:
        """All files below; those in folders with two underscores in front have to be named."""
        names = [*source.classes, *source.pictures.prefixes()]
        special = any(part.startswith("__") for name in names for part in name.split("/"))
        return [f"{folders}/**"] + ([f"{folders}/**/__*/**"] if special else [])

    def datasets_options(self, source: Source) -> dict[str, bool]:
        """Labels are the folders, also of one class; but not of folders inside classes."""
        nested = source.kind == self.name and any(
            prefix.count("/") > 1 for prefix in source.pictures.prefixes()
        )
        return {"drop_labels": nested, "drop_metadata": True}

    def writer(
        self, job: BakeJob, tmp: Tmp, task: ShardTask, classes: Sequence[str]
    ) -> ShardWriter:
        """A file a picture."""
        return FolderShard(job, tmp, task)

    def path(self, job: BakeJob, copy: Copy, shard: int, sample: Sample) -> str:
        """The picture's file."""
        return picture_path(job, sample, copy)

    def fields(
        self, job: BakeJob, baked: Baked, class_name: str, place: int
    ) -> Mapping[str, bytes]:
        """The picture alone."""
        return {"the picture": encoded(job, baked)}

    def stored_fields(self, path: Path) -> Mapping[str, bytes]:
        """The file's bytes."""
        return {"the picture": read_bytes(path)}

    def check(
        self, folder: Path, rows: Sequence[BakedPicture], expected: Expected
    ) -> Iterator[str]:
        """Hash, picture and label."""
        row = rows[-1]
        path = folder / row.path
        yield from problems_of_loose_picture(path, row, expected)
        problem = problem_of_label(row.label, expected)
        if problem and path.is_file():
            yield problem

    def check_folders(self, output: Path, classes: Sequence[str]) -> Iterator[tuple[str, str]]:
        """The folders of every copy must be the classes."""
        for copy in sorted([*output.glob("copy-*"), *output.glob("plain-*")]):
            folders = sorted(entry.name for entry in copy.iterdir() if entry.is_dir())
            if folders != list(classes):
                yield (
                    copy.name,
                    "its folders are not the classes of classes.json: ImageFolder would number "
                    "them otherwise",
                )

    def reader(self, folder: Path, rows: Iterable[BakedPicture], size: int) -> CopyReader:
        """A file a sample."""
        return FolderReader(folder, rows)

    def shown(self, folder: Path, rows: Sequence[BakedPicture], count: int) -> Iterator[Shown]:
        """Samples evenly spaced, in the order of the source."""
        by_index: dict[int, list[BakedPicture]] = {}
        for row in rows:
            by_index.setdefault(row.index, []).append(row)
        step = max(1, len(by_index) // count)
        for index in sorted(by_index)[::step][:count]:
            copies = sorted(by_index[index], key=lambda row: row.copy)[:MAX_COPIES]
            pictures = [_decoded_file(folder / row.path, row.path) for row in copies]
            yield Shown(copies[0].key, index, pictures)

    def records(
        self, folder: Path, rows: Iterable[BakedPicture], manifest: Manifest, most: int
    ) -> Iterator[Record]:
        """The rows themselves tell all."""
        total = manifest["summary"]["pictures"] if "summary" in manifest else 0
        for row in islice(rows, 0, None, max(1, -(-total // most))):
            yield Record(row.key, Copy.from_code(row.copy).number, row.label, row.draws)


def _decoded_file(path: Path, name: str) -> U8 | None:
    try:
        return decoded(read_bytes(path), name)
    except PixMixError:
        return None


FORMAT = ImageFolder()
