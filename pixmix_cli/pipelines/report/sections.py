"""report: what a page about sets of pictures shows, gathered; `page` turns it into HTML."""

from __future__ import annotations

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
from pixmix_cli.pipelines.bake.formats.base import Record
from pixmix_cli.pipelines.bake.formats.registry import format_of
from pixmix_cli.pipelines.bake.job import Copy
from pixmix_cli.pipelines.inspect.summary import Summary, find_sets, measure_sets, record_of
from pixmix_cli.pipelines.report.draws_fit import Fit, fits_of
from pixmix_cli.sources.pictures import PictureRef
from pixmix_cli.storage import images
from pixmix_cli.storage.files import read_bytes

THUMBNAIL = 160  # pixels of the longer side
THUMBNAIL_QUALITY = 82  # of its JPEG: 7 KB on average, so that a page of 600 keeps below 10 MB
MOST_PICTURES = 600  # on a page
DRAWS_READ = 20_000  # samples whose draws are counted
RECIPE_SHOWN = 4000  # characters
ERRORS_SHOWN = 50
SAFETY_TABLES, SAFETY_RESULTS, SAFETY_FIGURE = "table.md", "results.json", "safety.png"


Described = MixingPicture | MixingMember  # rows that say something of a picture


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture of a gallery.

    kind    what the gallery filters by: layers of a fractal, layer of a network, folder
    recipe  the text that the picture carries, shortened, or ""
    data    a small JPEG
    """

    name: str
    kind: str
    recipe: str
    data: bytes


@dataclass(frozen=True, slots=True)
class SampleRow:
    """An original and its copies: (small JPEG, or None where it cannot be had; words)."""

    key: str
    original: bytes | None
    copies: tuple[tuple[bytes | None, str], ...]


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


def gather(path: Path, pictures: int, samples: int, warn: Callable[[str], None]) -> Section:
    """Everything about one set but the measures.

    pictures  of a mixing set's gallery, evenly spaced
    samples   of a baked set
    raises    InputError when there is nothing there
    """
    if (path / SAFETY_TABLES).is_file() and (path / SAFETY_RESULTS).is_file():
        return _safety(path)
    manifest = preview.look_or_none(path) if path.is_dir() else None
    if manifest is not None and manifest.get("command") == "bake":
        return _baked(path, manifest, samples)
    return _mixing(path, manifest, pictures, warn)


def measure(
    sections: Sequence[Section], workers: int, warn: Callable[[str], None]
) -> Iterator[int]:
    """Fill in the measures of the mixing sets; yields pictures done."""
    wanted = [one for one in sections if one.kind == "mixing"]
    sets = find_sets([Path(one.path) for one in wanted], warn)
    summaries = [Summary(one.path) for one in sets]
    yield from measure_sets(sets, summaries, workers)
    for section, summary in zip(wanted, summaries, strict=True):
        section.measures = summary
        section.record = record_of(summary)
        section.errors = [(one["path"], one["error"]) for one in summary.broken[:ERRORS_SHOWN]]
        section.errors_left_out = max(0, len(summary.broken) - ERRORS_SHOWN)


def _mixing(
    path: Path, manifest: Manifest | None, pictures: int, warn: Callable[[str], None]
) -> Section:
    (found,) = find_sets([path], warn)
    rows = {} if manifest is None else _rows_by_place(path)
    shown = [found.refs[i] for i in _spaced(len(found.refs), pictures)]
    section = Section(str(path), "mixing", len(found.refs), _facts(manifest, len(found.refs)))
    for ref in shown:
        tile = _tile(ref, rows.get(ref.name))
        if tile is not None:
            section.tiles.append(tile)
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


def _rows_by_place(path: Path) -> dict[str, Described]:
    """Rows by the names that `find_pictures` gives: of loose pictures, and inside tars."""
    rows: dict[str, Described] = {}
    for row in committed_rows(path):
        if isinstance(row, MixingPicture):
            rows[row.path] = row
        elif isinstance(row, MixingMember):
            rows[f"{row.path}/{row.member}"] = row
    return rows


def _tile(ref: PictureRef, row: Described | None) -> Tile | None:
    try:
        data = ref.read()
        pixels = images.decode_rgb(data, ref.name)
        recipe = images.read_recipe(data, ref.name) or ""
    except PixMixError:
        return None  # told of with the measures
    return Tile(ref.name, _kind_of(ref, row), recipe[:RECIPE_SHOWN], thumbnail(pixels))


def _kind_of(ref: PictureRef, row: Described | None) -> str:
    facts = {} if row is None else row.facts
    if isinstance(facts.get("layers"), list):
        return " + ".join(sorted(set(map(str, facts["layers"]))))
    if "layer" in facts:
        return str(facts["layer"])
    folder = ref.name.rpartition("/")[0].split("/")[0]
    return folder if folder and not folder.isdecimal() else "pictures"


def thumbnail(pixels: np.ndarray) -> bytes:
    """A small JPEG; pictures that are small already keep their size.

    pixels  (h, w, 3) uint8
    """
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return images.encode(np.asarray(picture), "jpeg", THUMBNAIL_QUALITY)


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


def _baked(path: Path, manifest: Manifest, count: int) -> Section:
    total = manifest["summary"]["pictures"] if "summary" in manifest else 0
    section = Section(str(path), "baked", total, _facts(manifest, total))
    samples = list(preview.samples_of(path, manifest, count))
    wanted = {key for key, _ in samples}
    source = preview.originals_of(manifest, wanted, lambda text: None)
    words: dict[tuple[str, int], str] = {}
    labels: Counter[int] = Counter()
    draws = []
    for record in records_of(path, manifest, DRAWS_READ):
        labels[record.label] += record.weight
        if record.draws is not None:
            draws.append(record.draws)
            if record.key in wanted:
                words[record.key, record.copy] = in_words(record.draws)
    section.fitted = len(draws)
    section.fits = fits_of(draws, manifest["options"]) if draws else []
    for key, copies in samples:
        shown = preview.original_of(source, key) if key else None
        section.samples.append(
            SampleRow(
                key,
                None if shown is None else thumbnail(shown),
                tuple(
                    (None if pixels is None else thumbnail(pixels), words.get((key, copy), ""))
                    for copy, pixels in enumerate(copies)
                ),
            )
        )
    names = _classes(path)
    section.classes = [
        (names[label] if label < len(names) else str(label), number)
        for label, number in sorted(labels.items())
    ]
    errors = [row for row in committed_rows(path) if isinstance(row, SkippedSample)]
    section.errors = [(row.key, row.error) for row in errors[:ERRORS_SHOWN]]
    section.errors_left_out = max(0, len(errors) - ERRORS_SHOWN)
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
    return "; ".join(parts) or "the plain crop"


def _augmentation(record: AugmentationJson) -> str:
    value = record.get("value")
    if value is None:
        return record["name"]
    return (
        f"{record['name']} {value:.2f}" if isinstance(value, float) else f"{record['name']} {value}"
    )
