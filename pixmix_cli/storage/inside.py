"""Files below a folder, reached without following a link: nothing outside is ever touched.

A folder that came from elsewhere (in a tar, on a shared disk) may hold links that lead anywhere.
The folder itself may be a link, as its user named it; below it every step has to be real. Each step
is opened from the one above it, so a link that appears in between is noticed too.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pixmix_cli.errors import InputError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class TmpFolder:
    """A folder for partial files which, once whole, are renamed to a place below `root`.

    folder  below root
    root    below which nothing is reached through a link
    """

    folder: Path
    root: Path

    def __truediv__(self, name: str) -> Path:
        """A file in the folder."""
        return self.folder / name

    def rename(self, partial: Path, final: Path) -> None:
        """Give a finished file its place. Raises InputError, OSError."""
        with folder_of(self.root, final, make=True) as above:
            os.rename(partial, final.name, dst_dir_fd=above)


@contextlib.contextmanager
def folder_of(root: Path, file: Path, *, make: bool = False) -> Iterator[int]:
    """A descriptor of the folder in which a file lies, or is to lie.

    root    above the file
    make    the folders that are not there
    raises  InputError for a link, or a file, among the folders from root to the file; OSError
    """
    parts = file.relative_to(root).parts[:-1]
    above = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, part in enumerate(parts):
            below = _open_folder(above, part, root.joinpath(*parts[: number + 1]), make)
            os.close(above)
            above = below
        yield above
    finally:
        os.close(above)


def _open_folder(above: int, name: str, path: Path, make: bool) -> int:
    try:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except FileNotFoundError:
            if not make:
                raise
            with contextlib.suppress(FileExistsError):  # another worker has just made it
                os.mkdir(name, dir_fd=above)
            return os.open(name, _FOLDER, dir_fd=above)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise not_real(path, "folder") from None
        raise


def unlink(root: Path, file: Path) -> None:
    """Remove a file, or a link in its place, that may not be there. Raises InputError, OSError."""
    with contextlib.suppress(FileNotFoundError), folder_of(root, file) as above:
        os.unlink(file.name, dir_fd=above)


def rmdir(root: Path, folder: Path) -> None:
    """Remove an empty folder. Raises InputError, OSError."""
    with folder_of(root, folder) as above:
        os.rmdir(folder.name, dir_fd=above)


def open_file(path: Path, flags: int) -> int:
    """Open a file that is nobody else's: no link, and no second name of a file elsewhere.

    raises  InputError for a link, a pipe and the like; OSError
    """
    try:
        descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise not_real(path, "file") from None
        raise
    told = os.fstat(descriptor)
    if not stat.S_ISREG(told.st_mode) or told.st_nlink > 1:
        os.close(descriptor)
        raise not_real(path, "file")
    return descriptor


def check_real(path: Path) -> None:
    """Raise InputError unless a folder is real, or absent, and everything directly in it too."""
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise not_real(path, "folder")
        with os.scandir(path) as found:
            entries = list(found)
    except FileNotFoundError:
        return
    for entry in entries:
        with contextlib.suppress(FileNotFoundError):  # a run that has just ended took it away
            told = entry.stat(follow_symlinks=False)
            regular = stat.S_ISREG(told.st_mode) and told.st_nlink <= 1
            if not regular and not stat.S_ISDIR(told.st_mode):
                raise not_real(path / entry.name, "file")


def not_real(path: Path, what: str) -> InputError:
    """The error for a link, or something else, where pixmix keeps a file or folder of its own."""
    return InputError(
        f"{path} is a link, or no {what} of pixmix's own: it may lead outside of the output",
        "remove it, or another --output",
    )
