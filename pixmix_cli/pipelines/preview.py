"""preview: a contact sheet. Consecutive or evenly spaced pictures, never picked ones."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pixmix_cli.errors import InputError, PixMixError, StorageError
from pixmix_cli.outputs.file_names import MANIFEST, PLAN
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
from pixmix_cli.storage.spool import temporary_folder

U8 = NDArray[np.uint8]

GAP = 4  # pixels between cells
PAPER = 255  # grey level of the sheet
MISSING = 200  # grey level of a cell whose picture cannot be had
PICTURES, SAMPLES = 60, 10  # shown unless told otherwise


Done = Callable[[int], object]


def _no_progress(count: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a sheet shows: `count` cells, `per_row` a row; None is a cell without a picture.

    The cells may be made one by one, as they are drawn.
    """

    cells: Iterable[U8 | None]
    count: int
    per_row: int
    originals: bool  # the first column is set apart

    def shape(self, cell: int) -> tuple[int, int]:
        """Height and width in pixels."""
        apart = 3 * GAP if self.originals else 0
        rows = math.ceil(self.count / self.per_row)
        return rows * (cell + GAP) + GAP, self.per_row * (cell + GAP) + GAP + apart


@dataclass(frozen=True, slots=True)
class Opened:
    """A set that is looked at but not read.

    refs   pictures of a mixing set
    count  pictures of a mixing set that are shown; samples of a baked set, at most
    """

    path: Path
    manifest: Manifest | None
    refs: Pictures
    count: int

    @property
    def work(self) -> int:
        """What `sheet_of` will report as done, at most: samples are read, then their originals."""
        return self.count if self.refs else 2 * self.count


def open_set(path: Path, count: int | None, warn: Callable[[str], None]) -> Opened:
    """A set of any kind.

    count   pictures of a mixing set, or samples (rows) of a baked set; None: PICTURES, SAMPLES
    raises  InputError when there is nothing to show
    """
    if path.is_dir():
        state = look_or_none(path)
        if state is not None and state["command"] == "bake":
            return Opened(path, state, Pictures(), count or SAMPLES)
    found = find_pictures(path, warn)
    if not found:
        raise InputError(f"{path} holds no pictures")
    return Opened(path, None, found, min(count or PICTURES, len(found)))


def sheet_of(
    opened: Opened,
    columns: int,
    cell: int,
    files: contextlib.ExitStack,
    warn: Callable[[str], None],
    done: Done = _no_progress,
) -> Sheet:
    """The contact sheet of a set.

    columns  pictures a row of a mixing set; a baked set has the original and its copies in a row
    cell     side of a cell, pixels
    files    closes what the cells are read from, once they are drawn
    done     called with how much was read since the last time, now and while the cells are drawn
    raises   InputError when there is nothing to show
    """
    if opened.manifest is not None:
        return _baked_sheet(opened.path, opened.manifest, opened.count, cell, files, warn, done)

    def cells() -> Iterator[U8 | None]:
        for number in range(opened.count):
            ref = opened.refs[number]
            yield _decode(ref, ref.name, warn)
            done(1)

    return Sheet(cells(), opened.count, min(columns, opened.count), False)


def look_or_none(path: Path) -> Manifest | None:
    """The plan or manifest of a set made by pixmix; None for anyone else's folder.

    raises  InputError for a damaged manifest or plan of pixmix's
    """
    try:
        return look(path).plan
    except InputError:
        for file in (path / MANIFEST, path / PLAN):
            with contextlib.suppress(OSError):
                if b'"pixmix"' in file.read_bytes():
                    raise
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


def _baked_sheet(
    path: Path,
    manifest: Manifest,
    count: int,
    cell: int,
    files: contextlib.ExitStack,
    warn: Callable[[str], None],
    done: Done,
) -> Sheet:
    """Copies wait in a temporary file, shrunk: how many rows there are shows at the end."""
    keys: list[str] = []
    numbers: list[int] = []  # of copies
    with _errors_of_spool():
        spool = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    for key, copies in samples_of(path, manifest, count):
        keys.append(key)
        numbers.append(len(copies))
        tiles = b"".join(square(copy, cell).tobytes() for copy in copies)
        with _errors_of_spool():
            spool.write(tiles)
        done(1)
    with _errors_of_spool():
        spool.seek(0)
    source = originals_of(manifest, set(keys), warn)
    per_row = 1 + max(numbers)

    def cells() -> Iterator[U8 | None]:
        for key, number in zip(keys, numbers, strict=True):
            yield original_of(source, key, warn)
            for _ in range(number):
                data = spool.read(cell * cell * 3)
                yield np.frombuffer(data, np.uint8).reshape(cell, cell, 3)
            yield from (None for _ in range(per_row - 1 - number))
            done(1)

    return Sheet(cells(), len(keys) * per_row, per_row, True)


@contextlib.contextmanager
def _errors_of_spool() -> Iterator[None]:
    """A full disk below TMPDIR is one line."""
    try:
        yield
    except OSError as error:
        place = temporary_folder() or "temporary files"
        raise StorageError.from_os_error(error, place) from error


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
    found = False
    for sample in () if layout is None else layout.shown(path, rows, count):
        found = True
        yield _key_of(sample, manifest), sample.copies
    if not found:
        raise InputError(f"{path} holds no finished pictures yet")


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


def draw(sheet: Sheet, cell: int) -> U8:
    """The cells on paper, each shrunk (or enlarged) to fit its square: (h, w, 3) uint8."""
    return np.concatenate(list(strips(sheet, cell)))


def strips(sheet: Sheet, cell: int, width: int | None = None) -> Iterator[U8]:
    """The sheet from the top, (h, width, 3) uint8 a row of cells.

    width  of the paper, at least the sheet's own
    """
    own = sheet.shape(cell)[1]
    width = own if width is None else width
    apart = 3 * GAP if sheet.originals else 0
    yield np.full((GAP, width, 3), PAPER, np.uint8)
    cells = iter(sheet.cells)
    for _ in range(math.ceil(sheet.count / sheet.per_row)):
        strip = np.full((cell + GAP, width, 3), PAPER, np.uint8)
        for column, picture in enumerate(itertools.islice(cells, sheet.per_row)):
            left = GAP + column * (cell + GAP) + (apart if column else 0)
            strip[:cell, left : left + cell] = square(picture, cell)
        yield strip


def square(picture: U8 | None, cell: int) -> U8:
    """A picture in the middle of a square of paper; a grey one for None: (cell, cell, 3) uint8."""
    if picture is None:
        return np.full((cell, cell, 3), MISSING, np.uint8)
    paper = np.full((cell, cell, 3), PAPER, np.uint8)
    tile = fit(picture, cell)
    y, x = (cell - tile.shape[0]) // 2, (cell - tile.shape[1]) // 2
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
