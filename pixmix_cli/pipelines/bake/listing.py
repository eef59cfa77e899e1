"""Which samples there are, and in which order: made once, and by parts shared through the output.

The first part to come writes OUT/.pixmix/listing; the others read it, and so list no folder. Those
that come meanwhile wait for it. A part that finds none which is right for it lists for itself.
Nobody waits for a listing that cannot be written: parts then list all at the same time.
"""

from __future__ import annotations

import array
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli import __version__
from pixmix_cli.errors import PixMixError
from pixmix_cli.outputs.file_names import LISTING, META
from pixmix_cli.outputs.run_plan import look
from pixmix_cli.outputs.turns import Turn, turn
from pixmix_cli.pipelines.bake.formats.base import Format
from pixmix_cli.pipelines.bake.job import BakeJob
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.sources import stored
from pixmix_cli.sources.open import is_watched, open_source
from pixmix_cli.sources.pictures import STDIN
from pixmix_cli.sources.source import Source
from pixmix_cli.storage.files import canonical_json, sha256_hex
from pixmix_cli.storage.inside import TmpFolder, open_file
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

    def waiting() -> None:
        warn(f"another part lists SOURCE {job.inputs.source}; this one waits for it")

    found = _load(job, layout)
    write = write and _is_wanted(found)
    write = write and is_watched(job.inputs.source, job.inputs.source_format)
    with contextlib.ExitStack() as ending:
        mine: Turn | None = None
        if write and not _in_vain(job, layout).exists():
            mine = ending.enter_context(turn(job.output, LISTING, waiting))
            found = _load(job, layout)  # another part may have written it meanwhile
            write = _is_wanted(found)
            if mine is not None and (not write or _in_vain(job, layout).exists()):
                mine.end()
                mine = None
        if not isinstance(found, stored.Unfit):
            for line in found.warnings:
                warn(line)
            yield Shared(found)
            return
        listing = list_source(job, layout, warn)
        if write and stored.can_store(listing.source):
            yield Shared(listing, lambda source: _keep(job, layout, listing, source, mine))
            return
        if mine is not None:
            _tell_in_vain(job, layout)
            mine.end()
        yield Shared(listing)


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
    """All that decides a listing besides the source and its kind, as JSON gives it back."""
    inputs = job.inputs
    return [
        __version__,
        [inputs.split, inputs.label_field, inputs.path_field],
        job.seed if _shuffles(job, layout) else None,
        layout.name,
    ]


def _load(job: BakeJob, layout: Format[Any]) -> Listing | stored.Unfit:
    file = job.output / META / LISTING
    asked = job.inputs.source_format
    found = stored.load(file, str(job.inputs.source), _key(job, layout), asked)
    if isinstance(found, stored.Unfit):
        return found
    order = found.arrays.get("order")
    return Listing(found.source, order, found.arrays["naming"], found.warnings)


def _is_wanted(found: Listing | stored.Unfit) -> bool:
    """Whether a listing is to be written in the place of what was found."""
    return isinstance(found, stored.Unfit) and not found.elsewhere


def _in_vain(job: BakeJob, layout: Format[Any]) -> Path:
    """An empty file that is there if such a listing could not be written: nobody waits for it.

    Its name holds the key, since a file without content takes no room.
    """
    key = [stored.identity(str(job.inputs.source)), job.inputs.source_format, _key(job, layout)]
    name = sha256_hex(canonical_json(key).encode())[:16]
    return job.output / META / f"{LISTING}-in-vain-{name}"


def _tell_in_vain(job: BakeJob, layout: Format[Any]) -> None:
    with contextlib.suppress(OSError, PixMixError):  # then the others wait for their turns
        os.close(open_file(_in_vain(job, layout), os.O_WRONLY | os.O_CREAT))


def _keep(
    job: BakeJob, layout: Format[Any], listing: Listing, source: Source, mine: Turn | None
) -> Listing | None:
    """Write a listing, unless it is another than the output's; nothing happens where it cannot.

    mine  None: the part listed without a turn, and takes one for this if it need not wait
    """
    if mine is not None:
        return _write(job, layout, listing, source, mine.tmp)
    with turn(job.output, LISTING, lambda: None, wait=False) as now:
        found = _load(job, layout)  # another part may have written it meanwhile
        if now is None or not _is_wanted(found):
            return None if isinstance(found, stored.Unfit) else found
        return _write(job, layout, listing, source, now.tmp)


def _write(
    job: BakeJob, layout: Format[Any], listing: Listing, source: Source, tmp: TmpFolder
) -> Listing | None:
    """Write a listing as `_keep` does, and tell the others if that is in vain."""
    with contextlib.suppress(PixMixError, OSError, KeyError):  # as where the disk is full
        plan = look(job.output).plan
        if plan is None or plan["inputs"]["SOURCE"]["sha256"] == source.digest:
            more: dict[str, Any] = {"naming": array.array("B", layout.naming(source))}
            if listing.order is not None:
                more["order"] = listing.order
            file = job.output / META / LISTING
            asked, said = job.inputs.source_format, listing.warnings
            stored.store(file, tmp, listing.source, _key(job, layout), asked, said, more)
            found = _load(job, layout)
            if not isinstance(found, stored.Unfit):
                _in_vain(job, layout).unlink(missing_ok=True)
                return found
    _tell_in_vain(job, layout)
    return None
