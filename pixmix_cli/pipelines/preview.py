"""preview: a contact sheet. Consecutive or evenly spaced pictures, never picked ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import BakedRow
from pixmix_cli.outputs.run_plan import Manifest, look
from pixmix_cli.pipelines.bake.formats.base import Shown
from pixmix_cli.pipelines.bake.formats.registry import format_of
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.pictures import STDIN, PictureRef, Pictures
from pixmix_cli.storage import images
from pixmix_cli.storage.orientation import upright
from pixmix_cli.storage.remote import any_path

U8 = NDArray[np.uint8]

GAP = 4  # pixels between cells
PAPER = 255  # grey level of the sheet
MISSING = 200  # grey level of a cell whose picture cannot be had
PICTURES, SAMPLES = 60, 10  # shown unless told otherwise


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a sheet shows: `per_row` cells a row; None is a cell without a picture."""

    cells: tuple[U8 | None, ...]
    per_row: int
    originals: bool  # the first column is set apart


def sheet_of(
    path: Path, count: int | None, columns: int, cell: int, warn: Callable[[str], None]
) -> U8:
    """The contact sheet of a set.

    count    pictures of a mixing set, or samples (rows) of a baked set; None: PICTURES, SAMPLES
    columns  pictures a row of a mixing set; a baked set has the original and its copies in a row
    cell     side of a cell, pixels
    returns  (h, w, 3) uint8
    raises   InputError when there is nothing to show
    """
    if path.is_dir():
        state = look_or_none(path)
        if state is not None and state["command"] == "bake":
            return draw(_baked_sheet(path, state, count or SAMPLES, warn), cell)
    found = find_pictures(path, warn)
    if not found:
        raise InputError(f"{path} holds no pictures")
    cells = tuple(_decode(ref, ref.name, warn) for ref in found[: count or PICTURES])
    return draw(Sheet(cells, min(columns, len(cells)), False), cell)


def look_or_none(path: Path) -> Manifest | None:
    """The plan or manifest of a set made by pixmix; None for anyone else's folder."""
    try:
        return look(path).plan
    except InputError:
        return None


def _decode(ref: PictureRef, name: str, warn: Callable[[str], None] | None = None) -> U8 | None:
    try:
        data = ref.read()
        pixels = images.decode_rgb(data, name)
        return upright(pixels, data) if ref.upright else pixels
    except PixMixError as error:
        if warn is not None:
            warn(error.message)
        return None


def _baked_sheet(path: Path, manifest: Manifest, count: int, warn: Callable[[str], None]) -> Sheet:
    samples = list(samples_of(path, manifest, count))
    source = originals_of(manifest, {key for key, _ in samples}, warn)
    per_row = 1 + max(len(copies) for _, copies in samples)
    cells: list[U8 | None] = []
    for key, copies in samples:
        shown = original_of(source, key, warn)
        cells.extend([shown, *copies, *[None] * (per_row - 1 - len(copies))])
    return Sheet(tuple(cells), per_row, True)


def originals_of(
    manifest: Manifest, keys: set[str], warn: Callable[[str], None]
) -> dict[str, PictureRef]:
    """The originals with these keys; none, with a warning, where the source is gone or changed."""
    pictures, reason = _listed(**_told(manifest))
    if reason is not None:
        warn(f"{reason}: no originals are shown")
    return {ref.name: ref for ref in pictures if ref.name in keys}


def original_of(
    source: dict[str, PictureRef], key: str, warn: Callable[[str], None] | None = None
) -> U8 | None:
    """The original of a sample, (h, w, 3) uint8, or None when it cannot be had."""
    return _decode(source[key], key, warn) if key in source else None


def _told(manifest: Manifest) -> dict[str, str]:
    """What a manifest tells of the source, all of it text."""
    told = manifest["inputs"].get("SOURCE")
    names = ("path", "format", "split", "label-field", "path-field", "sha256")
    return {name.replace("-", "_"): str((told.get(name) if told else None) or "") for name in names}


@functools.lru_cache(maxsize=1)
def _listed(
    path: str, format: str, split: str, label_field: str, path_field: str, sha256: str
) -> tuple[Pictures, str | None]:
    """The pictures of a source, or none and the reason why."""
    if path == str(STDIN):
        return Pictures(), "the list on stdin is not there any more"
    try:
        source = open_source(
            any_path(path),
            lambda text: None,
            kind=format or "auto",
            split=split or None,
            label_field=label_field or None,
            path_field=path_field or None,
        )
    except PixMixError as error:
        return Pictures(), error.message
    if source.digest != sha256:
        return Pictures(), f"SOURCE {path} has changed"
    return source.pictures, None


Copies = list["U8 | None"]


def samples_of(path: Path, manifest: Manifest, count: int) -> Iterator[tuple[str, Copies]]:
    """Some samples of a baked set: (source key, a few of its copies).

    raises  InputError when there are none yet
    """
    layout = format_of(manifest)
    rows = [row for row in committed_rows(path) if isinstance(row, BakedRow)]
    samples = [] if layout is None else list(layout.shown(path, rows, count))
    if not samples:
        raise InputError(f"{path} holds no finished pictures yet")
    for sample in samples:
        yield _key_of(sample, manifest), sample.copies


def _key_of(sample: Shown, manifest: Manifest) -> str:
    """The key of its original; "" when nobody knows it."""
    if sample.key is not None:
        return sample.key
    keys = _source_keys(manifest)
    if sample.index is None or sample.index >= len(keys):
        return ""
    return keys[sample.index]


def _source_keys(manifest: Manifest) -> list[str]:
    return [ref.name for ref in _listed(**_told(manifest))[0]]


def stack(sheets: Sequence[U8]) -> U8:
    """Sheets one below the other, on paper as wide as the widest."""
    width = max(sheet.shape[1] for sheet in sheets)
    padded = [
        np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=PAPER)
        for sheet in sheets
    ]
    return np.concatenate(padded)


def draw(sheet: Sheet, cell: int) -> U8:
    """Lay the cells out on paper, each shrunk (or enlarged) to fit its square."""
    rows = math.ceil(len(sheet.cells) / sheet.per_row)
    apart = 3 * GAP if sheet.originals else 0
    height = rows * (cell + GAP) + GAP
    width = sheet.per_row * (cell + GAP) + GAP + apart
    paper = np.full((height, width, 3), PAPER, np.uint8)
    nothing = np.full((cell, cell, 3), MISSING, np.uint8)
    for number, picture in enumerate(sheet.cells):
        row, column = divmod(number, sheet.per_row)
        top = GAP + row * (cell + GAP)
        left = GAP + column * (cell + GAP) + (apart if column else 0)
        tile = fit(picture, cell) if picture is not None else nothing
        y, x = top + (cell - tile.shape[0]) // 2, left + (cell - tile.shape[1]) // 2
        paper[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return paper


def fit(picture: U8, cell: int) -> U8:
    """The picture with its longer side at `cell`; small ones are enlarged in whole pixels."""
    height, width = picture.shape[:2]
    longer = max(height, width)
    shape = (max(1, round(width * cell / longer)), max(1, round(height * cell / longer)))
    if longer * 2 <= cell:
        method = Image.Resampling.NEAREST
    else:
        method = Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize(shape, method))
