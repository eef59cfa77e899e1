"""One output folder: its lock, its journal of finished work, its manifest.

Layout while a run is under way                After it
    OUT/.pixmix/lock           held (flock)        OUT/manifest.json    settings, inputs, totals
    OUT/.pixmix/plan.json      settings, inputs    OUT/manifest.jsonl   one row an artefact, sorted
    OUT/.pixmix/journal.jsonl  rows, as finished   OUT/errors.jsonl     one row a skipped item
    OUT/.pixmix/tmp/           partial files       (OUT/.pixmix is gone)
    OUT/.pixmix/handed-out.jsonl  names that workers were given
    OUT/.pixmix/listing        of parts: the source as the first found it

Several runs may fill one output, each a part of it (--shard i/n, see part.py). They share `lock`,
which a run of its own holds alone, and each has a lock, a journal and a tmp of its own:
`lock-00003-of-00016` and so on. plan.json then also records what the whole is to be. The run that
ends last, and finds nothing missing, writes the manifest.

An artefact (a picture, a shard) is written under tmp, made durable, renamed, and only then gets its
row in the journal: what has no row is made again. The journal is one append-only file a run, not
one small file a shard: fewer inodes, and no folder inside OUT that ImageFolder would take for a
class once the run is over. A torn last line (power loss, kill -9) is dropped.

Results are recorded in the order of the tasks, so a file can be in place for a while without a row.
What workers are given to write is therefore recorded before they get it. At the end, and by
--overwrite, each such file that no row names is removed.

Only files under names that pixmix gives are removed, and none through a link (see
pixmix_cli/storage/inside.py).

Neither time, host, worker count nor order of completion gets into the manifest, so two runs'
folders are equal. manifest.json comes last: a folder without it is unfinished.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pixmix_cli import __version__
from pixmix_cli.errors import (
    ResumeMismatchError,
    StorageError,
)
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.file_names import BAKE_EXTRAS, ERRORS, MANIFEST, META, PLAN, ROWS, TRASH
from pixmix_cli.outputs.local_store import LocalStore
from pixmix_cli.outputs.part import Part, Whole
from pixmix_cli.outputs.row_files import (
    Beyond,
    add_to_totals,
    committed_rows,
    handed_out,
    handed_out_files,
    is_journal,
    named_files,
    not_among,
    nothing_is_beyond,
    row_files,
    sorted_lines,
    totals_of_copies,
)
from pixmix_cli.outputs.rows import (
    FOLDERS,
    Artefact,
    BakedRow,
    Row,
    SkippedRow,
    files_of,
    kinds_of,
)
from pixmix_cli.outputs.run_plan import FractalTotals, OutputState, RunPlan, look, shown
from pixmix_cli.outputs.store import Store
from pixmix_cli.storage import inside
from pixmix_cli.storage.files import (
    PartialFile,
    canonical_json,
    partial_files,
    write_whole,
)
from pixmix_cli.storage.inside import not_real


def open_output(
    destination: Destination,
    plan: RunPlan,
    whole: Whole | None = None,
    missing: Callable[[], bool] = lambda: False,
    beyond: Beyond = nothing_is_beyond,
) -> Output:
    """Hold an output, or a part of it, for one run, after checking that the run may go ahead.

    whole    what an output that parts fill will be when all are done
    missing  with a part: whether a finished output lacks something of the whole (it is to grow)
    beyond   whether something is more than this run wants: what an earlier run had begun of it is
             removed; what one has finished stays
    raises   OutputExistsError, OutputBusyError, ResumeMismatchError, InputError, StorageError
    """
    destination.check(plan)  # before anything is made or locked
    output = Output(store_of(destination), plan, destination.part, whole, beyond)
    with output.store.beginning():
        state = destination.check(plan)  # again, now that nobody else can change it
        output.check_folders()
        if destination.overwrite and state.plan is not None:
            output.discard(state.plan["command"])
        finished = state.status == "finished" and not destination.overwrite
        if finished and (output.part is None or not missing()):
            output.finished_before = True
        elif output.part is not None and state.status == "unfinished":
            output.join(state)
        else:
            output.start()
        output.empty_trash()
    return output


def store_of(destination: Destination) -> Store:
    """What holds the output: a folder, or an object store."""
    if destination.elsewhere is None:
        return LocalStore(destination.folder, destination.part)
    from pixmix_cli.outputs.object_store import ObjectStore

    return ObjectStore(destination.folder, destination.elsewhere, destination.part)


class Output:
    """A folder being written by this run alone, or a part of it. Use as a context manager.

    `open_output` makes one.
    """

    def __init__(
        self,
        store: Store,
        plan: RunPlan,
        part: Part | None = None,
        whole: Whole | None = None,
        beyond: Beyond = nothing_is_beyond,
    ) -> None:
        """An output that `store` is about to hold; see `open_output`."""
        self.store = store
        self.plan = plan
        self.part = part
        self.whole = whole
        self._beyond = beyond
        self.path = store.path
        self.tmp = store.tmp
        self.local_tmp = store.local_tmp
        self.finished_before = False  # nothing is to be done: it is complete as it is
        self._meta = store.path / META

    def check_folders(self) -> None:
        """Refuse links in place of folders that pixmix makes. Raises InputError, StorageError."""
        try:
            with os.scandir(self.path) as entries:
                found = list(entries)
            for entry in found:
                if entry.is_symlink() and FOLDERS.fullmatch(entry.name):
                    raise not_real(self.path / entry.name, "folder")
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path), "reading") from error

    def start(self) -> None:
        """Make the folder say that a run is under way."""
        try:
            self._make_tmp()
            whole = {} if self.whole is None else {"whole": self.whole.to_json()}
            text = json.dumps({**self.plan.to_json(), **whole}, indent=2) + "\n"
            write_whole(self.path / PLAN, text.encode(), self.tmp)
            self.store.remove([self.path / MANIFEST])  # after the plan: never without both
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def _make_tmp(self) -> None:
        shutil.rmtree(self.local_tmp, ignore_errors=True)
        self.local_tmp.mkdir(parents=True)

    def join(self, state: OutputState) -> None:
        """Take one's place beside the other parts; the first one says what the whole will be."""
        assert self.whole is not None
        if state.whole is None:
            self.start()
            return
        if state.whole.layout != self.whole.layout:
            raise ResumeMismatchError(
                f"the parts of {self.path} that are there are of {shown(state.whole.layout)}, "
                f"this one of {shown(self.whole.layout)}",
                "the same counts in every part, or another --output",
            )
        try:
            self._make_tmp()
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def discard(self, command: str) -> None:
        """Turn the rows of earlier work into a list of what is to be removed."""
        try:
            names = {name for file in row_files(self.path) for name in named_files(file)}
            names.update(handed_out(self.path), named_files(self._meta / TRASH, BAKE_EXTRAS))
            if command == "bake":
                names.update(BAKE_EXTRAS)
            text = "".join(canonical_json({"path": n}) + "\n" for n in sorted(names))
            self._make_tmp()
            write_whole(self._meta / TRASH, text.encode(), self.tmp)
            self.store.remove([*row_files(self.path), *handed_out_files(self.path)])
            self.store.remove_folder(self._meta / "parts")
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def empty_trash(self) -> None:
        """Remove what an --overwrite has listed, and the folders that this leaves empty."""
        trash = self._meta / TRASH
        if not trash.exists():
            return
        self._remove(named_files(trash, BAKE_EXTRAS))
        try:
            self.store.remove([trash])
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path), "removing files of") from error

    def _remove(self, names: Iterable[str]) -> None:
        """Remove artefacts, and the folders that this leaves empty.

        raises  InputError, before anything is removed, where a link leads to one; StorageError
        """
        path = self.path
        files = [path / name for name in names]
        folders = {p for file in files for p in file.parents if path in p.parents}
        try:
            for folder in sorted(folders):
                with contextlib.suppress(FileNotFoundError), inside.folder_of(path, folder / "x"):
                    pass
            self.store.remove(file for file in files if file.is_file() or file.is_symlink())
            for folder in sorted(folders, key=lambda p: -len(p.parts)):
                with contextlib.suppress(OSError):  # not empty: someone else's files are in it
                    inside.rmdir(path, folder)
        except OSError as error:
            raise StorageError.from_os_error(error, str(path), "removing files of") from error

    def open_for_writing(self) -> bool:
        """Say that there is work to do: a finished output becomes an unfinished one.

        returns  False where other parts have done the work since it was planned
        """
        if self.finished_before and self.part is not None:
            return False
        if self.finished_before:
            self.start()
            self.finished_before = False
        return True

    def rows(self) -> Iterator[Row]:
        """Rows of earlier runs' finished work, but for what is more than this run wants."""
        return committed_rows(self.path, self._beyond)

    def hand_out(self, files: Iterable[tuple[Iterable[str], Iterable[str]]]) -> None:
        """Record, durably, which files are about to be put in place.

        files   (folders, names): each name in each folder; folder "" is the output itself
        raises  StorageError
        """
        told = [{"folders": list(folders), "names": list(names)} for folders, names in files]
        lines = "".join(canonical_json(line) + "\n" for line in told if line["names"])
        try:
            if lines:
                self.store.hand_out(lines.encode())
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def commit(self, rows: Iterable[Row]) -> None:
        """Record finished work. The artefacts must be in place and durable already.

        raises  StorageError
        """
        lines = b"".join(canonical_json(row.to_json()).encode() + b"\n" for row in rows)
        try:
            self.store.record(lines)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def refresh(self) -> None:
        """See what other parts have written. Raises StorageError."""
        self.store.refresh()

    def at_hand(self, file: Path) -> Path:
        """A file of the output, to read. Raises StorageError."""
        return self.store.at_hand(file)

    def take_over(self) -> bool:
        """Of parts: hold the output alone from here on, if nobody else is at work on it.

        raises  StorageError
        """
        if self.part is None or self.finished_before:
            return True
        self._flush()
        if not self.store.hold_alone():
            return False
        if not (self.path / PLAN).is_file():  # another part has just finished it all
            self.finished_before = True
        return True

    def _flush(self) -> None:
        try:
            self.store.flush()
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error

    def finish(
        self,
        extra_files: dict[str, bytes] | None = None,
        made_with: dict[str, str] | None = None,
        facts: FractalTotals | None = None,
    ) -> FractalTotals:
        """Turn the journal into the manifest and mark the output finished.

        extra_files  name -> content, written beside it
        made_with    library -> version, recorded in the manifest but not compared
        facts        more totals, that do not follow from rows
        returns      the totals that the manifest records: pictures, bytes, skipped and the like
        """
        if self.finished_before:
            manifest = look(self.path).plan
            assert manifest is not None
            return manifest["summary"]
        self._flush()
        try:
            summary, known = self._write_rows()
            self._remove_strays(known)
            summary.update(facts or {})
            for name, data in (extra_files or {}).items():
                write_whole(self.path / name, data, self.tmp)
            versions = {**_made_with(), **(made_with or {})}
            manifest = {**self.plan.to_json(), "summary": summary, "made_with": versions}
            text = json.dumps(manifest, indent=2) + "\n"
            write_whole(self.path / MANIFEST, text.encode(), self.tmp)
        except OSError as error:
            raise StorageError.from_os_error(error, str(self.path)) from error
        self.store.remove_folder(self._meta)
        return summary

    def _remove_strays(self, known: NDArray[np.int64]) -> None:
        """Remove what runs have put in place, or may have, and no row names.

        known  (n,) hashes of the files that rows name
        """
        journals = filter(is_journal, row_files(self.path))
        named = (name for file in journals for name in named_files(file))
        self._remove(sorted(not_among(chain(handed_out(self.path), named), known)))

    def _write_rows(self) -> tuple[FractalTotals, NDArray[np.int64]]:
        """The totals, and the hash of each file that a row names: eight bytes, not the text."""
        known = array.array("q")
        kinds = kinds_of(self.plan.command, self.plan.options)
        sources = row_files(self.path)
        totals: FractalTotals = {"pictures": 0, "bytes": 0, "skipped": 0}
        copies: Counter[int] = Counter()
        with contextlib.ExitStack() as stack:
            files = [
                stack.enter_context(source.open("rb")) if source.exists() else None
                for source in sources
            ]
            outputs = stack.enter_context(
                partial_files([self.path / ROWS, self.path / ERRORS], self.tmp)
            )
            for source, offset, length in sorted_lines(sources, kinds, self._beyond):
                file = files[source]
                assert file is not None
                file.seek(offset)
                line = file.read(length)
                row = json.loads(line)
                kind = kinds.kind(row)
                outputs[issubclass(kind, SkippedRow)].write(line)
                add_to_totals(totals, kind, row)
                if issubclass(kind, Artefact):
                    known.extend(map(hash, files_of(row)))
                if issubclass(kind, BakedRow):
                    copies[row["copy"]] += row.get("count", 1)
            if issubclass(kinds.artefact, BakedRow):
                totals.update(totals_of_copies(copies))
            if totals["skipped"] == 0:
                outputs.pop().discard()
        if totals["skipped"] == 0:
            self.store.remove([self.path / ERRORS])
        return totals, np.frombuffer(known, np.int64)

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
        try:
            self._flush()
        except StorageError:
            if kind is None:
                raise
        finally:
            shutil.rmtree(self.local_tmp, ignore_errors=True)
            self.store.release()


def _made_with() -> dict[str, str]:
    import PIL

    from pixmix_kernels import compiler

    return {
        "pixmix": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        "numpy": np.__version__,
        "numba": compiler(),
        "pillow": PIL.__version__,
    }
