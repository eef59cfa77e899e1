"""The pictures that are trained and tested on, as arrays, and whether sets overlap."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.mixing.mixer import fit_square
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.mixing_set import open_mixing_set
from pixmix_cli.sources.open import open_source, recognise
from pixmix_cli.sources.pictures import PictureRef
from pixmix_cli.storage import images

U8 = NDArray[np.uint8]
SIDE = 32  # pixels; other pictures are shrunk or enlarged to it
DIGITS_TEST = 500
WITH_SPLITS = ("cifar", "numpy", "parquet")  # kinds of dataset that may hold train and test


@dataclass(frozen=True)
class Labelled:
    """One split.

    pictures  (n, 32, 32, 3) uint8
    labels    (n,) int64
    classes   names by label
    digest    SHA-256 of pictures and labels
    """

    pictures: U8
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.pictures.tobytes() + self.labels.tobytes()).hexdigest()


@dataclass(frozen=True)
class Part:
    """Training or test pictures: a SOURCE of `bake`, and its --split where it has parts."""

    source: Path
    split: str | None = None

    @property
    def words(self) -> list[str]:
        """The arguments of `pixmix bake` that name it."""
        return [str(self.source), *([] if self.split is None else ["--split", self.split])]


def load(part: Part) -> Labelled:
    """Every picture, in the order in which `bake` sees them.

    raises  InputError when there is none; PictureError for a broken picture
    """
    source = open_source(part.source, _ignore, split=part.split)
    if not len(source.pictures):
        raise InputError(f"{part.source} holds no pictures")
    pictures = np.stack([_square(ref) for ref in source.pictures])
    return Labelled(pictures, np.array(source.labels, np.int64), source.classes)


def keep(split: Labelled, path: Path) -> Path:
    """Write a split where other processes can open it."""
    np.savez(path, pictures=split.pictures, labels=split.labels, classes=np.array(split.classes))
    return path


def kept(path: Path) -> Labelled:
    """What `keep` wrote."""
    with np.load(path) as arrays:
        classes = tuple(str(name) for name in arrays["classes"])
        return Labelled(arrays["pictures"], arrays["labels"], classes)


def parts(data: str, out: Path) -> tuple[Part, Part]:
    """The training and the test pictures that --data means.

    data    a folder with train and test, each anything that `bake` reads; a dataset with these two
            splits; or "digits": scikit-learn's, written below `out` the first time
    raises  InputError
    """
    folder = _write_digits(out / "digits", out / "exam") if data == "digits" else Path(data)
    if not folder.exists():
        raise InputError(
            f"--data {data} does not exist", "a folder with train and test in it; or digits"
        )
    if (folder / "train").exists() and (folder / "test").exists():
        return Part(folder / "train"), Part(folder / "test")
    if recognise(folder).name in WITH_SPLITS:
        return Part(folder, "train"), Part(folder, "test")
    raise InputError(
        f"--data {data} has no train and test",
        "a folder with both, each of which `pixmix bake` reads; CIFAR as downloaded; or digits",
    )


def digits(cache: Path) -> tuple[U8, NDArray[np.int64]]:
    """scikit-learn's digits: (1797, 8, 8) uint8 and labels.

    cache   folder in which they are kept as digits.npz, so that the exam can be made on a machine
            without scikit-learn
    raises  InputError when they are neither there nor installed
    """
    path = cache / "digits.npz"
    if not path.exists():
        try:
            from sklearn.datasets import load_digits
        except ModuleNotFoundError:
            raise InputError(
                f"the digits come with scikit-learn, which is not installed, and {path} is missing",
                "pip install scikit-learn",
            ) from None
        found = load_digits()
        cache.mkdir(parents=True, exist_ok=True)
        levels = (found.images * (255 / 16)).astype(np.uint8)
        np.savez(path, pictures=levels, labels=found.target.astype(np.int64))
    with np.load(path) as arrays:
        return arrays["pictures"], arrays["labels"]


def _write_digits(folder: Path, cache: Path) -> Path:
    if (folder / "done").exists():
        return folder
    pictures, labels = digits(cache)
    order = np.random.default_rng(0).permutation(len(pictures))
    for place, index in enumerate(order.tolist()):
        split = "test" if place < DIGITS_TEST else "train"
        target = folder / split / str(labels[index])
        target.mkdir(parents=True, exist_ok=True)
        levels = Image.fromarray(pictures[index])
        large = levels.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        large.save(target / f"{index:04d}.png")
    (folder / "done").touch()
    return folder


def content_digest(folder: Path) -> str:
    """SHA-256 of the names and bytes of a folder's pictures."""
    digest = hashlib.sha256()
    for ref in find_pictures(folder, _ignore):
        digest.update(f"{ref.name}\n".encode())
        digest.update(hashlib.sha256(ref.read()).digest())
    return digest.hexdigest()


def fingerprints(pictures: Iterable[U8]) -> set[bytes]:
    """A hash of each picture's pixels at 32 px."""
    return {hashlib.blake2b(picture.tobytes(), digest_size=16).digest() for picture in pictures}


def check_apart(seen: set[bytes], folder: Path) -> set[bytes]:
    """Refuse pictures that the exam shows too; returns their fingerprints.

    seen    fingerprints of train and test pictures, and of the anomalies
    folder  a mixing set, or photographs
    raises  InputError naming the first such picture
    """
    apart = set()
    for ref in open_mixing_set([folder], _ignore).pictures:
        try:
            found = fingerprints([_square(ref)])
        except PixMixError:
            continue  # bake passes it over too
        if found & seen:
            raise InputError(
                f"{folder}: {ref.name} is a picture of the exam (train, test or anomalies)",
                "the same without it",
            )
        apart |= found
    return apart


def _square(ref: PictureRef) -> U8:
    return np.ascontiguousarray(fit_square(images.decode_rgb(ref.read(), ref.name), SIDE))


def _ignore(text: str) -> None:
    pass
