"""What verify finds out about files of an output, whatever command made them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixmix_cli.errors import PixMixError
from pixmix_cli.outputs.rows import Artefact
from pixmix_cli.storage import images, tar
from pixmix_cli.storage.files import read_bytes, sha256_hex

HASH_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file of an output, or how it was mended."""

    path: str
    text: str
    repaired: bool = False

    def to_json(self) -> dict[str, Any]:
        """As --json prints it."""
        return {"path": self.path, "repaired" if self.repaired else "problem": self.text}


@dataclass(frozen=True, slots=True)
class Expected:
    """What the pictures and labels of a set must be like.

    size        side of every picture, pixels; None: recipes rendered again may each have their own
    classes     names by label; none where pictures have no labels
    draws_json  whether a record of its draws lies beside each sample
    """

    size: int | None
    classes: tuple[str, ...] = ()
    draws_json: bool = False


def problems_of_file(path: Path, row: Artefact) -> Iterator[str]:
    """Whether a file that is there has the bytes that its row records."""
    if sha256_of_file(path) != row.sha256:
        yield f"is not what was written ({path.stat().st_size} bytes, {row.bytes} expected)"


def problems_of_loose_picture(path: Path, row: Artefact, expected: Expected) -> Iterator[str]:
    """Whether a picture that is a file of its own is there, has its bytes and decodes."""
    if not path.is_file():
        yield "is missing"
        return
    data = read_bytes(path)
    if sha256_hex(data) != row.sha256:
        yield f"is not what was written ({len(data)} bytes, {row.bytes} expected)"
    yield from problems_of_picture(data, row.path, expected)


def problems_of_picture(data: bytes, name: str, expected: Expected) -> Iterator[str]:
    """Whether an encoded picture decodes, and to the size that is expected."""
    try:
        height, width, _ = images.decode_rgb(data, name, max_pixels=images.OWN_PIXELS).shape
    except PixMixError as error:
        yield f"does not decode: {error.message}"
        return
    size = expected.size
    if size is not None and (height, width) != (size, size):
        yield f"{name} is {width} x {height} pixels, not {size} x {size}"


def problems_of_pictures(key: str, members: dict[str, bytes], expected: Expected) -> Iterator[str]:
    """Whether a sample of a tar has one picture, which decodes.

    members  extension -> bytes
    """
    found = [extension for extension in members if extension in images.FORMATS.values()]
    if len(found) != 1:
        yield f"sample {key} has {len(found)} pictures"
    for extension in found:
        yield from problems_of_picture(members[extension], f"{key}.{extension}", expected)


def problem_of_label(label: int, expected: Expected) -> str | None:
    """What is wrong with a label."""
    if 0 <= label < len(expected.classes):
        return None
    return f"label {label} is not in classes.json"


def samples_in_tar(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and members (extension -> bytes) of each sample of a tar, in order.

    raises  StorageError for a damaged tar
    """
    key, found = None, {}
    with path.open("rb") as file:
        for member in tar.members(path):
            ours, _, extension = member.name.partition(".")
            if key is not None and ours != key:
                yield key, found
                found = {}
            key = ours
            file.seek(member.offset)
            found[extension] = file.read(member.length)
    if key is not None:
        yield key, found


def sha256_of_file(path: Path) -> str:
    """SHA-256 of a file, read a block at a time."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()
