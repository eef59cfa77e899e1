"""What a mixing set is asked to be, and its tasks: plain values that travel to workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.outputs.destination import Destination
from pixmix_cli.pipelines.engines.local import Engine, run_tasks
from pixmix_cli.pipelines.mixing_sets.tone import recorded, toned
from pixmix_cli.storage import images
from pixmix_cli.storage.files import canonical_json


@dataclass(frozen=True, slots=True)
class MixingSetJob:
    """What the user asked for, whatever the pictures are of."""

    destination: Destination  # of a part: which pictures to make
    format: str = "folder"  # "folder" | "webdataset"
    image_format: str = "jpeg"
    quality: int = 95
    shard_size: int = 1000  # webdataset: pictures a tar
    seed: int = 0
    workers: int = 1
    engine: Engine = run_tasks
    contrast: float = 1.0  # as `toned` has these two
    saturation: float = 1.0

    def encode(self, pixels: NDArray[np.uint8], recipe: Mapping[str, object]) -> bytes:
        """A picture, (h, w, 3) uint8, as it is stored: toned, with its recipe and its tone in it.

        recipe  as a maker gives it: it makes the pixels
        """
        shown = toned(pixels, self.contrast, self.saturation)
        text = canonical_json({**recipe, **recorded(self.contrast, self.saturation)})
        return images.encode(shown, self.image_format, self.quality, text)


@dataclass(frozen=True, slots=True)
class PictureTask:
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
    recipe: Mapping[str, object] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


Maker = Callable[[PictureTask], list[Made]]
