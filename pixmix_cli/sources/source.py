"""A labelled dataset, whatever its kind."""

from __future__ import annotations

import array
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.sources.pictures import Pictures, encoded
from pixmix_cli.storage.blocks import Numbers

COUNTED = 1 << 20  # labels at a time


@dataclass(frozen=True, slots=True)
class Source:
    """A labelled dataset.

    path      as the user gave it
    kind      a name of registry.KINDS
    classes   names; a label is an index into them
    pictures  every picture, in a fixed order; `name` is the sample key
    labels    one a picture
    digest    SHA-256 over class names, labels, picture names and lengths
    split     which part of the dataset, where it has several
    runs      where pictures that are only quick to read together begin (Parquet's row groups)
    """

    path: str
    kind: str
    classes: tuple[str, ...]
    pictures: Pictures
    labels: array.array[int] | Numbers
    digest: str
    split: str | None = None
    runs: tuple[int, ...] = ()

    def counts(self) -> NDArray[np.int64]:
        """(classes,) pictures of each class."""
        found = np.zeros(len(self.classes), np.int64)
        for start in range(0, len(self.labels), COUNTED):
            labels = np.asarray(self.labels[start : start + COUNTED])
            found += np.bincount(labels, minlength=len(found))
        return found


def digest_of_source(
    kind: str,
    classes: Sequence[str],
    pictures: Pictures,
    labels: array.array[int],
    content: bytes = b"",
) -> str:
    """SHA-256 over all that decides which pictures there are and how they are labelled.

    content  more to hash, of kinds whose pictures' lengths say nothing
    """
    digest = hashlib.sha256(encoded(f"{kind}\0"))
    for name in classes:
        digest.update(encoded(f"{name}\0class\n"))
    pictures.add_to(digest)
    digest.update(array.array("i", labels).tobytes())
    digest.update(content)
    return digest.hexdigest()
