"""An output elsewhere: a local mirror of it, and a run that writes there.

An object store has no rename, no appending and no flock, so what `Output` does with them on a disk
is done in a temporary folder here, the mirror, in which the files that say something of the output
(manifest, plan, rows) lie as copies and every other one is stood in for by an empty file of its
length. So all that decides what is to be done reads the mirror as it would read a local output. And
every step that counts is repeated in the store:

    an artefact       stored as one object, looked at, then stood in for
    rows              gathered for FLUSH_SECONDS, then stored as OUT/.pixmix/journal-<unique>.jsonl
    manifest and co.  stored in the same order; the objects below .pixmix are removed last
    the lock          an object OUT/.pixmix/lock-..., written again and again, see object_lock.py
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from pixmix_cli.errors import InputError, OutputBusyError, StorageError
from pixmix_cli.outputs.object_lock import Lock
from pixmix_cli.outputs.output import Output
from pixmix_cli.outputs.rows import META, PLAN
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.storage import remote, spool
from pixmix_cli.storage.files import Tmp
from pixmix_cli.storage.remote import Upload, Url

FLUSH_SECONDS = 5  # of finished work that a kill may cost; a request each


@contextlib.contextmanager
def at_hand(output: Any) -> Iterator[tuple[Any, Url | None]]:
    """(local folder, URL) of an output: of one elsewhere a mirror, of a local one itself and None.

    output  a Url, or anything else (a Path, None), which is given back
    raises  InputError for a place that can only be read; StorageError
    """
    if not isinstance(output, Url):
        yield output, None
        return
    if output.protocol in remote.READ_ONLY:
        raise InputError(
            f"output {output}: {output.protocol}:// can only be read",
            "a local folder, s3:// or gs://",
        )
    folder = spool.new_file(output.name)
    with spool.errors_about(folder, output):
        refresh(folder, output)
        yield folder, output


@contextlib.contextmanager
def files_at_hand(folder: Path, url: Url, names: Iterable[str]) -> Iterator[None]:
    """Put the real files into a mirror for a while, in place of those that stand in for them.

    raises  StorageError
    """
    there = [folder / name for name in names if (folder / name).is_file()]
    try:
        for _ in remote.ahead(lambda path: _fetch_into(folder, url, path), there):
            pass
        yield
    finally:
        for path in there:
            with contextlib.suppress(OSError):
                remote.stand_in(path, path.stat().st_size)


def _fetch_into(folder: Path, url: Url, path: Path) -> None:
    try:
        remote.fetch(f"{url}/{path.relative_to(folder).as_posix()}", path)
    except FileNotFoundError:  # since it was listed
        path.unlink(missing_ok=True)


def refresh(folder: Path, url: Url, own: frozenset[str] = frozenset()) -> None:
    """Make a mirror show what is there now.

    own     names below .pixmix that this run has written, whose rows it has
    raises  StorageError
    """
    try:
        there = {name: entry for name, entry in remote.files_below(url) if not _is_lock(name)}
    except FileNotFoundError:
        there = {}
    try:
        for path in list(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in there and not _is_private(name):
                path.unlink()
        wanted = []
        for name, entry in there.items():
            path = folder / name
            if name.removeprefix(f"{META}/") in own:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            if not remote.is_metadata(path, folder):
                if not path.exists() or path.stat().st_size != entry.length:
                    remote.stand_in(path, entry.length)
            elif not (path.exists() and path.name.startswith("journal-")):  # written once
                wanted.append((entry.path, path))
    except OSError as error:
        raise StorageError.from_os_error(error, str(folder)) from error
    for _ in remote.ahead(_fetch_if_there, wanted):
        pass


def _fetch_if_there(pair: tuple[str, Path]) -> None:
    with contextlib.suppress(FileNotFoundError):  # the run that wrote it has just ended
        pair[1].write_bytes(remote.read(pair[0]))


def _is_lock(name: str) -> bool:
    return name.startswith(f"{META}/lock")


def _is_private(name: str) -> bool:
    """Files of the mirror that are not in the store: flock's, partial files, this run's journal."""
    inner = name.removeprefix(f"{META}/")
    return inner != name and (
        inner.startswith(("lock", "starting", "tmp"))
        or re.fullmatch(r"journal(-[0-9]+-of-[0-9]+)?\.jsonl", inner) is not None
    )


def open_output(path: Path, plan: RunPlan, elsewhere: Url | None, **given: Any) -> Output:
    """The output at `path`, or the one elsewhere of which that is the mirror; else as `Output`."""
    if elsewhere is None:
        return Output(path, plan, **given)
    return RemoteOutput(path, plan, elsewhere, **given)


class RemoteOutput(Output):
    """An output in an object store, being written by this run, or a part of it."""

    def __init__(self, path: Path, plan: RunPlan, url: Url, **given: Any) -> None:
        """As Output.

        path  the mirror
        url   the output
        """
        self.url = url
        self._unsent = b""
        self._sent = frozenset[str]()
        self._flushed = float("-inf")
        self._lock_object: Lock | None = None
        super().__init__(path, plan, **given)

    def _staging(self, tmp: Path) -> Tmp:
        return Upload(tmp, self.path, str(self.url))

    def _claim(self) -> None:
        self._lock_object = Lock(self.url, "alone" if self.part is None else self.part.name)
        self.refresh()

    def _unclaim(self) -> None:
        if self._lock_object is not None:
            self._lock_object.release()
            self._lock_object = None

    def refresh(self) -> None:
        """See what others have written. Raises StorageError."""
        refresh(self.path, self.url, self._sent)

    def at_hand(self, file: Path) -> Path:
        """A copy of a file of the output, to read. Raises StorageError."""
        copy = self.local_tmp / "copy"
        try:
            remote.fetch(f"{self.url}/{file.relative_to(self.path).as_posix()}", copy)
        except FileNotFoundError:
            raise StorageError(f"{file} is gone") from None
        return copy

    def _remove(self, files: Iterable[Path]) -> None:
        there = [file for file in files if file.exists()]
        remote.remove(
            f"{self.url}/{name}"
            for name in (file.relative_to(self.path).as_posix() for file in there)
            if not _is_private(name)
        )
        super()._remove(there)

    def _remove_folder(self, folder: Path) -> None:
        """Remove what the mirror knows; the plan first, without which the rest says nothing."""
        if folder == self._meta:
            self._remove([self.path / PLAN])
            own = [folder / name for name in self._sent]
            remote.remove(f"{self.url}/{META}/{file.name}" for file in own)
            self._sent = frozenset()
        self._remove(path for path in list(folder.rglob("*")) if path.is_file())
        super()._remove_folder(folder)

    def _record(self, text: bytes) -> None:
        super()._record(text)
        self._unsent += text
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._send_rows()

    def _send_rows(self) -> None:
        if not self._unsent:
            return
        suffix = "" if self.part is None else f"-{self.part.name}"
        # named by the time, since later rows count; and like no other run's
        name = f"journal-{time.time_ns():020d}{suffix}-{os.urandom(4).hex()}.jsonl"
        remote.write(f"{self.url}/{META}/{name}", self._unsent)
        self._sent |= {name}
        self._unsent = b""
        self._flushed = time.monotonic()

    def take_over(self) -> bool:
        """Of parts: whether this is the last one at work. Raises StorageError.

        Each gives its lock up before it looks for others', so the last one finds none. Of two that
        end at the same moment one or both find that they are the last; both would then write the
        same bytes.
        """
        if self.part is None or self.finished_before:
            return True
        self._send_rows()
        self._unclaim()
        try:
            self._lock_object = Lock(self.url, "ending")
        except OutputBusyError:
            return False
        self.refresh()
        return super().take_over()

    def finish(
        self, extra_files: dict[str, bytes] | None = None, made_with: dict[str, str] | None = None
    ) -> dict[str, int]:
        """As Output's."""
        self._send_rows()
        return super().finish(extra_files, made_with)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Keep the rows of what is done, and let the next run in."""
        try:
            self._send_rows()
        except StorageError:
            if kind is None:
                raise
        finally:
            super().__exit__(kind, error, traceback)
