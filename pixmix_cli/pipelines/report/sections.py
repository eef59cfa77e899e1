"""report: what a page about sets of pictures shows, gathered; `page` turns it into HTML."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.mixing.draws import AugmentationJson, DrawsJson
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import BakedRow, MixingMember, MixingPicture, SkippedSample
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines import preview
from pixmix_cli.pipelines.bake.formats.base import MAX_COPIES, Record
from pixmix_cli.pipelines.bake.formats.registry import format_of
from pixmix_cli.pipelines.bake.job import Copy
from pixmix_cli.pipelines.bake.settings import check_settings
from pixmix_cli.pipelines.inspect.summary import (
    PictureSet,
    Summary,
    find_sets,
    measure_sets,
    record_of,
)
from pixmix_cli.pipelines.report.draws_fit import Fit, fits_of
from pixmix_cli.sources.pictures import PictureRef, Pictures
from pixmix_cli.storage import images
from pixmix_cli.storage.files import read_bytes

# Longer side of a picture on the page, pixels, by how many there are: 250 of 256 px and 600 of 160
# px both stay below 10 MB. The same picture fills a tile and the enlarged view.
SIDES = ((250, 256), (10**9, 160))
QUALITY = 80  # of its WebP: 10 KB of a fractal of 160 px, 24 KB at 256 px
EXACT = 64  # pixels of the longer side up to which it is a PNG: its pixels are what one looks for
MOST_PICTURES = 600  # on a page
DRAWS_READ = 20_000  # samples whose draws are counted
PICTURES_A_SAMPLE = 1 + MAX_COPIES
RECIPE_SHOWN = 20_000  # characters
ERRORS_SHOWN = 50
SAFETY_TABLES, SAFETY_RESULTS, SAFETY_FIGURE = "table.md", "results.json", "safety.png"


Described = MixingPicture | MixingMember  # rows that say something of a picture


@dataclass(frozen=True, slots=True)
class Picture:
    """What the page holds of a picture.

    data           WebP or PNG
    width, height  of it, pixels
    real           (width, height) of the picture itself
    """

    data: bytes
    width: int
    height: int
    real: tuple[int, int]

    @property
    def mime(self) -> str:
        """Its type."""
        return "image/png" if self.data.startswith(b"\x89PNG") else "image/webp"


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture of a gallery.

    kind    what the gallery filters by: layers of a fractal, layer of a network, folder
    recipe  the text that the picture carries, shortened, or ""
    file    where the picture itself lies, "" when it is in a tar
    """

    name: str
    kind: str
    recipe: str
    picture: Picture
    file: str = ""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """An original and its copies: (picture, or None where it cannot be had; its draws in words)."""

    key: str
    original: Picture | None
    copies: tuple[tuple[Picture | None, tuple[str, ...]], ...]


@dataclass(slots=True)
class Section:
    """One PATH on the page."""

    path: str
    kind: str  # "mixing" | "baked" | "safety"
    pictures: int
    facts: list[tuple[str, str]]
    measures: Summary | None = None
    record: dict[str, Any] | None = None  # of inspect
    tiles: list[Tile] = field(default_factory=list)
    samples: list[SampleRow] = field(default_factory=list)
    fits: list[Fit] = field(default_factory=list)
    fitted: int = 0  # samples whose draws were counted
    classes: list[tuple[str, int]] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)
    errors_left_out: int = 0
    tables: str = ""  # of the safety benchmark, Markdown
    figure: bytes = b""  # and its picture, PNG

    @property
    def unread(self) -> int:
        """How many of its pictures have no measures, since they could not be read."""
        return 0 if self.measures is None else len(self.measures.broken)


def _no_progress(count: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One PATH, looked at but not read.

    refs   pictures of a mixing set
    shown  how many pictures of it the page shows at most
    work   what `gather` will report as done: pictures shown, samples looked at
    """

    path: Path
    kind: str
    manifest: Manifest | None = None
    refs: Pictures | None = None
    shown: int = 0
    work: int = 0


def look(path: Path, pictures: int, samples: int, warn: Callable[[str], None]) -> Opened:
    """What there is to show of one set.

    pictures  of a mixing set's gallery, evenly spaced
    samples   of a baked set
    raises    InputError when there is nothing there
    """
    if (path / SAFETY_TABLES).is_file() and (path / SAFETY_RESULTS).is_file():
        return Opened(path, "safety")
    manifest = preview.look_or_none(path) if path.is_dir() else None
    if manifest is not None and manifest.get("command") == "bake":
        total = manifest["summary"]["pictures"] if "summary" in manifest else 0
        most = samples * PICTURES_A_SAMPLE
        return Opened(path, "baked", manifest, None, most, samples + min(total, DRAWS_READ))
    (found,) = find_sets([path], warn)
    shown = min(pictures, len(found.refs))
    return Opened(path, "mixing", manifest, found.refs, shown, shown)


def side_of(opened: Sequence[Opened]) -> int:
    """Longer side of the pictures on a page."""
    count = sum(one.shown for one in opened)
    return next(side for most, side in SIDES if count <= most)


def gather(opened: Opened, side: int, done: Callable[[int], object] = _no_progress) -> Section:
    """Everything about one set but the measures.

    side    longest of a picture on the page, pixels
    done    called with how much was done since the last time, `opened.work` in all
    raises  InputError, StorageError
    """
    left = opened.work

    def step(count: int) -> None:
        nonlocal left
        count = min(count, left)
        left -= count
        done(count)

    if opened.kind == "safety":
        section = _safety(opened.path)
    elif opened.kind == "baked":
        section = _baked(opened, side, step)
    else:
        section = _mixing(opened, side, step)
    done(left)
    return section


def measure(sections: Sequence[Section], opened: Sequence[Opened], workers: int) -> Iterator[int]:
    """Fill in the measures of the mixing sets; yields pictures done."""
    wanted = [
        (section, PictureSet(one.path, one.refs))
        for section, one in zip(sections, opened, strict=True)
        if one.refs is not None
    ]
    sets = [one for _, one in wanted]
    summaries = [Summary(one.path) for one in sets]
    yield from measure_sets(sets, summaries, workers)
    for (section, _), summary in zip(wanted, summaries, strict=True):
        section.measures = summary
        section.errors = [(one["path"], one["error"]) for one in summary.broken[:ERRORS_SHOWN]]
        section.errors_left_out = max(0, len(summary.broken) - ERRORS_SHOWN)


def compare(sections: Sequence[Section], done: Callable[[int], object] = _no_progress) -> None:
    """Sum the measures up; `done` is called with pictures compared since the last time."""
    for section in sections:
        if section.measures is not None:
            section.record = record_of(section.measures, done)


def _mixing(opened: Opened, side: int, done: Callable[[int], object]) -> Section:
    refs, path, manifest = opened.refs, opened.path, opened.manifest
    assert refs is not None
    shown = [refs[i] for i in _spaced(len(refs), opened.shown)]
    rows = {} if manifest is None else _rows_by_place(path, {ref.name for ref in shown})
    section = Section(str(path), "mixing", len(refs), _facts(manifest, len(refs)))
    for ref in shown:
        tile = _tile(ref, rows.get(ref.name), side)
        if tile is not None:
            section.tiles.append(tile)
        done(1)
    return section


def _safety(path: Path) -> Section:
    """What `benchmarks.safety` found: its tables and figure, machine and command."""
    try:
        results = json.loads(read_bytes(path / SAFETY_RESULTS))
        runs = results["runs"]
        machines = sorted({", ".join(f"{k} {v}" for k, v in r["machine"].items()) for r in runs})
        facts = [
            ("networks", f"{len(runs):,}"),
            ("made by", str(results.get("command", "python -m benchmarks.safety"))),
            *(("training", text) for text in sorted({str(run["training"]) for run in runs})),
            *(("machine", text) for text in machines),
        ]
        tables = read_bytes(path / SAFETY_TABLES).decode("utf-8")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{path / SAFETY_RESULTS} is damaged: {error!r}",
            f"python -m benchmarks.safety --report -o {path}",
        ) from None
    figure = path / SAFETY_FIGURE
    section = Section(str(path), "safety", 0, facts, tables=tables)
    if figure.is_file():
        section.figure = read_bytes(figure)
    return section


def _spaced(count: int, wanted: int) -> list[int]:
    return [i * count // min(count, wanted) for i in range(min(count, wanted))]


def _rows_by_place(path: Path, wanted: set[str]) -> dict[str, Described]:
    """Rows by the names that `find_pictures` gives: of loose pictures, and inside tars."""
    rows: dict[str, Described] = {}
    for row in committed_rows(path):
        if isinstance(row, MixingPicture | MixingMember):
            name = row.path if isinstance(row, MixingPicture) else f"{row.path}/{row.member}"
            if name in wanted:
                rows[name] = row
    return rows


def _tile(ref: PictureRef, row: Described | None, side: int) -> Tile | None:
    try:
        data = ref.read()
        pixels = images.decode_rgb(data, ref.name)
        recipe = images.read_recipe(data, ref.name) or ""
    except PixMixError:
        return None  # told of with the measures
    loose = ref.path.endswith(ref.name.rpartition("/")[2]) and not ref.offset
    picture = picture_of(pixels, side)
    kind = _kind_of(ref, row)
    return Tile(ref.name, kind, recipe[:RECIPE_SHOWN], picture, ref.path if loose else "")


def _kind_of(ref: PictureRef, row: Described | None) -> str:
    facts = {} if row is None else row.facts
    if isinstance(facts.get("layers"), list):
        return " + ".join(sorted(set(map(str, facts["layers"]))))
    if "layer" in facts:
        return str(facts["layer"])
    folder = ref.name.rpartition("/")[0].split("/")[0]
    return folder if folder and not folder.isdecimal() else "pictures"


def picture_of(pixels: np.ndarray, side: int) -> Picture:
    """A picture for the page: shrunk when it is larger, and never enlarged.

    pixels  (h, w, 3) uint8
    side    the longer one's most, pixels
    """
    picture = Image.fromarray(pixels)
    real = picture.size
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "PNG" if max(real) <= EXACT else "WEBP", quality=QUALITY)
    return Picture(out.getvalue(), *picture.size, real)


def _facts(manifest: Manifest | None, pictures: int) -> list[tuple[str, str]]:
    facts = [("pictures", f"{pictures:,}")]
    if manifest is None:
        return [*facts, ("made by", "not pixmix, or without its manifest")]
    facts.append(("made by", f"pixmix {manifest['command']}"))
    for name, value in manifest["options"].items():
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        facts.append((name, text))
    for name, value in manifest["inputs"].items():
        where = value["path"]
        text = ", ".join(where) if isinstance(where, list) else where
        facts.append((name, text))
    return facts


def _baked(opened: Opened, side: int, done: Callable[[int], object]) -> Section:
    path, manifest = opened.path, opened.manifest
    assert manifest is not None
    check_settings(manifest, path)
    total = manifest["summary"]["pictures"] if "summary" in manifest else 0
    section = Section(str(path), "baked", total, _facts(manifest, total))
    shown: list[tuple[str, list[Picture | None]]] = []
    for key, copies in preview.samples_of(path, manifest, opened.shown // PICTURES_A_SAMPLE):
        made = [None if pixels is None else picture_of(pixels, side) for pixels in copies]
        shown.append((key, made))
        done(1)
    wanted = {key for key, _ in shown}
    source = preview.originals_of(manifest, wanted, lambda reason: None)
    words: dict[tuple[str, int], tuple[str, ...]] = {}
    labels: Counter[int] = Counter()

    def read() -> Iterator[DrawsJson]:
        for record in records_of(path, manifest, DRAWS_READ):
            labels[record.label] += record.weight
            if record.draws is not None:
                section.fitted += 1
                if record.key in wanted:
                    words[record.key, record.copy] = tuple(steps_of(record.draws))
                yield record.draws
            done(record.weight)

    section.fits = fits_of(read(), manifest["options"])
    if not section.fitted:
        section.fits = []
    for key, made in shown:
        pixels = preview.original_of(source, key) if key else None
        original = None if pixels is None else picture_of(pixels, side)
        copies_shown = tuple((one, words.get((key, copy), ())) for copy, one in enumerate(made))
        section.samples.append(SampleRow(key, original, copies_shown))
    names = _classes(path)
    section.classes = [
        (names[label] if label < len(names) else str(label), number)
        for label, number in sorted(labels.items())
    ]
    for row in committed_rows(path):
        if isinstance(row, SkippedSample):
            if len(section.errors) < ERRORS_SHOWN:
                section.errors.append((row.key, row.error))
            else:
                section.errors_left_out += 1
    return section


def _classes(path: Path) -> list[str]:
    try:
        names = json.loads((path / "classes.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def records_of(path: Path, manifest: Manifest, most: int) -> Iterator[Record]:
    """What is recorded of the pictures, of about `most` of them, whole shards evenly spaced.

    raises  InputError, StorageError for a damaged set
    """
    layout = format_of(manifest)
    # plain copies would not follow the recipe that draws are tested against
    rows = (
        row
        for row in committed_rows(path)
        if isinstance(row, BakedRow) and not Copy.from_code(row.copy).plain
    )
    if layout is not None:
        yield from layout.records(path, rows, manifest, most)


def in_words(draws: DrawsJson) -> str:
    """A record of draws as a person would tell it."""
    return "; ".join(steps_of(draws))


def steps_of(draws: DrawsJson) -> list[str]:
    """A record of draws in words, a text a step."""
    parts = []
    if draws["start"] is not None:
        parts.append(f"starts from {_augmentation(draws['start'])}")
    for step in draws["rounds"]:
        mixed_in = step["with"]
        if isinstance(mixed_in, str):
            other = str(draws.get("mixing_picture", f"mixing picture {draws.get('mixing')}"))
        else:
            other = _augmentation(mixed_in)
        weights = f" a={step['a']:.2f} b={step['b']:.2f}" if "a" in step and "b" in step else ""
        parts.append(f"{step['operation']}{weights} with {other}")
    return parts or ["the plain crop"]


def _augmentation(record: AugmentationJson) -> str:
    value = record.get("value")
    if value is None:
        return record["name"]
    return (
        f"{record['name']} {value:.2f}" if isinstance(value, float) else f"{record['name']} {value}"
    )
