"""Datasets in: NumPy arrays of pictures and labels, .npz or .npy. Nothing pickled is read."""

from __future__ import annotations

import array
import hashlib
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.labels import Labels, names_beside
from pixmix_cli.sources.pictures import Container, Pictures, Warn
from pixmix_cli.sources.source import Source, digest_of_source
from pixmix_cli.storage import spool
from pixmix_cli.storage.remote import AnyPath

IMAGE_NAMES = ("images", "x", "data", "pictures", "arr_0")
LABEL_NAMES = ("labels", "y", "targets", "arr_1")
SPLITS = ("train", "test", "val")
MAX_LABEL_BYTES = 1 << 30  # of the array of labels
MAX_SIDE = 65_535  # pixels
SAMPLED = 4096  # blocks of a large array that are hashed, the first and last among them
SAMPLED_BLOCK = 1 << 16  # bytes


@dataclass(frozen=True, slots=True)
class Array:
    """An array inside a file: where its values begin, their dtype and shape."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def load(self) -> np.ndarray:
        """The whole of it. Raises InputError for one that is too large or cut short."""
        size = self.dtype.itemsize * _product(self.shape)
        if size > MAX_LABEL_BYTES:
            raise InputError(f"{self.path}: {size} bytes are too many for labels")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            data = file.read(size)
        if len(data) < size:
            raise InputError(f"{self.path} is truncated")
        return np.frombuffer(data, self.dtype).reshape(self.shape)


def open_numpy(
    path: Path, warn: Warn, split: str | None = None, label_field: str | None = None
) -> Source:
    """List the pictures of arrays, which stay where they are.

    path         an .npz, a folder with images.npy and labels.npy, or an images.npy beside them
    split        of an .npz with x_train, y_train, x_test, ... or train_images, train_labels, ...
    label_field  name of the array of labels
    raises       InputError, StorageError
    """
    where = f"SOURCE {path}"
    try:
        arrays = _arrays(path)
        images, labels, split = _choose(arrays, path, split, label_field)
        layout, count, size = _layout(images, where)
        if images.path.stat().st_size < images.offset + count * size:
            raise InputError(f"{where}: the array of pictures is truncated")
        found = Labels()
        found.extend(_label_values(labels, count, where))
        names = names_beside(path.parent if path.is_file() else path, warn)
        if "classes" in arrays:
            classes = arrays["classes"]().load()
            if classes.dtype.kind == "U" and classes.ndim == 1:
                names = [str(name) for name in classes]
        numbered, numbers = found.finish(where, names)
        pictures = Pictures()
        pictures.begin(Container("", str(images.path), layout))
        for number in range(count):
            pictures.add(f"{number:09d}", size, images.offset + number * size)
        content = _digest(images, count * size)
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error
    digest = digest_of_source("numpy", numbered, pictures, numbers, content)
    return Source(str(path), "numpy", numbered, pictures, numbers, digest, split)


def pictures_in_array(path: Path) -> Pictures:
    """The pictures of an .npy, or of the only array of pictures in an .npz, without labels.

    raises  InputError, StorageError
    """
    try:
        if path.suffix.lower() == ".npy":
            images = _npy(path)
        else:
            found = [member() for member in _arrays(path).values()]
            found = [a for a in found if a.dtype == np.uint8 and len(a.shape) > 2]
            if len(found) != 1:
                raise InputError(
                    f"{path} holds {len(found)} arrays of uint8 pictures", "an .npy with one"
                )
            images = found[0]
        layout, count, size = _layout(images, str(path))
        if images.path.stat().st_size < images.offset + count * size:
            raise InputError(f"{path} is truncated")
        pictures = Pictures()
        pictures.begin(Container(f"{path.name}/", str(images.path), layout))
        for number in range(count):
            pictures.add(f"{number:09d}", size, images.offset + number * size)
        pictures.content = _digest(images, count * size)
    except OSError as error:
        raise StorageError.from_os_error(error, str(path), "reading") from error
    return pictures


Arrays = dict[str, Callable[[], Array]]  # looked at only when chosen


def _arrays(path: Path) -> Arrays:
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix.lower() == ".npy" and p.is_file())
        return {file.stem: partial(_npy, file) for file in files}
    if path.suffix.lower() == ".npy":
        return _arrays(path.parent)
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                info.filename.removesuffix(".npy"): partial(_member, path, info)
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            }
    except _BAD_ZIP as error:
        raise InputError(f"{path} is not a whole .npz file: {error}") from None


# zipfile's errors on damaged archives; RuntimeError for an encrypted one
_BAD_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError, OverflowError, struct.error,
)  # fmt: skip


def _member(path: Path, info: zipfile.ZipInfo) -> Array:
    if info.compress_type != zipfile.ZIP_STORED:
        limit = spool.MAX_GROWTH_FREE + spool.MAX_GROWTH * info.compress_size
        where = f"{path}: {info.filename}"
        try:
            with zipfile.ZipFile(path) as archive, archive.open(info) as unpacked:
                return _npy(spool.unpack(unpacked.read, "array.npy", limit, where))
        except _BAD_ZIP as error:
            raise InputError(f"{where} is damaged: {error}") from None
    with path.open("rb") as file:
        file.seek(info.header_offset)
        head = file.read(30)
        if len(head) < 30 or head[:4] != b"PK\3\4":
            raise InputError(f"{path} is not a whole .npz file: {info.filename}")
        names = sum(struct.unpack("<2H", head[26:30]))
        file.seek(names, os.SEEK_CUR)
        return _header(file, path, f"{path}: {info.filename}")


def _npy(path: Path) -> Array:
    with path.open("rb") as file:
        return _header(file, path, str(path))


def _header(file: BinaryIO, path: Path, where: str) -> Array:
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # it parses text of a stranger
        reason = " ".join(str(error).split())
        raise InputError(f"{where} is no .npy array: {reason[:200]}") from None
    if dtype.hasobject:
        raise InputError(f"{where} holds pickled objects, which are not read")
    if fortran and len(shape) > 1:
        raise InputError(f"{where} is in Fortran order", "numpy.ascontiguousarray before saving")
    if any(side < 0 for side in shape):
        raise InputError(f"{where} has an impossible shape {shape}")
    return Array(path, file.tell(), dtype, shape)


def _choose(
    arrays: Arrays, path: Path, split: str | None, label_field: str | None
) -> tuple[Array, Array, str | None]:
    """The arrays of pictures and of labels, and the split."""
    present = [s for s in SPLITS if any(s in name.split("_") for name in arrays)]
    if split is None and present:
        split = present[0]
    if split is not None and split not in present:
        if not present:
            raise InputError(f"SOURCE {path} has no splits", "without --split")
        raise InputError(f"SOURCE {path} has no split {split!r}", f"--split {' or '.join(present)}")

    def find(names: tuple[str, ...]) -> Array | None:
        for name in names:
            spelt = (name,) if split is None else (f"{name}_{split}", f"{split}_{name}")
            for key in spelt:
                if key in arrays:
                    return arrays[key]()
        return None

    images = find(IMAGE_NAMES)
    if label_field is None:
        labels = find(LABEL_NAMES)
    else:
        labels = arrays[label_field]() if label_field in arrays else None
    if images is None or labels is None:
        what = "pictures" if images is None else "labels"
        there = ", ".join(sorted(arrays)) or "nothing"
        raise InputError(
            f"SOURCE {path} has no array of {what} (it has {there})", "arrays images and labels"
        )
    return images, labels, split


def _of_any_split(names: tuple[str, ...], listing: Listing) -> bool:
    """Whether a folder has an array of one of these names, alone or with a split's."""
    spelt = {*names, *(f"{name}_{split}" for name in names for split in SPLITS)}
    spelt |= {f"{split}_{name}" for name in names for split in SPLITS}
    return any(name[-4:].lower() == ".npy" and name[:-4] in spelt for name in listing.names)


def _layout(images: Array, where: str) -> tuple[tuple[int, int, str], int, int]:
    """(height, width, order), how many pictures, bytes of each."""
    shape = images.shape
    if images.dtype != np.uint8:
        raise InputError(f"{where}: pictures are {images.dtype}, not uint8")
    if len(shape) == 4 and shape[3] == 3:
        layout = (shape[1], shape[2], "hwc")
    elif len(shape) == 4 and shape[1] == 3:
        layout = (shape[2], shape[3], "chw")
    elif len(shape) == 3 or (len(shape) == 4 and 1 in (shape[1], shape[3])):
        sides = list(shape[1:])
        if len(sides) == 3:
            sides.pop(2 if sides[2] == 1 else 0)
        layout = (sides[0], sides[1], "hw")
    else:
        raise InputError(
            f"{where}: pictures have shape {shape}", "(n, h, w, 3), (n, 3, h, w) or (n, h, w)"
        )
    if not all(1 <= side <= MAX_SIDE for side in layout[:2]) or shape[0] == 0:
        raise InputError(f"{where}: there are no pictures in an array of shape {shape}")
    return layout, shape[0], layout[0] * layout[1] * (1 if layout[2] == "hw" else 3)


def _label_values(labels: Array, count: int, where: str) -> list[object]:
    if labels.dtype.kind not in "iufUSb" or _product(labels.shape) != count:
        raise InputError(
            f"{where}: labels are {labels.dtype} of shape {labels.shape}, for {count} pictures",
            "one whole number or name a picture",
        )
    try:
        values: list[object] = labels.load().reshape(-1).tolist()
    except ValueError as error:  # characters that are none
        raise InputError(f"{where}: the labels are damaged: {error}") from None
    return values


def _digest(images: Array, length: int) -> bytes:
    """Hash of the pixels: all of a small array, and of a large one blocks spread evenly."""
    digest = hashlib.sha256(repr((images.shape, images.dtype.str)).encode())
    blocks = -(-length // SAMPLED_BLOCK)
    if blocks <= SAMPLED:
        chosen = array.array("q", range(blocks))
    else:
        chosen = array.array("q", (i * (blocks - 1) // (SAMPLED - 1) for i in range(SAMPLED)))
    with images.path.open("rb", buffering=0) as file:
        for block in chosen:
            file.seek(images.offset + block * SAMPLED_BLOCK)
            digest.update(file.read(min(SAMPLED_BLOCK, length - block * SAMPLED_BLOCK)))
    return digest.digest()


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


class NumpyArrays(Kind):
    """Arrays of pictures and labels."""

    name = "numpy"
    endings = (".npz", ".npy")
    takes = ("split", "label_field")
    spooled = True

    def is_folder(self, listing: Listing) -> bool:
        """By the name of an array of pictures, of a split perhaps."""
        return _of_any_split(IMAGE_NAMES, listing)

    def holds_pictures(self, listing: Listing) -> bool:
        """Whether there are labels, too."""
        return _of_any_split(LABEL_NAMES, listing)

    def open(self, path: AnyPath, warn: Warn, choice: Choice) -> Source:
        """List the pictures of the arrays."""
        return open_numpy(Path(str(path)), warn, choice.split, choice.label_field)


KIND = NumpyArrays()
