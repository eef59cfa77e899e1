"""Datasets in: CIFAR-10 and CIFAR-100 as downloaded (the "python version").

Its files are pickles, which could run any code. These are read without running any: what they hold
is rebuilt from dictionaries, lists, texts, numbers and arrays alone, and whatever else one asks for
is refused by name. Pictures are not even loaded: their bytes lie in the file as they are, and
workers read them there.
"""

from __future__ import annotations

import array
import hashlib
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pixmix_cli.errors import InputError
from pixmix_cli.sources import torchvision_downloads
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.labels import MAX_CLASSES
from pixmix_cli.sources.picture_cache import default_folder
from pixmix_cli.sources.pictures import Container, Pictures, Warn, read_bytes_at
from pixmix_cli.sources.plain_pickles import PlainArray, load_plain
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.storage import spool, tar
from pixmix_cli.storage.files import write_whole
from pixmix_cli.storage.remote import AnyPath

SIDE = 32  # pixels
PIXELS = 3 * SIDE * SIDE  # bytes of a picture: all red values, then green, then blue
MAX_FILE = 1 << 30  # bytes of one file; the largest that was published has 155 MB


@dataclass(frozen=True, slots=True)
class Layout:
    """How one of the two datasets is laid out.

    folder  the name it is published under
    splits  files of each split
    meta    the file with the class names
    labels  field of labels in a batch -> field of their names in `meta`; the first is the usual one
    """

    folder: str
    splits: dict[str, tuple[str, ...]]
    meta: str
    labels: dict[str, str]


LAYOUTS = (
    Layout(
        "cifar-10-batches-py",
        {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
        "batches.meta",
        {"labels": "label_names"},
    ),
    Layout(
        "cifar-100-python",
        {"train": ("train",), "test": ("test",)},
        "meta",
        {"fine_labels": "fine_label_names", "coarse_labels": "coarse_label_names"},
    ),
)


@dataclass(frozen=True, slots=True)
class _Piece:
    """A file of the dataset: on its own, or inside a tar."""

    path: str
    offset: int
    length: int


def find_layout(path: AnyPath) -> Layout | None:
    """Which of the two a folder or archive holds, going by names alone; None: neither."""
    if path.is_dir():
        for layout in LAYOUTS:
            for folder in (path, path / layout.folder):
                if (folder / layout.meta).is_file() and _present(folder, layout):
                    return layout
        return None
    name = path.name
    for layout in LAYOUTS:
        if name.startswith((layout.folder, layout.folder.replace("-batches-py", "-python"))):
            return layout
    return None


def _present(folder: AnyPath, layout: Layout) -> bool:
    return any((folder / name).is_file() for names in layout.splits.values() for name in names)


def open_cifar(path: Path, split: str | None = None, label_field: str | None = None) -> Source:
    """List CIFAR-10 or CIFAR-100.

    path         the folder, one that holds it, or the .tar.gz as it was downloaded
    split        "train" (also when None) or "test"
    label_field  CIFAR-100: "fine_labels" (also when None) or "coarse_labels"
    raises       InputError, StorageError
    """
    split = split or "train"
    layout, pieces = _pieces(path)
    if split not in layout.splits:
        raise InputError(
            f"SOURCE {path} has no split {split!r}", f"--split {' or '.join(layout.splits)}"
        )
    field = label_field or next(iter(layout.labels))
    if field not in layout.labels:
        raise InputError(
            f"SOURCE {path} has no labels {field!r}", f"--label-field {' or '.join(layout.labels)}"
        )
    meta = _load(path, layout.meta, pieces)
    classes = _names(_in(meta, layout.labels[field]), path, layout.meta)
    pictures, labels = Pictures(), array.array("i")
    content = hashlib.sha256()
    for name in layout.splits[split]:
        batch = _load(path, name, pieces, content.update)
        found = _batch_labels(_in(batch, field), len(classes), path, name)
        pixels, order = _pixels_of(_in(batch, "data"), len(found), path, name)
        place, start = pieces[name].path, pieces[name].offset + pixels.start
        if pixels.start < 0:  # as Python 3 writes bytes by protocol 2: not as they are
            place, start = str(spool.new_file(name)), 0
            write_whole(Path(place), bytes(pixels.data))
        pictures.begin(Container(f"{name}/", place, (SIDE, SIDE, order)))
        for number in range(len(found)):
            pictures.add(f"{number:05d}", PIXELS, start + number * PIXELS)
        labels.extend(found)
    digest = digest_of_source("cifar", classes, pictures, labels, content.digest())
    return Source(str(path), "cifar", classes, pictures, labels, digest, split)


def _pieces(path: Path) -> tuple[Layout, dict[str, _Piece]]:
    """The dataset's files by name."""
    found: dict[str, _Piece] = {}
    if path.is_dir():
        layout = find_layout(path)
        if layout is not None:
            folder = path if (path / layout.meta).is_file() else path / layout.folder
            for file in folder.iterdir():
                if file.is_file():
                    found[file.name] = _Piece(str(file), 0, file.stat().st_size)
            return layout, found
    else:
        archive = spool.unpacked(path)
        for member in tar.members(archive):
            place = PurePosixPath(member.name)
            if any(layout.folder == place.parent.name for layout in LAYOUTS):
                found[place.name] = _Piece(str(archive), member.offset, member.length)
        for layout in LAYOUTS:
            if layout.meta in found:
                return layout, found
    raise InputError(
        f"SOURCE {path} holds neither CIFAR-10 nor CIFAR-100 in their python version",
        "a folder cifar-10-batches-py or cifar-100-python, or the .tar.gz that holds it",
    )


def _begins_like_cifar(archive: Path) -> bool:
    try:
        with tarfile.open(archive, "r|gz") as members:
            first = next((info for info in members if info.isreg()), None)
    except (OSError, tarfile.TarError, EOFError, ValueError, zlib.error):
        return False  # whoever reads it says what is wrong
    folders = {layout.folder for layout in LAYOUTS}
    return first is not None and PurePosixPath(first.name).parent.name in folders


def _load(
    path: Path,
    name: str,
    pieces: dict[str, _Piece],
    also: Callable[[bytes], object] | None = None,
) -> dict[Any, Any]:
    if name not in pieces:
        raise InputError(f"SOURCE {path}: {name} is missing", "downloading it again")
    piece = pieces[name]
    if piece.length > MAX_FILE:
        raise InputError(f"SOURCE {path}: {name} is too large for a file of CIFAR")
    data = read_bytes_at(piece.path, piece.offset, piece.length)
    if len(data) < piece.length:
        raise InputError(f"SOURCE {path}: {name} is truncated", "downloading it again")
    if also is not None:
        also(data)
    return load_plain(data, f"SOURCE {path}: {name}")


def _names(value: object, path: Path, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise InputError(f"SOURCE {path}: {name} holds no list of class names")
    return tuple(
        item.decode("utf-8", "surrogateescape") if isinstance(item, bytes) else str(item)
        for item in value
    )


def _in(record: dict[Any, Any], field: str) -> Any:
    """A field of a pickle: Python 2 wrote the keys as bytes, Python 3 as text."""
    return record.get(field.encode(), record.get(field))


def _batch_labels(value: object, classes: int, path: Path, name: str) -> list[int]:
    if isinstance(value, PlainArray):
        value = value.numbers()
    if not isinstance(value, list) or not all(type(item) is int for item in value):
        raise InputError(f"SOURCE {path}: {name} holds no list of labels")
    if not all(0 <= item < min(classes, MAX_CLASSES) for item in value):
        raise InputError(f"SOURCE {path}: {name} holds labels beyond its {classes} classes")
    return value


def _pixels_of(value: object, count: int, path: Path, name: str) -> tuple[PlainArray, str]:
    """The pixels of a batch, and their order."""
    orders = {
        (count, PIXELS): "chw",
        (count, 3, SIDE, SIDE): "chw",
        (count, SIDE, SIDE, 3): "hwc",
    }
    if isinstance(value, PlainArray) and value.kind == "u1" and value.shape in orders:
        return value, orders[value.shape]
    raise InputError(
        f"SOURCE {path}: {name} does not hold {count} pictures of {SIDE} x {SIDE} pixels",
        "downloading it again",
    )


class Cifar(Kind):
    """CIFAR-10 and CIFAR-100 as they are published."""

    name = "cifar"
    takes = ("split", "label_field")
    spooled = True

    def is_file(self, path: AnyPath) -> bool:
        """By the archive's name, or where it has another by the first file in it."""
        packed = path.name.lower().endswith((".tar.gz", ".tgz"))
        return find_layout(path) is not None or (
            packed and isinstance(path, Path) and _begins_like_cifar(path)
        )

    def is_folder(self, listing: Listing) -> bool:
        """By the names of its batches."""
        return find_layout(listing.path) is not None

    def fetch(self, path: AnyPath) -> Path | None:
        """torchvision:cifar10 and torchvision:cifar100 are downloaded."""
        if not torchvision_downloads.is_published(path):
            return None
        return torchvision_downloads.fetch(str(path), default_folder() / "torchvision")

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """List the pictures of a split."""
        return open_cifar(Path(str(path)), choice.split, choice.label_field)


KIND = Cifar()
