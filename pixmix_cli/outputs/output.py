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

import contextlib
import fcntl
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from pixmix_cli import __version__
from pixmix_cli.errors import (
    ResumeMismatchError,
    StorageError,
)
from pixmix_cli.outputs.locks import acquire, acquire_part
from pixmix_cli.outputs.part import Part, Whole
from pixmix_cli.outputs.rows import (
    BAKE_EXTRAS,
    ERRORS,
    MANIFEST,
    META,
    PLAN,
    ROWS,
    SYNC_SECONDS,
    TRASH,
    Row,
    add_to_totals,
    committed_rows,
    companions,
    lenient_lines,
    lenient_rows,
    open_journal,
    row_files,
    sorted_lines,
)
from pixmix_cli.outputs.run_plan import OutputState, RunPlan, check_allowed, shown
from pixmix_cli.storage.files import (
    PartialFile,
    Tmp,
    canonical_json,
    partial_files,
    write_whole,
)

WAIT_SECONDS = 30  # that a part waits while another one starts or finishes


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
        self._lock = acquire(self._meta / "lock", path, wait, shared=part is not None)
        starting = None
        try:
            self._claim()
            if part is not None:
                starting = acquire(self._meta / "starting", path, wait)
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
        self._part_lock = acquire_part(self._meta, part, self.path)
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
                f"the parts of {self.path} that are there are of {shown(layout)}, this one of "
                f"{shown(self.whole.layout)}",
                "the same counts in every part, or another --output",
            )
        try:
            self._make_tmp()
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def _discard_rows(self, command: str) -> None:
        """Turn the rows of earlier work into a list of what is to be removed."""
        try:
            names = {row["path"] for row in lenient_rows(self.path) if "path" in row}
            names = {name for path in names for name in companions(path)}
            names |= {row["path"] for row in lenient_lines(self._meta / TRASH)}
            if command == "bake":
                names.update(BAKE_EXTRAS)
            text = "".join(canonical_json({"bytes": 0, "path": n}) + "\n" for n in sorted(names))
            self._make_tmp()
            write_whole(self._meta / TRASH, text.encode(), self.tmp)
            self._remove(row_files(self.path))
            self._remove_folder(self._meta / "parts")
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def _empty_trash(self) -> None:
        """Remove what an --overwrite has listed, and the folders that this leaves empty."""
        path, trash = self.path, self._meta / TRASH
        if not trash.exists():
            return
        try:
            files = [path / row["path"] for row in lenient_lines(trash)]
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
                self._journal = open_journal(self._journal_file)
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
        sources = row_files(self.path)
        totals = {"pictures": 0, "bytes": 0, "skipped": 0}
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(source.open("rb")) if source.exists() else None
                for source in sources
            ]
            outputs = stack.enter_context(
                partial_files([self.path / ROWS, self.path / ERRORS], self.tmp)
            )
            for source, offset, length in sorted_lines(sources):
                file = files[source]
                assert file is not None
                file.seek(offset)
                line = file.read(length)
                row = json.loads(line)
                outputs["error" in row].write(line)
                add_to_totals(totals, row)
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
