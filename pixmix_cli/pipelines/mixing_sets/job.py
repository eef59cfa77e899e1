"""What a mixing set is asked to be, and its tasks: plain values that travel to workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.outputs.part import Part
from pixmix_cli.pipelines.engines.local import Engine, run_tasks
from pixmix_cli.storage.remote import Url


@dataclass(frozen=True, slots=True)
class MixingSetJob:
    """What the user asked for, whatever the pictures are of. output None: a tar stream."""

    output: Path | None
    elsewhere: Url | None = None  # the output, of which `output` then is the mirror
    format: str = "folder"  # "folder" | "webdataset"
    image_format: str = "jpeg"
    quality: int = 95
    shard_size: int = 1000  # webdataset: pictures a tar
    seed: int = 0
    workers: int = 1
    resume: bool = False
    overwrite: bool = False
    part: Part | None = None  # which part of the set to make, where several runs share the work
    engine: Engine = run_tasks

    @property
    def goes_on(self) -> bool:
        """Whether it goes on with what is there, as every part does."""
        return self.resume or self.part is not None


@dataclass(frozen=True, slots=True)
class Task:
    """Pictures to make together; `payload` is for the maker."""

    indices: tuple[int, ...]
    payload: Any = None


@dataclass(frozen=True, slots=True)
class Made:
    """One picture from a maker: pixels and recipe, or the reason why there is none.

    facts  what its manifest row tells besides path, size and hash
    """

    index: int
    pixels: NDArray[np.uint8] | None
    recipe: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


Maker = Callable[[Task], list[Made]]
