"""Which samples there are, and in which order: made once, and by parts shared through the output.

The first part to come writes OUT/.pixmix/listing; the others read it, and so list no folder. Those
that come meanwhile wait for it. A part that finds none which is right for it lists for itself.
"""

from __future__ import annotations

import array
import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli import __version__
from pixmix_cli.errors import PixMixError
from pixmix_cli.outputs.file_names import LISTING, META
from pixmix_cli.outputs.run_plan import look
from pixmix_cli.outputs.turns import turn
from pixmix_cli.pipelines.bake.formats.base import Format
from pixmix_cli.pipelines.bake.job import BakeJob
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.sources import stored
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.pictures import STDIN
from pixmix_cli.sources.source import Source
from pixmix_cli.storage.inside import TmpFolder
from pixmix_cli.storage.remote import Url

I64 = NDArray[np.int64]
Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Order:
    """Sample indices in output order; after the last, again from the first.

    samples   of the source
    length    of the order
    shuffled  (samples,) in which order; None: as in the source
    """

    samples: int
    length: int
    shuffled: Sequence[int] | NDArray[Any] | None = None

    def __len__(self) -> int:
        """The length."""
        return self.length

    def part(self, start: int, stop: int) -> I64:
        """(n,) int64, those from start to stop, or to the end."""
        places = np.arange(start, min(stop, self.length)) % self.samples
        if self.shuffled is None or not len(places):
            return places
        cuts = [0, *(np.flatnonzero(np.diff(places) != 1) + 1).tolist(), len(places)]
        pieces = [
            np.asarray(self.shuffled[int(places[begin]) : int(places[end - 1]) + 1], np.int64)
            for begin, end in pairwise(cuts)
        ]
        return np.concatenate(pieces)


@dataclass(frozen=True, slots=True)
class Listing:
    """What was found.

    source    with its own class names
    order     None: as in the source
    naming    as `Format.naming`; None where nobody has asked yet
    warnings  what was said of the source
    """

    source: Source
    order: Sequence[int] | NDArray[Any] | None
    naming: Sequence[int] | None = None
    warnings: tuple[str, ...] = ()


def list_source(job: BakeJob, layout: Format[Any], warn: Warn) -> Listing:
    """List a job's source. Raises InputError, StorageError."""
    warnings: list[str] = []

    def noted(line: str) -> None:
        warnings.append(line)
        warn(line)

    source = open_source(
        job.inputs.source,
        noted,
        kind=job.inputs.source_format,
        split=job.inputs.split,
        label_field=job.inputs.label_field,
        path_field=job.inputs.path_field,
    )
    order = None
    if _shuffles(job, layout):
        order = _shuffled(len(source.pictures), source.runs, job.seed)
    return Listing(source, order, None, tuple(warnings))


def _shuffles(job: BakeJob, layout: Format[Any]) -> bool:
    return layout.sharded and job.files.shuffle


def _shuffled(count: int, runs: tuple[int, ...], seed: int) -> NDArray[Any]:
    """A random order; where pictures come in runs, of the runs and of the pictures in each."""
    rng = rng_for(seed, Stream.SHUFFLE)
    places = rng.random(count)
    if not runs:
        found = np.argsort(places, kind="stable")
    else:
        lengths = np.diff([*runs, count])
        found = np.lexsort((places, np.repeat(rng.random(len(runs)), lengths)))
    return found.astype(np.uint32 if count < 1 << 32 else np.int64)


# ---------------------------------------------------------------- shared by parts


@dataclass(slots=True)
class Shared:
    """A listing, and whether others may have it.

    listing  of this run's source
    """

    listing: Listing
    _keep: Callable[[Source], Listing | None] = field(default=lambda source: None)

    def keep(self, source: Source) -> Listing | None:
        """Write the listing into the output, once all is known to be right.

        source   with the class names of the output
        returns  it as it is read from there; None where it was not written
        """
        return self._keep(source)


@contextlib.contextmanager
def shared(job: BakeJob, layout: Format[Any], warn: Warn, *, write: bool) -> Iterator[Shared]:
    """The listing for a run; of a part the one in its output, where it is right.

    write   whether this run may write one there
    raises  InputError, StorageError
    """
    if not _can_share(job):
        yield Shared(list_source(job, layout, warn))
        return
    found = _load(job, layout)
    if isinstance(found, stored.Unfit) and write and not found.elsewhere:

        def waiting() -> None:
            warn(f"another part lists SOURCE {job.inputs.source}; this one waits for it")

        with turn(job.output, LISTING, waiting) as tmp:
            found = _load(job, layout)  # another part may have written it meanwhile
            if isinstance(found, stored.Unfit):
                listing = list_source(job, layout, warn)
                yield Shared(listing, lambda source: _keep(job, layout, listing, source, tmp))
                return
    if isinstance(found, stored.Unfit):
        yield Shared(list_source(job, layout, warn))
        return
    for line in found.warnings:
        warn(line)
    yield Shared(found)


def _can_share(job: BakeJob) -> bool:
    """Whether the output is a folder that parts fill, of a source whose changes show."""
    to, source = job.destination, job.inputs.source
    if to.part is None or to.elsewhere is not None or to.is_stream:
        return False
    if isinstance(source, Url) or source == STDIN:
        return False
    try:
        return look(job.output).status != "finished"
    except PixMixError:  # it is told when the output is opened
        return False


def _key(job: BakeJob, layout: Format[Any]) -> list[Any]:
    """All that decides a listing besides the source, as JSON gives it back."""
    inputs = job.inputs
    return [
        __version__,
        [inputs.source_format, inputs.split, inputs.label_field, inputs.path_field],
        job.seed if _shuffles(job, layout) else None,
        layout.name,
    ]


def _load(job: BakeJob, layout: Format[Any]) -> Listing | stored.Unfit:
    file = job.output / META / LISTING
    found = stored.load(file, str(job.inputs.source), _key(job, layout))
    if isinstance(found, stored.Unfit):
        return found
    order = found.arrays.get("order")
    return Listing(found.source, order, found.arrays["naming"], found.warnings)


def _keep(
    job: BakeJob, layout: Format[Any], listing: Listing, source: Source, tmp: TmpFolder | None
) -> Listing | None:
    """Write a listing, unless it is another than the output's; nothing happens where it cannot."""
    if tmp is None or not stored.can_store(listing.source):
        return None
    try:
        plan = look(job.output).plan
        if plan is not None and plan["inputs"]["SOURCE"]["sha256"] != source.digest:
            return None
        more: dict[str, Any] = {"naming": array.array("B", layout.naming(source))}
        if listing.order is not None:
            more["order"] = listing.order
        file = job.output / META / LISTING
        stored.store(file, tmp, listing.source, _key(job, layout), listing.warnings, more)
        found = _load(job, layout)
    except (PixMixError, OSError, KeyError):  # the disk is full: each part lists for itself
        return None
    return None if isinstance(found, stored.Unfit) else found
