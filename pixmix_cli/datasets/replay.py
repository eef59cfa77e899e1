"""Copies without the disk: what `bake` would write into copy e, made when it is read.

A sample's draws are a function of seed, copy and sample key, and its pixels of these, the original
and the mixing picture. So nothing needs to be stored to have any copy, again and again.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from pixmix_cli.datasets.epochs import Epoch
from pixmix_cli.datasets.transform import Place, cache_folder, named_sets
from pixmix_cli.errors import InputError, PictureError, PixMixError
from pixmix_cli.mixing.config import recipe_of
from pixmix_cli.outputs.destination import STDOUT, Destination
from pixmix_cli.pipelines.bake.job import BakeJob, Copy, Inputs, Running, Sample
from pixmix_cli.pipelines.bake.plan import BakePlan, context_of, lay_out
from pixmix_cli.pipelines.bake.worker import Baker
from pixmix_cli.sources.pictures import STDIN
from pixmix_cli.storage.remote import any_path

U8 = NDArray[np.uint8]


class Replay:
    """Makes samples of a bake's plan, one by one. Each process has a baker of its own."""

    def __init__(self, plan: BakePlan) -> None:
        """Keep what is needed. Raises InputError for draws that depend on one another."""
        if plan.job.draws != "keyed":
            raise InputError(
                "draws in the published code's order depend on all before, and are not replayed",
                "--draws keyed in the bake",
            )
        self.source = plan.source
        self._context = context_of(plan, Path())
        self._owner = 0  # process
        self._baker: Baker | None = None

    def picture(self, copy: Copy, index: int) -> U8:
        """Sample `index` of the source in a copy, (size, size, 3) uint8.

        raises  PixMixError
        """
        if self._baker is None or self._owner != os.getpid():
            # also after a fork: a lock on a descriptor that both have would keep neither out
            self._baker, self._owner = Baker(self._context), os.getpid()
        sample = Sample(index, self.source.pictures[index], self.source.labels[index], "")
        try:
            return self._baker.pixels(sample, copy, self._baker.read(sample))
        except PixMixError as error:
            raise PictureError(
                f"SOURCE {self.source.path}: {error.message}",
                "mend it, or take it out; pixmix bake lists all such pictures",
            ) from None

    def __getstate__(self) -> dict[str, Any]:
        """Without this process's baker."""
        return {**self.__dict__, "_baker": None}


class PixMixDataset(Dataset[tuple[Any, int]]):
    """The copies of a dataset that `pixmix bake` with the same settings writes, without the disk.

        dataset = PixMixDataset("photos/train", "mixing", preset="imagenet", seed=0)
        dataset.set_epoch(57)  # copy 57, pixel by pixel

    After set_epoch(e) sample i is what a lossless bake writes into copy e for the source's sample
    i, by any number of workers and ranks. Otherwise it is as `BakedDataset`.

    classes       names by label
    class_to_idx  label by name, as torchvision's ImageFolder has it
    targets       the label of each sample
    """

    def __init__(
        self,
        source: Place,
        mixing: Place | Sequence[Place] | Mapping[Any, float],
        *,
        preset: str = "imagenet",
        seed: int = 0,
        transform: Callable[[Image.Image], Any] | None = None,
        plain: bool = False,
        source_format: str = "auto",
        split: str | None = None,
        label_field: str | None = None,
        path_field: str | None = None,
        mixing_cache: Place | None = None,
        **recipe: Any,
    ) -> None:
        """List the source and the mixing set; no picture is decoded yet.

        source        whatever `pixmix bake` reads, but no stream
        mixing        mixing sets, as for `PixMix`
        preset        "imagenet" or "cifar"
        seed          as bake's --seed
        transform     called with each picture, a PIL picture in RGB; None: it is given as it is
        plain         only crop and flip, as the copies plain-XXX
        source_format, split, label_field, path_field  as bake's options
        mixing_cache  folder of decoded mixing pictures; None: PIXMIX_CACHE_DIR or the user's cache
        recipe        what departs from the preset, as bake's options: size, k, beta, severity,
                      all_ops, operations, crop, flip
        raises        InputError, StorageError for a source or mixing set that cannot be used;
                      ValueError, TypeError for settings out of range or unknown
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**63:
            raise ValueError(f"seed must be a whole number from 0 to 2^63 - 1, not {seed}")
        if "geometry" in recipe:
            raise TypeError("the geometry is the preset's")
        config = recipe_of(preset, **recipe)
        sets, weights = named_sets(mixing)
        where = any_path(os.fspath(source))
        if STDIN in (where, *sets):
            raise InputError("a stream cannot be read again and again", "a folder or file")
        job = BakeJob(
            inputs=Inputs(
                source=where,
                mixing_sets=sets,
                source_format=source_format,
                split=split,
                label_field=label_field,
                path_field=path_field,
                mixing_weights=weights,
            ),
            destination=Destination(STDOUT),  # nothing is written
            config=config,
            seed=seed,
            running=running(mixing_cache),
        )
        self.transform = transform
        self._plain = plain
        self._replay = Replay(lay_out(job, warnings.warn))
        self.classes = self._replay.source.classes
        self._epoch = Epoch()

    @property
    def class_to_idx(self) -> dict[str, int]:
        """Label by class name."""
        return {name: label for label, name in enumerate(self.classes)}

    @property
    def targets(self) -> list[int]:
        """The label of each sample."""
        return list(self._replay.source.labels)

    def set_epoch(self, epoch: int) -> None:
        """Make copy `epoch` from now on, in every worker; before the loader is gone through.

        raises  InputError for an epoch below 0
        """
        self._epoch.set(epoch)

    def __len__(self) -> int:
        """Samples of the source."""
        return len(self._replay.source.pictures)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """A sample's picture, as `transform` leaves it, and its label. Raises PixMixError."""
        number = range(len(self))[index]
        copy = Copy(self._epoch.number, self._plain)
        picture = Image.fromarray(self._replay.picture(copy, number))
        label = self._replay.source.labels[number]
        return picture if self.transform is None else self.transform(picture), label


def running(mixing_cache: Place | None = None) -> Running:
    """Where decoded mixing pictures are kept."""
    return Running(mixing_cache=cache_folder(mixing_cache))
