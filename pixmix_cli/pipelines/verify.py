"""verify: does an output still hold what its manifest says, and does all of it decode?"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.outputs.file_names import BAKE_EXTRAS, MANIFEST, META, ROWS
from pixmix_cli.outputs.mirror import files_at_hand
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import Artefact, MixingMember, companions
from pixmix_cli.outputs.run_plan import Manifest, OutputState, look
from pixmix_cli.pipelines.bake.formats.registry import FORMATS, format_of
from pixmix_cli.pipelines.checks import Expected, Finding
from pixmix_cli.pipelines.engines.local import run_tasks
from pixmix_cli.pipelines.mixing_sets.registry import SET_FORMATS
from pixmix_cli.sources.walk import walk
from pixmix_cli.storage import images
from pixmix_cli.storage.inside import check_real
from pixmix_cli.storage.remote import Url

PICTURES_A_TASK = 64


Stored = Artefact | MixingMember
File = tuple[Stored, ...]  # the rows of one file


class Checkable(Protocol):
    """How a set lies in its folder: a format of baked sets, or of mixing sets."""

    def check(self, folder: Path, rows: Sequence[Any], expected: Expected) -> Iterator[str]:
        """What is wrong with one file, whose rows these are."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What one task found: pictures looked at, and problems."""

    pictures: int
    problems: tuple[Finding, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Checklist:
    """What there is to check."""

    path: Path
    manifest: Manifest
    layout: Checkable
    expected: Expected
    files: tuple[File, ...]
    total: int
    problems: tuple[Finding, ...]  # found by comparing names alone


def checklist_of(path: Path) -> Checklist:
    """Read the manifest and compare it with the names there are.

    raises  InputError when the folder is missing or was not made by pixmix
    """
    if not path.is_dir():
        raise InputError(f"{path} is not a folder made by pixmix")
    if not (path / MANIFEST).is_file() and not (path / META / "plan.json").is_file():
        raise InputError(
            f"{path} has no {MANIFEST}: it was not made by pixmix", "a folder that pixmix made"
        )
    check_real(path / META)
    try:
        state = look(path)
    except InputError as error:
        raise InputError(error.message, "--overwrite, to make the set again") from None
    assert state.plan is not None
    problems: list[Finding] = []
    if state.status == "unfinished":
        problems.append(Finding(".", _unfinished(state)))
    elif (path / META).exists():
        problems.append(Finding(META, "is the leftover of a run that was killed at its very end"))
    rows = [row for row in committed_rows(path) if isinstance(row, Artefact | MixingMember)]
    classes = _classes(path, state.plan, problems)
    files = tuple(_files(rows))
    problems.extend(_strangers(path, {row.path for row in rows}))
    total = sum(map(_pictures, files))
    told = state.plan["summary"]["pictures"] if "summary" in state.plan else total
    if told != total:
        problems.append(Finding(ROWS, f"tells of {total} pictures, {MANIFEST} of {told}"))
    options = state.plan["options"]
    expected = Expected(options.get("size"), classes, bool(options.get("draws-json")))
    return Checklist(
        path, state.plan, _layout_of(path, state.plan), expected, files, total, tuple(problems)
    )


def _layout_of(path: Path, manifest: Manifest) -> Checkable:
    """What knows how the set's files are laid out. Raises InputError."""
    kind = str(manifest["options"].get("format"))
    known: Mapping[str, Checkable] = FORMATS if manifest["command"] == "bake" else SET_FORMATS
    if kind not in known:
        raise InputError(f"{path} has the layout {kind}, which this pixmix does not know")
    return known[kind]


def _unfinished(state: OutputState) -> str:
    if state.whole is not None:
        return "the runs that make its parts are not finished; their --shard again, or --finish"
    return "the run that makes it is not finished; --resume goes on"


def _classes(path: Path, manifest: Manifest, problems: list[Finding]) -> tuple[str, ...]:
    """The class names of a baked set; what is wrong with them goes to `problems`."""
    file = path / "classes.json"
    if manifest["command"] != "bake":
        return ()
    finished = (path / MANIFEST).is_file()
    problems.extend(
        Finding(name, "is missing")
        for name in BAKE_EXTRAS
        if finished and not (path / name).is_file()
    )
    if not file.is_file():
        return ()
    try:
        names = json.loads(file.read_bytes())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("not a list of names")
    except (ValueError, RecursionError) as error:
        problems.append(Finding(file.name, f"is damaged: {error}"))
        return ()
    layout = format_of(manifest)
    if layout is not None:
        found = layout.check_folders(path, names)
        problems.extend(Finding(name, text) for name, text in found)
    return tuple(names)


def _files(rows: list[Stored]) -> list[File]:
    """The rows of each file: of a picture one, of a tar one and its members', of an array many."""
    files: dict[str, list[Stored]] = {}
    for row in rows:
        files.setdefault(row.path, []).append(row)
    return [tuple(sorted(of_file, key=lambda row: row.rank)) for of_file in files.values()]


def _tasks(files: Iterable[File]) -> Iterator[tuple[File, ...]]:
    """Files to check together: so many that a task is worth its while."""
    task: list[File] = []
    pictures = 0
    for file in files:
        task.append(file)
        pictures += _pictures(file)
        if pictures >= PICTURES_A_TASK:
            yield tuple(task)
            task, pictures = [], 0
    if task:
        yield tuple(task)


def _pictures(file: File) -> int:
    return sum(row.pictures for row in file if isinstance(row, Artefact))


def _strangers(path: Path, known: set[str]) -> Iterator[Finding]:
    """Pictures, shards and arrays that the manifest does not record."""
    known = {name for path in known for name in companions(path)}
    endings = (".tar", *(suffix for name in FORMATS for suffix in FORMATS[name].suffixes))
    for relative, files in walk(path, lambda text: None):
        for entry in files:
            name = relative + entry.name
            if (images.is_picture_name(name) or name.endswith(endings)) and name not in known:
                yield Finding(name, f"is not in {ROWS}")


def only(checklist: Checklist, paths: set[str]) -> Checklist:
    """The files of a plan with these names, to look at them once more."""
    files = tuple(file for file in checklist.files if file[0].path in paths)
    return replace(checklist, files=files, total=0)


def check(checklist: Checklist, workers: int, elsewhere: Url | None = None) -> Iterator[Checked]:
    """Check everything; the problems found while planning come first.

    elsewhere  what the plan's folder is a mirror of
    """
    yield Checked(0, checklist.problems)
    context = (checklist.path, checklist.layout, checklist.expected, elsewhere)
    yield from run_tasks(
        Checker, context, _tasks(checklist.files), workers, lambda task: _name(task[0])
    )


def _name(file: File) -> str:
    return file[0].path


class Checker:
    """One worker: checks files against their rows."""

    def __init__(
        self, path: Path, layout: Checkable, expected: Expected, elsewhere: Url | None = None
    ) -> None:
        """Settle what the pictures and labels must be like."""
        self._path = path
        self._layout = layout
        self._expected = expected
        self._elsewhere = elsewhere

    def __call__(self, files: tuple[File, ...]) -> Checked:
        """Check some files."""
        with contextlib.ExitStack() as stack:
            if self._elsewhere is not None:
                names = {name for file in files for name in companions(_name(file))}
                stack.enter_context(files_at_hand(self._path, self._elsewhere, names))
            problems = [problem for file in files for problem in self._check(file)]
        return Checked(sum(map(_pictures, files)), tuple(problems))

    def _check(self, file: File) -> list[Finding]:
        """What is wrong; a check that cannot go on ends with one more."""
        name = _name(file)
        problems: list[Finding] = []
        try:
            for text in self._layout.check(self._path, file, self._expected):
                problems.append(Finding(name, text))
        except PixMixError as error:
            problems.append(Finding(name, error.message))
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            problems.append(Finding(name, f"{type(error).__name__}: {error}"))
        return problems
