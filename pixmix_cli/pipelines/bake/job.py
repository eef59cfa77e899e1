"""What a bake is asked to do, and its tasks: plain values that travel to workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.rows import FIRST_PLAIN
from pixmix_cli.pipelines.bake.drawn import Drawn
from pixmix_cli.pipelines.engines.local import Engine, run_tasks
from pixmix_cli.sources.pictures import PictureRef
from pixmix_cli.storage.remote import AnyPath
from pixmix_cli.units import MAX_PIXELS, Bytes


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of the dataset: an augmented one, or a plain one (crop and flip, no PixMix).

    Plain copy n has the crops and flips of augmented copy n.
    """

    number: int
    plain: bool = False

    @property
    def code(self) -> int:
        """The copy as one number, as rows and file orders have it: plain ones come after all."""
        return self.number + (FIRST_PLAIN if self.plain else 0)

    @classmethod
    def from_code(cls, code: int) -> Copy:
        """The copy that a row's `copy` stands for."""
        plain = code >= FIRST_PLAIN
        return cls(code - FIRST_PLAIN if plain else code, plain)

    @property
    def folder(self) -> str:
        """Its folder in the output. Epoch e reads augmented copy e mod N."""
        return f"{'plain' if self.plain else 'copy'}-{self.number:03d}"


def all_copies(augmented: int, plain: int) -> tuple[Copy, ...]:
    """So many copies of each kind, plain ones last."""
    return (*map(Copy, range(augmented)), *(Copy(number, True) for number in range(plain)))


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is augmented, and what is mixed in."""

    source: AnyPath
    mixing_sets: tuple[AnyPath, ...]
    source_format: str = "auto"  # "auto" or one of sources.registry.KINDS
    split: str | None = None  # of the source, of kinds that have several
    label_field: str | None = None  # which labels, of kinds that have several
    path_field: str | None = None  # which column of a list has the paths
    mixing_weights: tuple[float, ...] = ()  # one a mixing set, or none: all pictures alike
    max_pixels: int = MAX_PIXELS  # of one picture; larger ones are left out


@dataclass(frozen=True, slots=True)
class Files:
    """How the output's files are made."""

    format: str = "webdataset"  # a name of formats.registry.FORMATS
    image_format: str = "jpeg"
    quality: int = 95  # of JPEG
    shard_size: int | Bytes | None = None  # bytes: samples are counted once some are baked
    equal: str | None = None  # what makes shards equally long: "pad" | "drop-last"
    dali_index: bool = False  # NVIDIA DALI's index beside each shard
    shuffle: bool = True  # where shards show: loaders read them in order
    draws_json: bool = True  # where shards show: each sample's draws beside it


@dataclass(frozen=True, slots=True)
class Running:
    """Who does the work, with what at hand, and what stops it."""

    workers: int = 1
    engine: Engine = run_tasks
    mixing_cache: Path | None = None  # folder of decoded mixing pictures kept between runs
    on_error: str = "skip"  # "fail" | "skip"
    max_errors: int | None = None  # the run stops when more pictures are skipped


@dataclass(frozen=True, slots=True)
class BakeJob:
    """What the user asked for."""

    inputs: Inputs
    destination: Destination  # of a part: which shards to bake
    config: PixMixConfig
    copies: int = 1
    plain: int = 0  # copies without PixMix beside them
    seed: int = 0
    draws: str = "keyed"  # "keyed" by seed, copy and sample | "reference": see reference_draws
    files: Files = Files()
    running: Running = Running()

    @property
    def output(self) -> Path:
        """The folder in which finished files are put."""
        return self.destination.folder

    @property
    def all_copies(self) -> tuple[Copy, ...]:
        """All copies, plain ones last."""
        return all_copies(self.copies, self.plain)


@dataclass(frozen=True, slots=True)
class Sample:
    """One source picture inside a task: its place in the source, where it lies, what it is."""

    index: int
    ref: PictureRef
    label: int
    target: str  # output name without extension, where the layout gives each its own
    pad: int = 0  # 0, or which repetition of the sample this is, to fill a shard
    records: tuple[tuple[int, str], ...] = ()  # (number of the copy, JSON) of draws made beforehand


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard: these samples, for these copies."""

    shard: int
    copies: tuple[Copy, ...]
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Baked:
    """One finished picture, before it is written."""

    sample: Sample
    copy: Copy
    draws: Drawn
    pixels: NDArray[np.uint8]  # (size, size, 3)
