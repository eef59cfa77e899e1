"""inspect: what a set of pictures is like, ours or anyone's, in a few numbers."""

from __future__ import annotations

import array
import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.pipelines.engines.local import run_tasks
from pixmix_cli.pipelines.inspect import measures
from pixmix_cli.pipelines.inspect.likeness import likeness, nothing
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.pictures import PictureRef, Pictures
from pixmix_cli.storage import images

U8 = NDArray[np.uint8]

PICTURES_A_TASK = 16
HALVED_FROM = 64  # pixels of the shorter side: smaller pictures have too little left when shrunk
BLANK_BELOW = 0.05  # active share of a blank picture
NEAR = 0.02  # RMS distance of near-duplicates at NEAR_SIDE, of the range; JPEG alone makes .003
NEAR_SIDE = 16  # pixels: small enough that a picture of another size or quality is still the same
THUMBNAIL = 32  # pixels, the size at which CIFAR users see the pictures
COMPARED = 2000  # thumbnails kept for the mean distance: 2 million pairs tell it to .001
LISTED = 1000  # near-duplicate pairs, and blank pictures, named in a record
SHOWN = 5  # and below the table


class Measure(NamedTuple):
    """A number that each picture has.

    goal      what we want of the median of our own sets (docs/design/fractals.md)
    decimals  shown
    """

    name: str
    label: str
    goal: Goal | None
    decimals: int


class Goal(NamedTuple):
    """What a number should be: least to most, both ends good."""

    least: float = -np.inf
    most: float = np.inf

    def __str__(self) -> str:
        if self.most == np.inf:
            return f">= {_number(self.least)}"
        if self.least == -np.inf:
            return _number(self.most)
        return f"{_number(self.least)}-{_number(self.most)}"


def _number(value: float | None, decimals: int | None = None) -> str:
    """Without the zero before the point; decimals None: as many as there are."""
    if value is None:
        return "-"
    # + 0.0: a value that rounds to nothing has no sign
    text = f"{value:g}" if decimals is None else f"{round(value, decimals) + 0.0:.{decimals}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


MEASURES = (
    Measure("entropy", "entropy of grey, bits", None, 1),
    Measure("active", "active 8x8 blocks", Goal(0.7), 2),
    Measure("colorfulness", "colourfulness", Goal(55), 0),
    Measure("hue", "entropy of hue, bits", Goal(3.8), 1),
    Measure("slope", "spectral slope", Goal(1.6, 2.3), 2),
    Measure("dimension", "box-counting dimension", None, 2),
    Measure("contrast", "contrast at 32 px", Goal(48), 0),
)
DISTANCE_GOAL, CLOSEST_GOAL, NONE_GOAL = Goal(0.26), Goal(NEAR), Goal(most=0)
MISSED = "!"  # stands behind a number that misses its goal


@dataclass(frozen=True, slots=True)
class Measured:
    """One picture: its measures, or why there are none."""

    shape: tuple[int, int] = (0, 0)  # height, width
    values: tuple[float | None, ...] = ()  # in the order of MEASURES; None: picture too small
    small: bytes = b""  # (NEAR_SIDE, NEAR_SIDE, 3) uint8
    thumbnail: bytes = b""  # (THUMBNAIL, THUMBNAIL, 3) uint8
    error: str | None = None


def measure(pixels: U8) -> Measured:
    """Everything about one picture.

    pixels  (h, w, 3) uint8
    """
    h, w = pixels.shape[:2]
    seen = measures.halved(pixels) if min(h, w) >= HALVED_FROM else pixels.astype(np.float32)
    thumbnail = measures.shrink(pixels, THUMBNAIL)
    side = min(seen.shape[:2])
    values = (
        measures.level_entropy(seen),
        measures.active_share(seen) if side >= 8 else None,
        measures.colorfulness(seen),
        measures.hue_entropy(seen),
        measures.spectral_slope(seen) if side >= 27 else None,
        measures.box_dimension(seen) if side >= 16 else None,
        measures.contrast(thumbnail),
    )
    small = measures.shrink(thumbnail, NEAR_SIDE)
    return Measured((h, w), values, _bytes(small), _bytes(thumbnail))


def _bytes(small: NDArray[np.float64]) -> bytes:
    return np.rint(small).astype(np.uint8).tobytes()


@dataclass(frozen=True, slots=True)
class SetTask:
    """Pictures of one set to measure together."""

    set_index: int
    refs: tuple[PictureRef, ...]


class Measurer:
    """One worker."""

    def __call__(self, task: SetTask) -> list[Measured]:
        """The task's pictures, in order."""
        return [self._one(ref) for ref in task.refs]

    def _one(self, ref: PictureRef) -> Measured:
        try:
            return measure(images.decode_rgb(ref.read(), ref.name))
        except PixMixError as error:
            return Measured(error=error.message)


@dataclass(frozen=True, slots=True)
class PictureSet:
    """One PATH: its pictures, found but not read."""

    path: Path
    refs: Pictures


def _doubles() -> array.array[float]:
    return array.array("d")


@dataclass(slots=True)
class Summary:
    """What is known of one set; grows while its pictures come in."""

    path: Path
    names: list[str] = field(default_factory=list)  # of the pictures that could be read
    shapes: collections.Counter[tuple[int, int]] = field(default_factory=collections.Counter)
    values: array.array[float] = field(default_factory=_doubles)  # MEASURES a picture, or nan
    small: bytearray = field(default_factory=bytearray)  # (NEAR_SIDE, NEAR_SIDE, 3) each
    thumbnails: list[bytes] = field(default_factory=list)  # COMPARED at most, evenly spaced
    broken: list[dict[str, str]] = field(default_factory=list)

    def column(self, name: str) -> NDArray[np.float64]:
        """One measure of every picture that has it."""
        values = self._table()[:, [one.name for one in MEASURES].index(name)]
        return values[~np.isnan(values)]

    def _table(self) -> NDArray[np.float64]:
        """A row a picture, a column a measure; nan where the picture is too small."""
        return np.frombuffer(self.values, np.float64).reshape(-1, len(MEASURES))

    def blank(self) -> list[str]:
        """The names of the pictures that show next to nothing."""
        active = self._table()[:, [one.name for one in MEASURES].index("active")]
        return [self.names[number] for number in np.flatnonzero(active < BLANK_BELOW)]

    def distances(self) -> NDArray[np.float64]:
        """RMS distances in [0, 1] between all pairs of the thumbnails kept."""
        shape = (-1, THUMBNAIL, THUMBNAIL, 3)
        flat = np.frombuffer(b"".join(self.thumbnails), np.uint8).reshape(shape)
        return measures.pairwise_distance(flat) / 255.0


def find_sets(paths: Sequence[Path], warn: Callable[[str], None]) -> list[PictureSet]:
    """The pictures of each path.

    raises  InputError when one is missing or holds none
    """
    sets = []
    for path in paths:
        refs = find_pictures(path, warn)
        if not refs:
            raise InputError(f"{path} holds no pictures", "a folder or .tar of pictures")
        sets.append(PictureSet(path, refs))
    return sets


def measure_sets(
    sets: Sequence[PictureSet], summaries: Sequence[Summary], workers: int
) -> Iterator[int]:
    """Measure every picture; yields how many were done since the last time.

    summaries  empty ones of the same sets, which are filled
    """
    seen = [0] * len(sets)
    spacing = [-(-len(one.refs) // COMPARED) for one in sets]
    results = run_tasks(Measurer, (), _tasks(sets), workers, lambda task: task.refs[0].name)
    for task, measured in zip(_tasks(sets), results, strict=True):
        summary = summaries[task.set_index]
        for ref, one in zip(task.refs, measured, strict=True):
            number = seen[task.set_index]
            seen[task.set_index] += 1
            if one.error is not None:
                summary.broken.append({"path": ref.name, "error": one.error})
                continue
            summary.names.append(ref.name)
            summary.shapes[one.shape] += 1
            summary.values.extend(np.nan if value is None else value for value in one.values)
            summary.small += one.small
            if number % spacing[task.set_index] == 0:
                summary.thumbnails.append(one.thumbnail)
        yield len(task.refs)


def _tasks(sets: Sequence[PictureSet]) -> Iterator[SetTask]:
    for index, one in enumerate(sets):
        for begin in range(0, len(one.refs), PICTURES_A_TASK):
            yield SetTask(index, tuple(one.refs[begin : begin + PICTURES_A_TASK]))


def record_of(summary: Summary, done: Callable[[int], object] = nothing) -> dict[str, Any]:
    """A set's numbers as JSON-able values.

    done     called with pictures compared with all others since the last time
    returns  "path", "pictures", "broken" (what could not be read and why), "size" ([width,
             height] of most pictures), "sizes" (how many there are), for each measure its
             "median", "p10", "p90" (None where no picture is large enough), "distance" ("mean",
             "p10", "p90" over the pairs of "compared" pictures), "closest" (distance of the
             closest pair, at 16 px), "near_duplicates" (how many "pairs", and the closest of them),
             "blank" (how many, and their names), "missed" (for each goal of ours that the set
             misses the "measure", its "value" and the "goal")
    """
    record: dict[str, Any] = {
        "path": str(summary.path),
        "pictures": len(summary.names),
        "broken": summary.broken,
        "size": None,
        "sizes": len(summary.shapes),
    }
    if summary.shapes:
        height, width = summary.shapes.most_common(1)[0][0]
        record["size"] = [width, height]
    for one in MEASURES:
        record[one.name] = _spread(summary.column(one.name), "median")
    distances = summary.distances() if len(summary.thumbnails) > 1 else np.empty(0)
    record["distance"] = {**_spread(distances, "mean"), "compared": len(summary.thumbnails)}
    shape = (-1, NEAR_SIDE, NEAR_SIDE, 3)
    small = np.frombuffer(summary.small, np.uint8).reshape(shape)
    like = likeness(small, NEAR, LISTED, done)
    names = summary.names
    record["closest"] = None if like.least is None else round(like.least, 4)
    record["near_duplicates"] = {
        "pairs": like.pairs,
        "closest": [[names[i], names[j], distance] for i, j, distance in like.closest],
    }
    blank = summary.blank()
    record["blank"] = {"pictures": len(blank), "names": blank[:LISTED]}
    record["missed"] = [
        {"measure": one.name, "value": one.value, "goal": str(one.goal)}
        for one in _aims(record)
        if one.missed
    ]
    return record


class _Aim(NamedTuple):
    """A number of a set that has a goal; no value: the set is too small to have one."""

    name: str
    label: str
    value: float | None
    goal: Goal
    decimals: int

    @property
    def missed(self) -> bool:
        """Whether it has a value, and not a good one."""
        return self.value is not None and not self.goal.least <= self.value <= self.goal.most


def _aims(record: dict[str, Any]) -> Iterator[_Aim]:
    for one in MEASURES:
        if one.goal is not None:
            yield _Aim(one.name, one.label, record[one.name]["median"], one.goal, one.decimals)
    mean = record["distance"]["mean"]
    yield _Aim("distance", "distance at 32 px, mean", mean, DISTANCE_GOAL, 2)
    yield _Aim("closest", "closest pair", record["closest"], CLOSEST_GOAL, 3)
    pairs = record["near_duplicates"]["pairs"]
    yield _Aim("near_duplicates", "near-duplicate pairs", pairs, NONE_GOAL, 0)
    yield _Aim("blank", "blank pictures", record["blank"]["pictures"], NONE_GOAL, 0)
    if record["broken"]:
        yield _Aim("broken", "cannot be read", len(record["broken"]), NONE_GOAL, 0)


def _spread(values: NDArray[np.float64], middle: str) -> dict[str, float | None]:
    if len(values) == 0:
        return {middle: None, "p10": None, "p90": None}
    low, median, high = (float(v) for v in np.percentile(values, [10, 50, 90]))
    center = float(values.mean()) if middle == "mean" else median
    return {middle: round(center, 4), "p10": round(low, 4), "p90": round(high, 4)}


def table_of(records: Sequence[dict[str, Any]]) -> list[str]:
    """The sets side by side, a line a measure: median [p10, p90]."""
    rows = rows_of(records)
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return [
        "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def rows_of(records: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The cells of that table, the heading first."""
    rows = [["", *_short_names(records), "our goal"]]
    rows.append(["pictures", *(f"{r['pictures']:,}" for r in records), ""])
    rows.append(["size", *(_size(r) for r in records), ""])
    missed = [{one["measure"] for one in r["missed"]} for r in records]

    def add(name: str, label: str, goal: Goal | None, cells: Iterable[str]) -> None:
        marked = (
            f"{cell} {MISSED}" if name in names else cell
            for cell, names in zip(cells, missed, strict=True)
        )
        rows.append([label, *marked, "" if goal is None else str(goal)])

    for one in MEASURES:
        cells = (_cell(r[one.name], "median", one.decimals) for r in records)
        add(one.name, one.label, one.goal, cells)
    cells = (_cell(r["distance"], "mean", 2) for r in records)
    add("distance", "distance at 32 px, mean", DISTANCE_GOAL, cells)
    cells = (_number(r["closest"], 3) for r in records)
    add("closest", "closest pair", CLOSEST_GOAL, cells)
    cells = (f"{r['near_duplicates']['pairs']:,}" for r in records)
    add("near_duplicates", "near-duplicate pairs", NONE_GOAL, cells)
    cells = (f"{r['blank']['pictures']:,}" for r in records)
    add("blank", "blank pictures", NONE_GOAL, cells)
    if any(r["broken"] for r in records):
        cells = (f"{len(r['broken']):,}" for r in records)
        add("broken", "cannot be read", NONE_GOAL, cells)
    return rows


def details_of(record: dict[str, Any]) -> Iterator[str]:
    """The goals missed, and the names behind the counts: near-duplicates, blank pictures."""
    missed = [one for one in _aims(record) if one.missed and one.goal is not NONE_GOAL]
    if missed:
        # a decimal more than in the table: 47.7 and not 48 where the goal is 48
        texts = (f"{o.label} {_number(o.value, o.decimals + 1)} ({o.goal})" for o in missed)
        yield f"{record['path']}: misses our goal: {', '.join(texts)}"
    duplicates = record["near_duplicates"]
    for first, second, distance in duplicates["closest"][:SHOWN]:
        yield f"{record['path']}: {first} and {second} are nearly the same ({distance:.3f})"
    yield from _more(record["path"], duplicates["pairs"], "near-duplicate pair")
    blank = record["blank"]
    for name in blank["names"][:SHOWN]:
        yield f"{record['path']}: {name} is blank"
    yield from _more(record["path"], blank["pictures"], "blank picture")


def _more(path: str, count: int, what: str) -> Iterator[str]:
    if count > SHOWN:
        yield f"{path}: {counted(count - SHOWN, f'more {what}')}; --json names them"


def counted(count: int, what: str) -> str:
    """How many there are, in words: 1 picture, 2 pictures."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _short_names(records: Sequence[dict[str, Any]]) -> list[str]:
    short = [Path(r["path"]).resolve().name for r in records]
    return short if len(set(short)) == len(short) else [r["path"] for r in records]


def _size(record: dict[str, Any]) -> str:
    if record["size"] is None:
        return "-"
    more = f" and {record['sizes'] - 1:,} others" if record["sizes"] > 1 else ""
    return "{} x {}".format(*record["size"]) + more


def _cell(spread: dict[str, Any], middle: str, decimals: int) -> str:
    if spread[middle] is None:
        return "-"
    low, center, high = (_number(spread[key], decimals) for key in ("p10", middle, "p90"))
    return f"{center} [{low}, {high}]"
