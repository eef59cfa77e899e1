"""One output folder: its lock, its journal of finished work, its manifest.

Layout while a run is under way                After it
    OUT/.pixmix/lock           held (flock)        OUT/manifest.json    settings, inputs, totals
    OUT/.pixmix/plan.json      settings, inputs    OUT/manifest.jsonl   one row an artefact, sorted
    OUT/.pixmix/journal.jsonl  rows, as finished   OUT/errors.jsonl     one row a skipped item
    OUT/.pixmix/tmp/           partial files       (OUT/.pixmix is gone)

Several runs may fill one output, each a part of it (--shard i/n, see part.py). They share `lock`,
which a run of its own holds alone, and each has a lock, a journal and a tmp of its own:
`lock-00003-of-00016` and so on. plan.json then also tells what the whole is to be. Who finds at its
end that nobody else holds `lock`, and that nothing is missing, writes the manifest.

An artefact (a picture, a shard) is written under tmp, made durable, renamed, and only then gets its
row in the journal: what has no row is made again. The journal is one append-only file a run, not
one small file a shard: fewer inodes, and no folder inside OUT that ImageFolder would take for a
class once the run is over. A torn last line (power loss, kill -9) is dropped.

Neither time, host, worker count nor order of completion gets into the manifest, so two runs'
folders are equal. manifest.json comes last: a folder without it is unfinished.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pixmix_cli import __version__
from pixmix_cli.errors import (
    InputError,
    OutputBusyError,
    OutputExistsError,
    ResumeMismatchError,
    StorageError,
)
from pixmix_cli.outputs.part import Part, Whole
from pixmix_cli.storage.files import (
    PartialFile,
    Tmp,
    canonical_json,
    partial_files,
    sha256_hex,
    sync_directory,
    write_whole,
)

Row = dict[str, Any]

META = ".pixmix"
MANIFEST = "manifest.json"
ROWS = "manifest.jsonl"
ERRORS = "errors.jsonl"
PLAN = f"{META}/plan.json"
JOURNALS = f"{META}/journal*.jsonl"  # of a run of its own, and of parts
SYNC_SECONDS = 0.5  # how much finished work a power loss may cost; kill -9 costs none of it

TRASH = "trash.jsonl"  # rows of what --overwrite is removing, so that a kill cannot orphan it
WAIT_SECONDS = 30  # that a part waits while another one starts or finishes
BAKE_EXTRAS = ("classes.json", "README.md")  # written beside a baked set's manifest
_BIGGEST = 2**62  # of the whole numbers in a row


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What decides the bytes of an output.

    command   "generate-fractals", "render-featvis" or "bake"
    options   option name (without dashes) -> value, for every option that changes a byte
    versions  what else changes a byte: codec, Pillow, our own algorithms' versions
    inputs    name -> {"path", "pictures", "sha256"}; the path is told, not compared
    """

    command: str
    options: dict[str, Any]
    versions: dict[str, str]
    inputs: dict[str, dict[str, Any]]

    def settings_sha256(self) -> str:
        """Hash of all that must be equal for a resume."""
        digests = {name: value["sha256"] for name, value in self.inputs.items()}
        return sha256_hex(
            canonical_json([self.command, self.options, self.versions, digests]).encode()
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as manifest.json and plan.json hold it."""
        return {
            "tool": "pixmix",
            "command": self.command,
            "options": self.options,
            "versions": self.versions,
            "inputs": self.inputs,
            "settings_sha256": self.settings_sha256(),
        }


@dataclass(frozen=True, slots=True)
class OutputState:
    """What is in an output folder before a run: "absent", "unfinished" or "finished"."""

    status: str
    plan: dict[str, Any] | None


def look(path: Path) -> OutputState:
    """The state of an output folder; changes nothing.

    raises  InputError when it is a file, or holds files that pixmix did not write
    """
    if not path.exists():
        return OutputState("absent", None)
    if not path.is_dir():
        raise InputError(f"output {path} is a file, not a folder", "another --output")
    for status, name in (("finished", MANIFEST), ("unfinished", PLAN)):
        file = path / name
        if file.is_file():
            try:
                plan = json.loads(file.read_bytes())
            except (ValueError, RecursionError) as error:
                raise InputError(f"{file} is damaged: {error}", "another --output") from None
            _check_plan(plan, file)
            return OutputState(status, plan)
    if any(entry.name != META for entry in path.iterdir()):
        raise InputError(
            f"output {path} is not empty and was not made by pixmix",
            "an --output that does not exist yet",
        )
    return OutputState("absent", None)


def _check_plan(plan: Any, file: Path) -> None:
    """Refuse a manifest.json or plan.json that is not one of ours."""
    parts = {"command": str, "options": dict, "versions": dict, "inputs": dict}
    whole = isinstance(plan, dict) and plan.get("tool") == "pixmix"
    if not whole or not all(isinstance(plan.get(name), kind) for name, kind in parts.items()):
        raise InputError(f"{file} was not written by pixmix, or is damaged", "another --output")
    if not all(isinstance(value, dict) for value in plan["inputs"].values()):
        raise InputError(f"{file} is damaged: inputs", "another --output")


def committed_rows(path: Path) -> Iterator[Row]:
    """Every row of finished work in an output, whether its run ended or not.

    raises  InputError that names the file and line of a row that is not one of ours
    """
    # a journal beside a manifest.json is the leftover of a run killed at its very end
    finished = (path / MANIFEST).is_file()
    for file in [path / ROWS, path / ERRORS] if finished else _row_files(path):
        yield from _read_rows(file)


def _row_files(path: Path) -> list[Path]:
    """Wherever rows of finished work are; later ones win."""
    return [path / ROWS, path / ERRORS, *sorted(path.glob(JOURNALS))]


def _read_rows(file: Path) -> Iterator[Row]:
    for number, line in enumerate(_whole_lines(file), 1):
        try:
            row = json.loads(line)
            _check_row(row)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"line {number} of {file} is damaged: {' '.join(str(error).split())}",
                "another --output, or --overwrite",
            ) from None
        yield row


def _check_row(row: Any) -> None:
    """Raise ValueError for a row that no run of ours writes."""
    if not isinstance(row, dict):
        raise ValueError("not a row")
    for name in ("index", "copy", "shard", "count", "bytes", "stop"):
        number = row.get(name, 0)
        if type(number) is not int or not -1 <= number < _BIGGEST:
            raise ValueError(f"{name} is {number}")
    if "error" in row:
        return
    path = row.get("path")
    if not isinstance(path, str) or "\0" in path:
        raise ValueError("no path")
    parts = path.split("/")
    if path.startswith("/") or not path or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"path {path} leads out of the folder")
    if "bytes" not in row and "member" not in row:
        raise ValueError("no bytes")


def companions(path: str) -> tuple[str, ...]:
    """A row's path, and the names of what is written with it and has no row of its own."""
    if path.endswith("images.npy"):
        return path, path.replace("images.npy", "labels.npy")
    if path.endswith(".tar"):
        return path, path.removesuffix("tar") + "idx"
    return (path,)


def has_its_length(output: Path, row: Row) -> bool:
    """Whether the file that a row tells of is still there, as long as it was written."""
    try:
        length: int = (output / row["path"]).stat().st_size
    except OSError:
        return False
    return length == row["bytes"]


def _whole_lines(path: Path) -> Iterator[bytes]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line


class Output:
    """A folder being written by this run alone, or a part of it. Use as a context manager."""

    def __init__(
        self,
        path: Path,
        plan: RunPlan,
        *,
        resume: bool,
        overwrite: bool,
        part: Part | None = None,
        whole: Whole | None = None,
        missing: Callable[[], bool] = lambda: False,
    ) -> None:
        """Lock the folder and check that the run may go ahead.

        part     which part of it this run fills; it goes on with what is there, as with `resume`
        whole    what an output that parts fill will be when all are done
        missing  with a part: whether a finished output lacks something of the whole (it is to grow)
        raises   OutputExistsError, OutputBusyError, ResumeMismatchError, InputError, StorageError
        """
        self.path = path
        self.plan = plan
        self.part = part
        self.whole = whole
        self._meta = path / META
        suffix = "" if part is None else f"-{part.name}"
        self.local_tmp = self._meta / f"tmp{suffix}"
        self.tmp = self._staging(self.local_tmp)
        self._journal_file = self._meta / f"journal{suffix}.jsonl"
        self._journal: int | None = None
        self._part_lock: int | None = None
        self._synced = time.monotonic()
        self.finished_before = False  # nothing is to be done: it is complete as it is
        resume = resume or part is not None
        check_allowed(path, plan, resume=resume, overwrite=overwrite)
        made = not path.exists()
        try:
            self._meta.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError.from_os_error(error, str(path)) from error
        wait = 0 if part is None else WAIT_SECONDS
        self._lock = _acquire(self._meta / "lock", path, wait, shared=part is not None)
        starting = None
        try:
            self._claim()
            if part is not None:
                starting = _acquire(self._meta / "starting", path, wait)
            # again, now that nobody else can change it
            state = check_allowed(path, plan, resume=resume, overwrite=overwrite)
            if overwrite and state.plan is not None:
                self._discard_rows(state.plan["command"])
            if part is not None:
                self._join(part, state, missing)
            else:
                self.finished_before = state.status == "finished" and not overwrite
                if not self.finished_before:
                    self._start()
            self._empty_trash()
        except BaseException:
            self._release(remove_folder=made)
            raise
        finally:
            if starting is not None:
                os.close(starting)

    def _staging(self, tmp: Path) -> Tmp:
        """Where partial files are."""
        return tmp

    def _claim(self) -> None:
        """Hold what cannot be held by flock; of an output elsewhere."""

    def _unclaim(self) -> None:
        """Let go of it."""

    def _remove(self, files: Iterable[Path]) -> None:
        """Remove files of the output that may be there."""
        for file in files:
            file.unlink(missing_ok=True)

    def _remove_folder(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

    def refresh(self) -> None:
        """See what others have written; of an output elsewhere."""

    def at_hand(self, file: Path) -> Path:
        """A file of the output, to read. Raises StorageError."""
        return file

    def _start(self) -> None:
        """Make the folder say that a run is under way."""
        try:
            self._make_tmp()
            told = self.plan.to_json()
            if self.whole is not None:
                told["whole"] = self.whole.to_json()
            text = json.dumps(told, indent=2) + "\n"
            write_whole(self.path / PLAN, text.encode(), self.tmp)
            self._remove([self.path / MANIFEST])  # after the plan: never without both
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def _make_tmp(self) -> None:
        shutil.rmtree(self.local_tmp, ignore_errors=True)
        self.local_tmp.mkdir(parents=True)

    def _join(self, part: Part, state: OutputState, missing: Callable[[], bool]) -> None:
        """Take one's place beside the other parts; the first one says what the whole will be."""
        assert self.whole is not None
        self._part_lock = _acquire_part(self._meta, part, self.path)
        if state.status == "finished" and not missing():
            self.finished_before = True
            return
        told = (state.plan or {}).get("whole") if state.status == "unfinished" else None
        if told is None:
            self._start()
            return
        layout = told.get("layout") if isinstance(told, dict) else None
        if layout != self.whole.layout:
            raise ResumeMismatchError(
                f"the parts of {self.path} that are there are of {_shown(layout)}, this one of "
                f"{_shown(self.whole.layout)}",
                "the same counts in every part, or another --output",
            )
        try:
            self._make_tmp()
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def _discard_rows(self, command: str) -> None:
        """Turn the rows of earlier work into a list of what is to be removed."""
        try:
            names = {row["path"] for row in _lenient_rows(self.path) if "path" in row}
            names = {name for path in names for name in companions(path)}
            names |= {row["path"] for row in _lenient_lines(self._meta / TRASH)}
            if command == "bake":
                names.update(BAKE_EXTRAS)
            text = "".join(canonical_json({"bytes": 0, "path": n}) + "\n" for n in sorted(names))
            self._make_tmp()
            write_whole(self._meta / TRASH, text.encode(), self.tmp)
            self._remove(_row_files(self.path))
            self._remove_folder(self._meta / "parts")
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def _empty_trash(self) -> None:
        """Remove what an --overwrite has listed, and the folders that this leaves empty."""
        path, trash = self.path, self._meta / TRASH
        if not trash.exists():
            return
        try:
            files = [path / row["path"] for row in _lenient_lines(trash)]
            self._remove(file for file in files if file.is_file() or file.is_symlink())
            folders = {p for file in files for p in file.parents if path in p.parents}
            for folder in sorted(folders, key=lambda p: -len(p.parts)):
                with contextlib.suppress(OSError):  # not empty: someone else's files are in it
                    folder.rmdir()
            self._remove([trash])
        except OSError as error:
            raise StorageError.from_os_error(error, str(path), "removing files of") from error

    def open_for_writing(self) -> bool:
        """Say that there is work to do: a finished output becomes an unfinished one.

        returns  False where other parts have done the work since it was planned
        """
        if self.finished_before and self.part is not None:
            return False
        if self.finished_before:
            self._start()
            self.finished_before = False
        return True

    def rows(self) -> Iterator[Row]:
        """Rows of earlier runs' finished work."""
        return committed_rows(self.path)

    def commit(self, rows: Iterable[Row]) -> None:
        """Record finished work. The artefacts must be in place and durable already.

        rows    dictionaries with "path" (an artefact) or "error" (a skipped item)
        raises  StorageError
        """
        self._record(b"".join(canonical_json(row).encode() + b"\n" for row in rows))

    def _record(self, text: bytes) -> None:
        """Append lines to the journal."""
        try:
            if self._journal is None:
                self._journal = _open_journal(self._journal_file)
            view = memoryview(text)
            while view:
                view = view[os.write(self._journal, view) :]
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fsync(self._journal)
                self._synced = time.monotonic()
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def take_over(self) -> bool:
        """Of parts: hold the folder alone from here on, if nobody else is at work on it.

        The last part to end always succeeds: each gives its share of the lock up before it asks
        for all of it.
        """
        if self.part is None or self.finished_before:
            return True
        self._close_journal()
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not (self.path / PLAN).is_file():  # another part has just finished it all
            self.finished_before = True
        return True

    def finish(
        self, extra_files: dict[str, bytes] | None = None, made_with: dict[str, str] | None = None
    ) -> dict[str, int]:
        """Turn the journal into the manifest and mark the output finished.

        extra_files  name -> content, written beside it
        made_with    library -> version, told in the manifest but not compared
        returns      the totals that the manifest tells: pictures, bytes, skipped and the like
        """
        if self.finished_before:
            summary: dict[str, int] = json.loads((self.path / MANIFEST).read_bytes())["summary"]
            return summary
        try:
            if self._journal is not None:
                os.fsync(self._journal)
            summary = self._write_rows()
            for name, data in (extra_files or {}).items():
                write_whole(self.path / name, data, self.tmp)
            versions = {**_made_with(), **(made_with or {})}
            manifest = {**self.plan.to_json(), "summary": summary, "made_with": versions}
            text = json.dumps(manifest, indent=2) + "\n"
            write_whole(self.path / MANIFEST, text.encode(), self.tmp)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error
        self._close_journal()
        self._remove_folder(self._meta)
        return summary

    def _write_rows(self) -> dict[str, int]:
        sources = _row_files(self.path)
        totals = {"pictures": 0, "bytes": 0, "skipped": 0}
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(source.open("rb")) if source.exists() else None
                for source in sources
            ]
            outputs = stack.enter_context(
                partial_files([self.path / ROWS, self.path / ERRORS], self.tmp)
            )
            for source, offset, length in _sorted_lines(sources):
                file = files[source]
                assert file is not None
                file.seek(offset)
                line = file.read(length)
                row = json.loads(line)
                outputs["error" in row].write(line)
                _add_to_totals(totals, row)
            if totals["skipped"] == 0:
                outputs.pop().discard()
        if totals["skipped"] == 0:
            self._remove([self.path / ERRORS])
        return totals

    def partial(self, name: str) -> PartialFile:
        """A file inside the output that appears only when committed."""
        return PartialFile(self.path / name, self.tmp)

    def __enter__(self) -> Output:
        """The output itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave only whole files behind, and let the next run in."""
        self._close_journal()
        shutil.rmtree(self.local_tmp, ignore_errors=True)
        self._release(remove_folder=False)

    def _close_journal(self) -> None:
        if self._journal is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._journal)
            os.close(self._journal)
            self._journal = None

    def _release(self, *, remove_folder: bool) -> None:
        # A folder that says nothing (neither plan nor trash) is only this run's lock: away with it.
        with contextlib.suppress(OSError, StorageError):
            if not any((self._meta / name).exists() for name in ("plan.json", TRASH)):
                if self.part is not None:
                    fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or others are there
                # or another part has finished it all, and this is the folder of the run after it
                if os.fstat(self._lock).st_ino == (self._meta / "lock").stat().st_ino:
                    self._remove_folder(self._meta)
        self._unclaim()
        if self._part_lock is not None:
            os.close(self._part_lock)
        os.close(self._lock)
        if remove_folder:
            with contextlib.suppress(OSError):
                self.path.rmdir()


def check_allowed(path: Path, plan: RunPlan, *, resume: bool, overwrite: bool) -> OutputState:
    """The state of an output, provided that a run with this plan may write there.

    raises  OutputExistsError, ResumeMismatchError, InputError
    """
    state = look(path)
    if state.status == "absent" or overwrite:
        return state
    if not resume:
        what = "is there already" if state.status == "finished" else "holds an unfinished run"
        raise OutputExistsError(
            f"output {path} {what}",
            "--resume to go on, --overwrite to begin anew, another --output",
        )
    assert state.plan is not None
    difference = describe_difference(state.plan, plan)
    if difference:
        raise ResumeMismatchError(
            f"{path} {difference}", "the same settings, another --output, or --overwrite"
        )
    return state


def describe_difference(old: dict[str, Any], new: RunPlan) -> str | None:
    """What keeps a run from going on with an older one's work, in words, or None.

    old  plan.json or manifest.json of the older run
    """
    if old.get("settings_sha256") == new.settings_sha256():
        return None
    if old.get("command") != new.command:
        return f"was made by pixmix {old.get('command')}, this run is pixmix {new.command}"
    changes = []
    for group, dashes in (("options", "--"), ("versions", "")):
        then, now = old.get(group, {}), getattr(new, group)
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                before, after = _shown(then.get(name)), _shown(now.get(name))
                changes.append(f"{dashes}{name} {before}, this run has {dashes}{name} {after}")
    for name in sorted({*old.get("inputs", {}), *new.inputs}):
        then, now = old.get("inputs", {}).get(name, {}), new.inputs.get(name, {})
        if then.get("sha256") != now.get("sha256"):
            changes.append(
                f"other pictures in {name}: {then.get('pictures', 'no')} then, "
                f"{now.get('pictures', 'no')} now, or their names or sizes changed"
            )
    return "was made with " + "; ".join(changes or ["settings that cannot be compared"])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, list):
        return ",".join(str(v) for v in value) or "(none)"
    return "(none)" if value is None else str(value)


def _acquire(lock: Path, output: Path, seconds: float = 0, *, shared: bool = False) -> int:
    """Hold the lock file; the kernel lets go of it when this process ends, however it ends.

    seconds  to wait for it
    shared   together with others that say so
    """
    until = time.monotonic() + seconds
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:  # the run before us has just removed the folder
            lock.parent.mkdir(parents=True, exist_ok=True)
            continue
        except OSError as error:
            raise StorageError.from_os_error(error, str(output)) from error
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if time.monotonic() < until:
                time.sleep(0.05)
                continue
            raise OutputBusyError(
                f"output {output} is being written by another pixmix run (process {holder})",
                "wait for it, or another --output",
            ) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError.from_os_error(error, str(lock), "locking") from error
        try:
            same = os.fstat(descriptor).st_ino == lock.stat().st_ino
        except FileNotFoundError:
            same = False
        if same:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return descriptor
        os.close(descriptor)  # that file was removed between our open and our lock: once more


_PART_LOCK = re.compile(r"lock-([0-9]+)-of-([0-9]+)")


def _acquire_part(meta: Path, part: Part, output: Path) -> int:
    """Hold a part's lock, provided that nobody else does and that all others cut the work alike."""
    for file in sorted(meta.glob("lock-*")):
        match = _PART_LOCK.fullmatch(file.name)
        if match is None or int(match[2]) == part.count:
            continue
        try:
            os.close(_acquire(file, output))
        except OutputBusyError:
            raise OutputBusyError(
                f"output {output} is being written in {int(match[2])} parts, not in {part.count}",
                f"--shard i/{int(match[2])}, or wait for them",
            ) from None
    try:
        return _acquire(meta / f"lock-{part.name}", output)
    except OutputBusyError as error:
        raise OutputBusyError(f"part {part}: {error.message}", "another part") from None


def _lenient_rows(path: Path) -> Iterator[Row]:
    for file in _row_files(path):
        yield from _lenient_lines(file)


def _lenient_lines(file: Path) -> Iterator[Row]:
    """The rows that can be read; damaged ones name nothing that could be removed."""
    for line in _whole_lines(file):
        with contextlib.suppress(ValueError, RecursionError):
            row = json.loads(line)
            _check_row(row)
            yield row


def _open_journal(path: Path) -> int:
    """Open for appending, cutting off a torn last line."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    end = os.fstat(descriptor).st_size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        end -= 1
    os.ftruncate(descriptor, end)
    sync_directory(path.parent)
    return descriptor


def _add_to_totals(totals: dict[str, int], row: Row) -> None:
    if "error" in row:
        totals["skipped"] += 1
    elif "member" not in row:  # a member's bytes are counted with its tar
        totals["pictures"] += row.get("count", 1)
        totals["bytes"] += row["bytes"]
    if "rejected" in row:
        totals["rejected"] = totals.get("rejected", 0) + row["rejected"]


def _sorted_lines(sources: list[Path]) -> Iterator[tuple[int, int, int]]:
    """(source, offset, length) of every row in order, each key once (the last one wins).

    Only numbers are held, 56 bytes a row, so that ten million rows fit where their text would not.
    """
    columns = array.array("q")
    for number, source in enumerate(sources):
        offset = 0
        for line in _whole_lines(source):
            row = json.loads(line)
            key = (row.get("copy", 0), row.get("shard", 0), row.get("index", -1))
            kind = 2 * ("error" in row) + ("member" in row)
            columns.extend((*key, kind, number, offset, len(line)))
            offset += len(line)
    table = np.frombuffer(columns, np.int64).reshape(-1, 7)
    order = np.lexsort((np.arange(len(table)), table[:, 3], table[:, 2], table[:, 1], table[:, 0]))
    table = table[order]
    last_of_its_key = np.ones(len(table), bool)
    last_of_its_key[:-1] = (table[1:, :4] != table[:-1, :4]).any(axis=1)
    for numbers in table[last_of_its_key, 4:]:
        number, offset, length = numbers.tolist()
        yield number, offset, length


def _made_with() -> dict[str, str]:
    import numba
    import PIL

    return {
        "pixmix": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "pillow": PIL.__version__,
    }
