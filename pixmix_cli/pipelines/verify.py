"""verify: does an output still hold what its manifest says, and does all of it decode?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.outputs.mirror import files_at_hand
from pixmix_cli.outputs.rows import (
    BAKE_EXTRAS,
    MANIFEST,
    META,
    ROWS,
    Row,
    committed_rows,
    companions,
)
from pixmix_cli.outputs.run_plan import look
from pixmix_cli.pipelines.bake.formats import npy, parquet, webdataset
from pixmix_cli.pipelines.engines.local import run_tasks
from pixmix_cli.sources.walk import walk
from pixmix_cli.storage import images, tar
from pixmix_cli.storage.files import read_bytes, sha256_hex
from pixmix_cli.storage.remote import Url

PICTURES_A_TASK = 64
HASH_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Checked:
    """What one task found: pictures looked at, and problems as {"path", "problem"}."""

    pictures: int
    problems: tuple[Row, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is to check."""

    path: Path
    manifest: dict[str, Any]
    classes: tuple[str, ...]
    tasks: tuple[tuple[Row, ...], ...]
    total: int
    problems: tuple[Row, ...]  # found by comparing names alone


def plan(path: Path) -> Plan:
    """Read the manifest and compare it with the names there are.

    raises  InputError when the folder is missing or was not made by pixmix
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder made by pixmix")
    if not (path / MANIFEST).is_file() and not (path / META / "plan.json").is_file():
        raise InputError(
            f"{path} has no {MANIFEST}: it was not made by pixmix", "a folder that pixmix made"
        )
    try:
        state = look(path)
    except InputError as error:
        raise InputError(error.message, "--overwrite, to make the set again") from None
    assert state.plan is not None
    problems: list[Row] = []
    if state.status == "unfinished":
        problems.append(_problem(".", _unfinished(state.plan)))
    elif (path / META).exists():
        problems.append(_problem(META, "is the leftover of a run that was killed at its very end"))
    rows = [row for row in committed_rows(path) if "error" not in row]
    classes = _classes(path, state.plan, problems)
    artefacts = [row for row in rows if "member" not in row]
    members: dict[str, list[Row]] = {}
    for row in rows:
        if "member" in row:
            members.setdefault(row["path"], []).append(row)
    problems.extend(_strangers(path, {row["path"] for row in rows}))
    summary = state.plan.get("summary", {})
    told = summary.get("pictures") if isinstance(summary, dict) else None
    total = sum(row.get("count", 1) for row in artefacts)
    if state.status == "finished" and told != total:
        problems.append(_problem(ROWS, f"tells of {total} pictures, {MANIFEST} of {told}"))
    return Plan(
        path, state.plan, classes, tuple(_tasks(artefacts, members)), total, tuple(problems)
    )


def _unfinished(plan: dict[str, Any]) -> str:
    if "whole" in plan:
        return "the runs that make its parts are not finished; their --shard again, or --finish"
    return "the run that makes it is not finished; --resume goes on"


def _classes(path: Path, manifest: dict[str, Any], problems: list[Row]) -> tuple[str, ...]:
    """The class names of a baked set; what is wrong with them goes to `problems`."""
    file = path / "classes.json"
    if manifest["command"] != "bake":
        return ()
    finished = (path / MANIFEST).is_file()
    problems.extend(
        _problem(name, "is missing")
        for name in BAKE_EXTRAS
        if finished and not (path / name).exists()
    )
    if not file.exists():
        return ()
    try:
        names = json.loads(file.read_bytes())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("not a list of names")
    except (ValueError, RecursionError) as error:
        problems.append(_problem(file.name, f"is damaged: {error}"))
        return ()
    if manifest["options"].get("format") == "imagefolder":
        for copy in sorted([*path.glob("copy-*"), *path.glob("plain-*")]):
            folders = sorted(entry.name for entry in copy.iterdir() if entry.is_dir())
            if folders != names:
                text = "its folders are not the classes of classes.json: ImageFolder would number "
                problems.append(_problem(copy.name, text + "them otherwise"))
    return tuple(names)


def _tasks(artefacts: list[Row], members: dict[str, list[Row]]) -> Iterator[tuple[Row, ...]]:
    loose = [row for row in artefacts if "count" not in row]
    for begin in range(0, len(loose), PICTURES_A_TASK):
        yield tuple(loose[begin : begin + PICTURES_A_TASK])
    arrays: dict[str, list[Row]] = {}
    for row in artefacts:
        if row["path"].endswith(".tar"):
            yield (row, *members.get(row["path"], ()))
        elif row["path"].endswith(".parquet"):
            yield (row,)
        elif row["path"].endswith(".npy"):
            arrays.setdefault(row["path"], []).append(row)
    for rows in arrays.values():
        yield tuple(rows)


def _strangers(path: Path, known: set[str]) -> Iterator[Row]:
    """Pictures, tars and arrays that the manifest does not tell of."""
    known = {name for path in known for name in companions(path)}
    for relative, files in walk(path, lambda text: None):
        for entry in files:
            name = relative + entry.name
            artefact = images.is_picture_name(name) or name.endswith(
                (".tar", ".idx", ".npy", ".parquet")
            )
            if artefact and name not in known:
                yield _problem(name, f"is not in {ROWS}")


def only(plan: Plan, paths: set[str]) -> Plan:
    """The part of a plan that concerns these files, to look at them once more."""
    tasks = tuple(
        kept for task in plan.tasks if (kept := tuple(row for row in task if row["path"] in paths))
    )
    return replace(plan, tasks=tasks, total=0)


def run(plan: Plan, workers: int, elsewhere: Url | None = None) -> Iterator[Checked]:
    """Check everything; the problems found while planning come first.

    elsewhere  what the plan's folder is a mirror of
    """
    yield Checked(0, plan.problems)
    context = (plan.path, plan.manifest, plan.classes, elsewhere)
    yield from run_tasks(Checker, context, plan.tasks, workers, lambda task: str(task[0]["path"]))


class Checker:
    """One worker: checks artefacts against their rows."""

    def __init__(
        self,
        path: Path,
        manifest: dict[str, Any],
        classes: tuple[str, ...],
        elsewhere: Url | None = None,
    ) -> None:
        """Settle what the pictures and labels must be like."""
        self._path = path
        self._elsewhere = elsewhere
        self._size = manifest["options"].get("size")
        self._baked = manifest["command"] == "bake"
        self._json = bool(manifest["options"].get("draws-json"))
        self._classes = classes

    def __call__(self, rows: tuple[Row, ...]) -> Checked:
        """Check some loose pictures, or one tar, or the slices of one array."""
        if self._elsewhere is None:
            return self._check(rows)
        names = {name for row in rows for name in companions(row["path"])}
        with files_at_hand(self._path, self._elsewhere, names):
            return self._check(rows)

    def _check(self, rows: tuple[Row, ...]) -> Checked:
        first = rows[0]["path"]
        if first.endswith(".tar"):
            return Checked(rows[0]["count"], self._collect(first, self._tar(rows[0], rows[1:])))
        if first.endswith(".parquet"):
            return Checked(rows[0]["count"], self._collect(first, self._parquet(rows[0])))
        if first.endswith(".npy"):
            count = sum(row["count"] for row in rows)
            return Checked(count, self._collect(first, self._array(rows)))
        problems: list[Row] = []
        for row in rows:
            problems.extend(self._collect(row["path"], self._picture(row)))
        return Checked(len(rows), tuple(problems))

    def _collect(self, name: str, findings: Iterator[str]) -> tuple[Row, ...]:
        """Findings as rows; a check that cannot go on ends with one more."""
        problems: list[Row] = []
        try:
            problems.extend(_problem(name, text) for text in findings)
        except PixMixError as error:
            problems.append(_problem(name, error.message))
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            problems.append(_problem(name, f"{type(error).__name__}: {error}"))
        return tuple(problems)

    def _picture(self, row: Row) -> Iterator[str]:
        path = self._path / row["path"]
        if not path.is_file():
            yield "is missing"
            return
        data = read_bytes(path)
        if sha256_hex(data) != row["sha256"]:
            yield f"is not what was written ({len(data)} bytes, {row['bytes']} expected)"
        yield from self._decodes(data, row["path"])
        if self._baked and not 0 <= row["label"] < len(self._classes):
            yield f"label {row['label']} is not in classes.json"

    def _decodes(self, data: bytes, name: str) -> Iterator[str]:
        try:
            shape = images.decode_rgb(data, name).shape
        except PixMixError as error:
            yield f"does not decode: {error.message}"
            return
        # recipes rendered again may each have a size of their own
        if self._size is not None and shape != (self._size, self._size, 3):
            yield f"{name} is {shape[1]} x {shape[0]} pixels, not {self._size} x {self._size}"

    def _tar(self, row: Row, member_rows: tuple[Row, ...]) -> Iterator[str]:
        path = self._path / row["path"]
        if not path.is_file():
            yield "is missing"
            return
        if _sha256_of_file(path) != row["sha256"]:
            yield f"is not what was written ({path.stat().st_size} bytes, {row['bytes']} expected)"
        index = path.with_suffix(".idx")
        if "idx_sha256" in row and (
            not index.is_file() or _sha256_of_file(index) != row["idx_sha256"]
        ):
            yield f"its {index.name} is missing or not what was written"
        hashes = {member["member"]: member["sha256"] for member in member_rows}
        samples: dict[str, dict[str, bytes]] = {}
        with path.open("rb") as file:
            for member in tar.members(path):
                file.seek(member.offset)
                data = file.read(member.length)
                key, _, extension = member.name.partition(".")
                samples.setdefault(key, {})[extension] = data
                if hashes and sha256_hex(data) != hashes.get(member.name):
                    yield f"member {member.name} is not what was written"
        if len(samples) != row["count"]:
            yield f"holds {len(samples)} pictures, {row['count']} expected"
        for key, parts in samples.items():
            yield from self._sample(key, parts)

    def _parquet(self, row: Row) -> Iterator[str]:
        path = self._path / row["path"]
        if not path.is_file():
            yield "is missing"
            return
        if _sha256_of_file(path) != row["sha256"]:
            yield f"is not what was written ({path.stat().st_size} bytes, {row['bytes']} expected)"
        count = 0
        for sample in parquet.parquet_rows(path):
            count += 1
            name = sample["image"]["path"]
            yield from self._decodes(sample["image"]["bytes"], name)
            if not 0 <= sample["label"] < len(self._classes):
                yield f"sample {name}: label {sample['label']} is not in classes.json"
        if count != row["count"]:
            yield f"holds {count} pictures, {row['count']} expected"

    def _sample(self, key: str, parts: dict[str, bytes]) -> Iterator[str]:
        found = [extension for extension in parts if extension in images.FORMATS.values()]
        if len(found) != 1:
            yield f"sample {key} has {len(found)} pictures"
        for extension in found:
            yield from self._decodes(parts[extension], f"{key}.{extension}")
        if not self._baked:
            return
        label = parts.get("cls", b"none").decode("ascii", "replace")
        if not label.isdigit() or int(label) >= len(self._classes):
            yield f"sample {key}: label {label} is not in classes.json"
        elif self._json:
            record = webdataset.read_record(parts["json"])
            if (record["label"], record["class"]) != (int(label), self._classes[int(label)]):
                yield f"sample {key}: .cls, .json and classes.json disagree on the label"

    def _array(self, rows: tuple[Row, ...]) -> Iterator[str]:
        path = self._path / rows[0]["path"]
        if not path.is_file():
            yield "is missing"
            return
        pictures = np.load(path, mmap_mode="r", allow_pickle=False)
        labels = np.load(path.with_name("labels.npy"), allow_pickle=False)
        count = sum(row["count"] for row in rows)
        if pictures.shape != (count, self._size, self._size, 3) or labels.shape != (count,):
            yield f"has shapes {pictures.shape} and {labels.shape}, {count} pictures expected"
            return
        for first, row in npy.npy_slices(list(rows)):
            part = slice(first, first + row["count"])
            if npy.sha256_of_array(pictures[part]) != row["sha256"]:
                yield f"pictures {part.start} to {part.stop - 1} are not what was written"
            if npy.sha256_of_array(labels[part]) != row["labels_sha256"]:
                yield f"labels {part.start} to {part.stop - 1} are not what was written"


def _sha256_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _problem(path: str, text: str) -> Row:
    return {"path": path, "problem": text}
