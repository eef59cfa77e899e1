"""A baked set as a map-style dataset, in whatever format it was written."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset

from pixmix_cli.datasets.epochs import Epoch
from pixmix_cli.datasets.replay import Replay, running
from pixmix_cli.datasets.transform import Place, named_sets
from pixmix_cli.errors import InputError, PictureError
from pixmix_cli.outputs.file_names import MANIFEST, PLAN
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import BakedRow
from pixmix_cli.outputs.run_plan import Manifest, look
from pixmix_cli.pipelines.bake.formats.reading import U8, CopyReader
from pixmix_cli.pipelines.bake.formats.registry import format_of
from pixmix_cli.pipelines.bake.job import Copy
from pixmix_cli.pipelines.bake.rebake import open_recorded
from pixmix_cli.storage import images
from pixmix_cli.storage.remote import any_path


class BakedDataset(Dataset[tuple[Any, int]]):
    """The samples of a set that `pixmix bake` wrote, a copy an epoch.

    Epoch e reads copy e mod N, or with `replay` copy e, stored or not. The samples are the same, in
    the order of the source, whatever the format and the copy: so sample i of two copies is one
    original, and several datasets can be zipped. For a DataLoader with workers of any kind, a
    DistributedSampler, pickling.

    classes       names by label
    class_to_idx  label by name, as torchvision's ImageFolder has it
    targets       the label of each sample
    copies        how many copies it reads in turn
    settings      options of the bake as manifest.json has them: "size" in pixels, "preset", ...
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        transform: Callable[[Image.Image], Any] | None = None,
        *,
        read: str = "copy",
        replay: bool = False,
        source: Place | None = None,
        mixing: Place | Sequence[Place] = (),
    ) -> None:
        """Open a finished set.

        path       its folder, on this machine
        transform  called with each picture, a PIL picture in RGB; None: it is given as it is
        read       "copy": the augmented copies in turn; "plain": those without PixMix in turn; or
                   one of them by the name of its folder, as "plain-000"
        replay     go on past the last copy: epoch e of N or more makes copy e as it is read, which
                   is what a bake of more copies would write
        source, mixing  for that, where SOURCE and the mixing sets lie now; by default where they
                   lay then
        raises     InputError for a set that is unfinished, damaged or of an unknown format, and for
                   a copy that is not there; StorageError
        """
        self.path = Path(path)
        self.transform = transform
        manifest = _manifest(self.path)
        layout = format_of(manifest)
        if layout is None:
            name = manifest["options"].get("format")
            raise InputError(
                f"{self.path} is of the format {name}, which this version does not know",
                "the version that made it",
            )
        self.settings: dict[str, Any] = manifest["options"]
        self.classes = _classes(self.path)
        counts = _counts(manifest, self.path)
        self._folders = _folders(self.path, counts, read)
        rows: Iterable[BakedRow] = _rows(self.path)
        if not layout.row_a_picture:  # else there are millions, and the first copy's are enough
            rows = list(rows)
        self._reader: CopyReader = layout.reader(self.path, rows, manifest["options"]["size"])
        labels = self._reader.labels
        total = sum(counts) * len(labels)
        if isinstance(rows, list):
            total = sum(row.pictures for row in rows)
        if total != manifest["summary"]["pictures"]:
            raise InputError(
                f"{self.path} is damaged: its rows are of {total} pictures, manifest.json of "
                f"{manifest['summary']['pictures']}",
                f"pixmix verify {self.path}",
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            wrong = labels[(labels < 0) | (labels >= len(self.classes))][0]
            raise InputError(
                f"{self.path} is damaged: label {wrong} is none of its {len(self.classes)} classes",
                f"pixmix verify {self.path}",
            )
        self._replay = None
        if replay:
            self._replay = _replay(self.path, manifest, read, source, mixing)
        self._plain = read == "plain"
        self._size = (manifest["options"]["size"],) * 2
        self._epoch = Epoch()

    @property
    def copies(self) -> int:
        """How many copies it reads in turn."""
        return len(self._folders)

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label by class name."""
        return {name: label for label, name in enumerate(self.classes)}

    @property
    def targets(self) -> list[int]:
        """The label of each sample."""
        return self._reader.labels.tolist()

    def set_epoch(self, epoch: int) -> None:
        """Read copy epoch mod N from now on, in every worker; before the loader is gone through.

        raises  InputError for an epoch below 0
        """
        self._epoch.set(epoch)

    def __len__(self) -> int:
        """Samples of a copy."""
        return len(self._reader.labels)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A sample's picture, as `transform` leaves it, and its label. Raises PixMixError."""
        number = range(len(self))[index]
        epoch = self._epoch.number
        if self._replay is not None and epoch >= len(self._folders):
            name, index = f"copy {epoch}", int(self._reader.indices[number])
            stored: bytes | U8 = self._replay.picture(Copy(epoch, self._plain), index)
        else:
            folder = self._folders[epoch % len(self._folders)]
            name, stored = self._reader.picture(folder, number)
        if isinstance(stored, bytes):
            picture = images.decode_pil(stored, name)
        else:
            picture = Image.fromarray(stored)
        if picture.size != self._size:
            raise PictureError(
                f"{name} has {picture.size} pixels, not {self._size}",
                f"pixmix verify {self.path} --repair",
            )
        label = int(self._reader.labels[number])
        return picture if self.transform is None else self.transform(picture), label

    def __repr__(self) -> str:
        """What it holds."""
        return (
            f"BakedDataset({str(self.path)!r}: {len(self)} samples, {len(self.classes)} classes, "
            f"{self.copies} copies)"
        )


@contextlib.contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Errors of those who open a set to write there, for those who read."""
    try:
        yield
    except InputError as error:
        raise InputError(error.message, f"pixmix verify {path}") from None


def _manifest(path: Path) -> Manifest:
    """manifest.json of a finished baked set. Raises InputError for anything else."""
    if not (path / MANIFEST).is_file() and not (path / PLAN).is_file():
        if (path.parent / MANIFEST).is_file() and path.is_dir():
            hint = f"BakedDataset({str(path.parent)!r}, read={path.name!r})"
            raise InputError(f"{path} is a part of the set {path.parent}", hint)
        raise InputError(f"there is no baked set at {path}", "the folder that pixmix bake wrote")
    with _errors_about(path):
        state = look(path)
    if state.plan is None:  # it has gone this moment
        raise InputError(f"there is no baked set at {path}", "the folder that pixmix bake wrote")
    if state.plan["command"] != "bake":
        raise InputError(
            f"{path} was made by pixmix {state.plan['command']}: it is no baked set",
            "the folder that pixmix bake wrote",
        )
    if state.status != "finished" or not (path / MANIFEST).is_file():
        raise InputError(
            f"the run that makes {path} is not finished", "the same bake command with --resume"
        )
    return state.plan


def _replay(
    path: Path,
    manifest: Manifest,
    read: str,
    source: Place | None,
    mixing: Place | Sequence[Place],
) -> Replay:
    """What makes the copies that are not there. Raises InputError where inputs have changed."""
    if read not in ("copy", "plain"):
        raise InputError(f"replay goes on past the last copy, and {read} is one", 'read="copy"')
    sets = named_sets(mixing)[0] if mixing else ()
    try:
        where = None if source is None else any_path(os.fspath(source))
        recorded = open_recorded(path, manifest, running(), warnings.warn, where, sets)
    except InputError as error:
        raise InputError(error.message, "source= and mixing=, or replay=False") from None
    return Replay(recorded.plan)


def _classes(path: Path) -> tuple[str, ...]:
    try:
        names = json.loads((path / "classes.json").read_bytes())
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("it is no list of names")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{path / 'classes.json'} is damaged: {error}", f"pixmix verify {path} --repair"
        ) from None
    return tuple(names)


def _rows(path: Path) -> Iterator[BakedRow]:
    with _errors_about(path):
        yield from (row for row in committed_rows(path) if isinstance(row, BakedRow))


def _counts(manifest: Manifest, path: Path) -> tuple[int, int]:
    """How many copies there are, augmented and plain."""
    summary = manifest["summary"]
    if "copies" in summary and "plain" in summary:
        return summary["copies"], summary["plain"]
    codes = {row.copy for row in _rows(path)}  # an older set
    plain = sum(Copy.from_code(code).plain for code in codes)
    return len(codes) - plain, plain


def _folders(path: Path, counts: tuple[int, int], read: str) -> tuple[str, ...]:
    """The folders of the copies to read in turn. Raises InputError where there is none."""
    augmented, plain = counts
    names = [Copy(number).folder for number in range(augmented)]
    plain_names = [Copy(number, True).folder for number in range(plain)]
    found = {"copy": names, "plain": plain_names}.get(read)
    if found is None:
        found = [name for name in (*names, *plain_names) if name == read]
    if not found:
        raise InputError(
            f"{path} has no {read if '-' in read else read + ' copies'}", _offer(names, plain_names)
        )
    return tuple(found)


def _offer(*kinds: list[str]) -> str:
    def told() -> Iterator[str]:
        for names in filter(None, kinds):
            yield names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"

    return ", ".join(told())
