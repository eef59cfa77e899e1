"""The mirror of an output elsewhere: a temporary folder here in which all of it can be read.

Files that say something of the output (manifest, plan, rows) lie in it as copies. Every other file
is stood in for by an empty file of its length. So what decides on the work to be done reads a
mirror as it would read a local output.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.outputs.file_names import BAKE_EXTRAS, ERRORS, MANIFEST, META, PLAN, ROWS
from pixmix_cli.outputs.rows import check_path, is_given
from pixmix_cli.storage import remote, spool
from pixmix_cli.storage.remote import Url

_WRITTEN_ONCE = ("journal-", "handed-out-")


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
        there = dict(remote.files_below(url))
        there = {name: there[name] for name in there if not _is_lock(name) and _fits(name, there)}
    except FileNotFoundError:
        there = {}
    try:
        for path in list(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_file() and name not in there and not is_private(name):
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
            elif not (path.exists() and path.name.startswith(_WRITTEN_ONCE)):
                wanted.append((entry.path, path))
    except OSError as error:
        raise StorageError.from_os_error(error, str(folder)) from error
    for _ in remote.ahead(_fetch_if_there, wanted):
        pass


def _fetch_if_there(pair: tuple[str, Path]) -> None:
    with contextlib.suppress(FileNotFoundError):  # the run that wrote it has just ended
        pair[1].write_bytes(remote.read(pair[0]))


_FILES = (MANIFEST, ROWS, ERRORS, PLAN, *BAKE_EXTRAS)
LONGEST_NAME = 255  # bytes, on most file systems


def _fits(name: str, there: Container[str]) -> bool:
    """Whether a file below a folder can have this name, beside the others that are there.

    Keys of a store need not be names of files: `../x`, `a//b`, one with a NUL, and `a` beside `a/b`
    are all right there. pixmix gives none of them, and passes them over.
    """
    try:
        check_path(name)
    except ValueError:
        return False
    parts = name.split("/")
    above = ("/".join(parts[:number]) for number in range(1, len(parts)))
    too_long = any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in parts)
    return not too_long and not any(
        folder in there or folder in _FILES or is_given(folder) for folder in above
    )


def _is_lock(name: str) -> bool:
    return name.startswith(f"{META}/lock")


def is_private(name: str) -> bool:
    """Files of the mirror that are not in the store: flock's, partial files, this run's journal."""
    inner = name.removeprefix(f"{META}/")
    return inner != name and (
        inner.startswith(("lock", "starting", "tmp"))
        or re.fullmatch(r"journal(-[0-9]+-of-[0-9]+)?\.jsonl", inner) is not None
    )
