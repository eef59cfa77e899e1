"""ImageFolder: each picture a file in its class's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from pixmix_cli.outputs.rows import Row
from pixmix_cli.pipelines.bake.formats.base import draws_of, encoded
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, Task
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images
from pixmix_cli.storage.files import (
    PartialFile,
    Tmp,
    commit_all,
)


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


def picture_path(job: BakeJob, sample: Sample, copy: Copy) -> str:
    """Where a loose picture lies in the output."""
    return f"{copy.folder}/{sample.target}.{images.FORMATS[job.image_format]}"


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
                "copy": baked.copy.code,
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
