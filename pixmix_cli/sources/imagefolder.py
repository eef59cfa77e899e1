"""Datasets in: torchvision's ImageFolder layout, one folder a class."""

from __future__ import annotations

import array
from collections import Counter
from pathlib import Path

from pixmix_cli.errors import InputError
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.passed_over import UNREAD, ending_of, told
from pixmix_cli.sources.pictures import Folder, Pictures, Warn, digest_of
from pixmix_cli.sources.source import Source
from pixmix_cli.sources.walk import has_picture, walk_each
from pixmix_cli.sources.watched import Watched
from pixmix_cli.storage.images import EXTENSIONS, is_picture_name
from pixmix_cli.storage.missing import missing
from pixmix_cli.storage.remote import AnyPath, Url

LOOKED_AT = 10_000  # entries of a class folder in which a picture must show
# files that hold pictures of other kinds of datasets
OTHERS = (".tar", ".gz", ".tgz", ".zst", ".parquet", ".arrow", ".npy", ".npz")


def open_imagefolder(path: AnyPath, warn: Warn) -> Source:
    """List an ImageFolder.

    warn    called with one line for each thing passed over
    raises  InputError: missing, not a folder, empty, or pictures without class folders
    """
    if not path.exists():
        raise missing("SOURCE ", path)
    if not path.is_dir():
        raise InputError(
            f"SOURCE {path} is a file, not a folder", "a folder with one folder of pictures a class"
        )
    watched = Watched()
    watched.look(str(path))
    folders, loose = _in(path)
    if not folders:
        if any(map(is_picture_name, loose)):
            raise InputError(
                f"SOURCE {path} holds pictures but no class folders",
                f"{path.parent}, if {path.name} is a class, or move them into one folder a class, "
                f"as {path}/cat/1.jpg",
            )
        raise InputError(
            f"SOURCE {path} is empty", f"a folder with one folder a class, as {path}/cat/1.jpg"
        )
    pictures = Pictures()
    labels = array.array("i")
    passed_over: Counter[str] = Counter()
    empty: list[tuple[str, int]] = []
    walks = walk_each([path / name for name in folders], warn, watched.look)
    for label, (name, below) in enumerate(zip(folders, walks)):
        before = len(pictures)
        for relative, files in below:
            inside = f"{name}/{relative}"
            pictures.begin(Folder(inside, f"{path}/{inside}".rstrip("/")))
            for entry in files:
                if is_picture_name(entry.name):
                    pictures.add(entry.name, entry.length)
                    labels.append(label)
                else:
                    passed_over[ending_of(entry.name)] += 1
        if len(pictures) == before:
            empty.append((name, label))
    if not pictures:
        raise InputError(f"SOURCE {path} holds no pictures ({' '.join(EXTENSIONS)})")
    for name, label in empty:
        warn(f"class folder {path / name} holds no pictures; the class keeps label {label}")
    if passed_over:
        warn(f"{told(passed_over)} in SOURCE {path} are no pictures that are read; passed over")
    outside = Counter(ending_of(n) for n in loose if n.lower().endswith((*EXTENSIONS, *UNREAD)))
    if outside:
        warn(f"{told(outside)} in SOURCE {path} lie in no class folder; passed over")
    if isinstance(path, Path):
        pictures.watched = watched
    digest = digest_of(pictures, folders)
    return Source(str(path), "imagefolder", tuple(folders), pictures, labels, digest)


def _in(path: AnyPath) -> tuple[list[str], list[str]]:
    """The names of the folders and of the files in a folder, sorted, without hidden ones."""
    folders: list[str] = []
    files: list[str] = []
    for entry in path.iterdir():
        if not entry.name.startswith("."):
            (folders if entry.is_dir() else files).append(entry.name)
    return sorted(folders), sorted(files)


class ImageFolder(Kind):
    """One folder a class."""

    name = "imagefolder"

    def is_folder(self, listing: Listing) -> bool:
        """Anything with folders or pictures in it; also an empty folder, to say what is missing."""
        pictures = any(is_picture_name(name) for name in listing.names)
        return bool(listing.folders) or not listing.names or pictures

    def holds_pictures(self, listing: Listing) -> bool:
        """Whether any folder has pictures in it, or nothing else lies there."""
        if isinstance(listing.path, Url) or not listing.folders:
            return not any(listing.endings[ending] for ending in OTHERS)
        return any(has_picture(listing.path / name, LOOKED_AT) for name in listing.folders)

    def is_watched(self, path: AnyPath) -> bool:
        """Every folder."""
        return True

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """List the pictures of every class."""
        return open_imagefolder(path, warn)


KIND = ImageFolder()
