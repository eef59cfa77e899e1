"""What a bake is asked to do, and its tasks: plain values that travel to workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.storage.pictures import PictureRef


@dataclass(frozen=True, slots=True)
class BakeJob:
    """What the user asked for."""

    source: Path
    mixing_sets: tuple[Path, ...]
    output: Path
    config: PixMixConfig
    copies: int = 1
    format: str = "webdataset"  # "webdataset" | "imagefolder" | "npy"
    image_format: str = "jpeg"
    quality: int = 95
    shard_size: int | None = None
    shuffle: bool = True  # webdataset only: loaders read shards in order
    with_json: bool = True  # webdataset only: each sample's draws beside it
    seed: int = 0
    workers: int = 1
    mixing_cache: Path | None = None  # folder of decoded mixing pictures kept between runs
    on_error: str = "skip"  # "fail" | "skip"
    resume: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One source picture inside a task: its place in the source, where it lies, what it is."""

    index: int
    ref: PictureRef
    label: int
    target: str  # output name without extension (imagefolder)


@dataclass(frozen=True, slots=True)
class Task:
    """One shard: these samples, for these copies."""

    shard: int
    copies: tuple[int, ...]
    samples: tuple[Sample, ...]
