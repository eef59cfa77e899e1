"""The pictures to mix in, of one mixing set or of several with weights."""

from __future__ import annotations

import hashlib
import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pixmix_cli.errors import InputError
from pixmix_cli.sources.find import find_pictures, pictures_on_stdin
from pixmix_cli.sources.pictures import STDIN, Pictures, Warn, digest_of
from pixmix_cli.storage.images import EXTENSIONS
from pixmix_cli.storage.missing import missing
from pixmix_cli.storage.remote import AnyPath, any_path

WEIGHTED_DRAWS = 1 << 40  # numbers that a weighted choice is drawn from; a float holds them all


@dataclass(frozen=True, slots=True)
class MixingSet:
    """The pictures to mix in, in a fixed order: set by set, and by name inside each.

    digest  SHA-256 over names and lengths: changes when a picture is added, lost or resized
    shares  (first drawn number, first picture, pictures) of each set when sets have weights
    """

    paths: tuple[str, ...]
    pictures: Pictures
    digest: str
    shares: tuple[tuple[int, int, int], ...] = ()

    @property
    def draws_from(self) -> int:
        """How many numbers a choice is drawn from, uniformly; `pick` makes a picture of one."""
        return WEIGHTED_DRAWS if self.shares else len(self.pictures)

    def pick(self, drawn: int) -> int:
        """The index of the picture that a number in 0..draws_from - 1 stands for."""
        if not self.shares:
            return drawn
        number = bisect_right(self.shares, drawn, key=lambda share: share[0]) - 1
        begin, first, count = self.shares[number]
        ends = [share[0] for share in self.shares[1:]] + [WEIGHTED_DRAWS]
        return first + (drawn - begin) * count // (ends[number] - begin)


def open_mixing_set(
    paths: Sequence[AnyPath], warn: Warn, weights: Sequence[float] = ()
) -> MixingSet:
    """The pictures of one or several sets together.

    paths    folders, tars, pictures, arrays (.npy) or lists of paths; - is a tar on stdin
    weights  how often each set is picked from, relative to the others; without them every picture
             is picked equally often
    raises   InputError when one is missing or holds no picture; StorageError for a broken tar
    """
    if weights and len(weights) != len(paths):
        raise InputError(f"there are {len(paths)} mixing sets and {len(weights)} weights")
    pictures = Pictures()
    starts = []
    for path in paths:
        if path != STDIN and not path.exists():
            raise missing("mixing set ", path)
        found = pictures_on_stdin() if path == STDIN else find_pictures(path, warn)
        if not found:
            endings = " ".join(EXTENSIONS)
            raise InputError(
                f"mixing set {path} holds no pictures ({endings}, or .tar files of them)",
                "pixmix generate-fractals -n 1000 -o mixing",
            )
        starts.append(len(pictures))
        pictures.extend(found)
    digest = digest_of(pictures)
    if pictures.content:
        digest = hashlib.sha256(f"{digest} {pictures.content.hex()}".encode()).hexdigest()
    shares = _shares(weights, [*starts, len(pictures)])
    if shares:  # which picture is of which set counts too
        digest = hashlib.sha256(f"{digest} {starts}".encode()).hexdigest()
    return MixingSet(tuple(str(p) for p in paths), pictures, digest, shares)


def _shares(weights: Sequence[float], starts: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    shares, before = [], 0.0
    for weight, first, end in zip(weights, starts, starts[1:]):
        shares.append((int(WEIGHTED_DRAWS * (before / sum(weights))), first, end - first))
        before += weight
    return tuple(shares)


def weighted_paths(texts: Sequence[str]) -> tuple[tuple[AnyPath, ...], tuple[float, ...]]:
    """Paths and weights out of `fractals:1`, `featvis:2`; no weights out of plain paths.

    A path that exists as it is written is a path, whatever follows its last colon.

    raises  InputError for a weight that is no number above 0, or given to some sets only
    """
    paths, weights = [], []
    for text in texts:
        before, colon, after = text.rpartition(":")
        if not colon or not before or os.path.exists(text):
            paths.append(any_path(text))
            continue
        try:
            weight = float(after)
        except ValueError:
            paths.append(any_path(text))  # a path that does not exist, as will be said
            continue
        if not MIN_WEIGHT <= weight <= 1 / MIN_WEIGHT:
            raise InputError(f"--mixing-set {text}: a weight must be {MIN_WEIGHT} to 1000000")
        paths.append(any_path(before))
        weights.append(weight)
    if weights and len(weights) < len(paths):
        raise InputError("some of the mixing sets have a weight and others none", "one for each")
    return tuple(paths), tuple(weights)


MIN_WEIGHT = 1e-6  # a set picked from less often than that is a slip
