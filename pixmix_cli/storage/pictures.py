"""Pictures wherever they lie: in folders, nested or flat, or inside tar files; ours or anyone's."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.storage import tar
from pixmix_cli.storage.images import EXTENSIONS, is_picture_name

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PictureRef:
    """Where one picture's bytes are.

    name    path relative to what the user named, with forward slashes; inside a tar
            `shard.tar/member`
    path    the file to open
    offset  where the picture begins in it, bytes
    length  bytes
    """

    name: str
    path: str
    offset: int
    length: int

    def read(self) -> bytes:
        """The picture's bytes. Raises StorageError."""
        try:
            if not stat.S_ISREG(os.stat(self.path).st_mode):  # a pipe or device may never end
                raise StorageError(f"{self.path} is no regular file")
            with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123  (hot, no Path object)
                if self.offset:
                    file.seek(self.offset)
                    return file.read(self.length)
                return file.read()
        except OSError as error:
            raise StorageError.from_os_error(error, self.path, "reading") from error


@dataclass(frozen=True, slots=True)
class MixingSet:
    """The pictures to mix in, in a fixed order: set by set, and by name inside each.

    digest  SHA-256 over names and lengths: changes when a picture is added, lost or resized
    """

    paths: tuple[str, ...]
    pictures: tuple[PictureRef, ...]
    digest: str


def walk(root: Path, warn: Warn) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    """Every folder below root in sorted order, links followed, loops not: (relative path, files).

    Hidden files and folders are passed over.

    raises  StorageError for a folder that cannot be listed
    """
    yield from _walk(str(root), "", frozenset(), warn)


def _walk(
    folder: str, relative: str, above: frozenset[tuple[int, int]], warn: Warn
) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            listing = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be listed ({error.strerror})", "its permissions, or without it"
        ) from None
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        warn(f"{folder} is a link to a folder above it; not followed")
        return
    above = above | {identity}
    files: list[os.DirEntry[str]] = []
    folders: list[os.DirEntry[str]] = []
    for entry in listing:
        if entry.name.startswith("."):
            continue
        try:
            kind = "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
        except OSError:  # a link to itself
            kind = "other"
        if kind == "folder":
            folders.append(entry)
        elif kind == "file" or entry.is_symlink():  # a dangling link is reported when it is read
            files.append(entry)
        else:
            warn(f"{entry.path} is no regular file; left out")
    yield relative, files
    for entry in folders:
        yield from _walk(entry.path, f"{relative}{entry.name}/", above, warn)


def find_pictures(path: Path, warn: Warn) -> list[PictureRef]:
    """The pictures of one folder, tar file or picture file, sorted by name.

    warn    called with one line for each thing passed over
    raises  InputError when the path is missing; StorageError for a broken tar
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_file():
        if path.suffix == ".tar":
            return list(_tar_pictures(path, ""))
        if is_picture_name(path.name):
            return [PictureRef(path.name, str(path), 0, path.stat().st_size)]
        raise InputError(
            f"{path} is neither a folder, a .tar file nor a picture",
            "gunzip it first" if path.suffix in (".gz", ".tgz") else None,
        )
    if not path.is_dir():
        raise InputError(f"{path} is neither a folder nor a regular file")
    if (path / ".pixmix").is_dir():
        warn(f"{path} is an unfinished set (add --resume to the command that makes it)")
    found = []
    for relative, files in walk(path, warn):
        for entry in files:
            if is_picture_name(entry.name):
                name = relative + entry.name
                found.append(PictureRef(name, entry.path, 0, length_of(entry)))
            elif entry.name.endswith(".tar"):
                found.extend(_tar_pictures(Path(entry.path), relative))
    return found


def _tar_pictures(path: Path, relative: str) -> Iterator[PictureRef]:
    for member in tar.members(path):
        if is_picture_name(member.name):
            name = f"{relative}{path.name}/{member.name}"
            yield PictureRef(name, str(path), member.offset, member.length)


def open_mixing_set(paths: Sequence[Path], warn: Warn) -> MixingSet:
    """The pictures of one or several sets together.

    raises  InputError when one is missing or holds no picture; StorageError for a broken tar
    """
    pictures: list[PictureRef] = []
    for path in paths:
        if not path.exists():
            raise InputError(f"mixing set {path} does not exist")
        found = find_pictures(path, warn)
        if not found:
            endings = " ".join(EXTENSIONS)
            raise InputError(
                f"mixing set {path} holds no pictures ({endings}, or .tar files of them)",
                "pixmix generate-fractals -n 1000 -o mixing",
            )
        pictures.extend(found)
    return MixingSet(tuple(str(p) for p in paths), tuple(pictures), digest_of(pictures))


def length_of(entry: os.DirEntry[str]) -> int:
    """A file's bytes; 0 for a link that leads nowhere, which is reported when it is read."""
    try:
        return entry.stat().st_size
    except OSError:
        return 0


def digest_of(pictures: Sequence[PictureRef], classes: Sequence[str] = ()) -> str:
    """SHA-256 over class names, and picture names and lengths, in order."""
    digest = hashlib.sha256()
    for name in classes:
        digest.update(f"{name}\0class\n".encode("utf-8", "surrogateescape"))
    for ref in pictures:
        digest.update(f"{ref.name}\0{ref.length}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
