"""The pictures of a folder, a tar file or stdin, whoever made it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources import stdin
from pixmix_cli.sources.lists import SUFFIXES as LISTS
from pixmix_cli.sources.lists import pictures_in_list
from pixmix_cli.sources.numpy_arrays import pictures_in_array
from pixmix_cli.sources.pictures import Container, Folder, Pictures, Warn, encoded
from pixmix_cli.sources.walk import Files, length_at, walk
from pixmix_cli.storage import remote, spool, tar
from pixmix_cli.storage.images import is_picture_name
from pixmix_cli.storage.missing import missing
from pixmix_cli.storage.remote import AnyPath, Url

ARRAYS = (".npy", ".npz")


def find_pictures(path: AnyPath, warn: Warn) -> Pictures:
    """The pictures of a folder, tar or picture, sorted by name; of an array or list, in its order.

    warn    called with one line for each thing passed over
    raises  InputError when the path is missing; StorageError for a broken tar
    """
    found = Pictures()
    if not path.exists():
        raise missing("", path)
    if path.is_file():
        if path.name.lower().endswith(tar.ENDINGS):
            _add_one_tar(found, path)
        elif is_picture_name(path.name):
            found.begin(Folder("", str(path.parent)))
            found.add(path.name, length_at(path))
        elif path.name.lower().endswith(ARRAYS):
            local = spool.fetch(path) if isinstance(path, Url) else path
            with spool.errors_about(local, str(path)):
                found = pictures_in_array(local)
        elif path.name.lower().endswith(LISTS):
            found = pictures_in_list(path, warn)
        else:
            raise InputError(
                f"{path} is neither a folder, a .tar (perhaps packed, as .tar.gz), an .npy, a list "
                f"({' '.join(LISTS)}) nor a picture"
            )
        if isinstance(path, Url):
            _note_version(found, path.look())
        return found
    if not path.is_dir():
        raise InputError(f"{path} is neither a folder nor a regular file")
    if (path / ".pixmix").is_dir():
        warn(f"{path} is an unfinished set (add --resume to the command that makes it)")
    folders: Iterable[tuple[str, Files]] = walk(path, warn)
    indexes: Iterator[Iterable[tar.Member]] | None = None
    if isinstance(path, Url):  # several tars are indexed at a time
        folders = list(folders)
        tars = [Url(e.path) for _, files in folders for e in files if _is_tar(e.name)]
        indexes = remote.ahead(lambda url: list(_picture_members(url)), tars)
    for relative, files in folders:
        folder = Folder(relative, f"{path}/{relative}".rstrip("/"))
        found.begin(folder)
        for entry in files:
            if is_picture_name(entry.name):
                found.add(entry.name, entry.length)
            elif _is_tar(entry.name):
                members = next(indexes) if indexes else _picture_members(Path(entry.path))
                _add_tar(found, entry.path, f"{relative}{entry.name}", members)
                found.begin(folder)
            if isinstance(entry, remote.Entry):
                _note_version(found, entry)
    return found


def _is_tar(name: str) -> bool:
    return name.lower().endswith(".tar")


def _note_version(found: Pictures, file: remote.Entry | remote.Info | None) -> None:
    if file is not None:
        found.note_version(encoded(f"{file.length} {file.version}"))


def _picture_members(path: AnyPath) -> Iterator[tar.Member]:
    return (member for member in tar.members(path) if is_picture_name(member.name))


def _add_tar(
    found: Pictures, path: AnyPath | str, name: str, members: Iterable[tar.Member]
) -> None:
    found.begin(Container(f"{name}/", str(path)))
    for member in members:
        found.add(member.name, member.length, member.offset)


def _add_one_tar(found: Pictures, path: AnyPath) -> None:
    """Add the pictures of a tar that may be compressed."""
    packed = path.name.lower().endswith(tar.PACKED)
    there = spool.fetch(path) if packed and isinstance(path, Url) else path
    if isinstance(there, Path):
        with spool.errors_about(there, str(path)):
            there = spool.unpacked(there)
    if isinstance(there, Path) and there != path:
        _add_spooled(found, there, path.name, str(path))
    else:
        _add_tar(found, path, path.name, _picture_members(path))


def _add_spooled(found: Pictures, file: Path, name: str, where: str) -> None:
    """Add the pictures of a temporary tar; errors name where it came from."""
    try:
        _add_tar(found, file, name, _picture_members(file))
    except StorageError as error:
        raise InputError(error.message.replace(str(file), where)) from None


def pictures_on_stdin() -> Pictures:
    """The pictures of a tar that is piped in, which is kept in a temporary file meanwhile."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "--mixing-set - reads a tar, but stdin is a terminal",
            "pixmix generate-fractals -n 1000 -o - | ",
        )
    file = spool.keep(stdin.stream(), "stdin.tar")
    with file.open("rb") as kept:
        start = kept.read(2)
    if not start:
        raise InputError("--mixing-set -: nothing came on stdin", "the command before it alone")
    with spool.errors_about(file, "the tar on stdin"):
        file = spool.unpacked(file)
    found = Pictures()
    _add_spooled(found, file, "stdin.tar", "the tar on stdin")
    return found
