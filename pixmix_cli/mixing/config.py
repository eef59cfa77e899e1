"""The settings of PixMix and the paper's two recipes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

# The paper's two, then those that the published code keeps as experimental.
OPERATIONS = ("add", "multiply", "screen", "overlay", "darken-lighten", "swap-channel")
PAPER_OPERATIONS = OPERATIONS[:2]
CROPS = ("random", "center", "none")
MAX_SIZE = 8192  # px; larger crops are surely a slip, and a batch of them would not fit memory


@dataclass(frozen=True, slots=True)
class PixMixConfig:
    """Settings of one PixMix recipe. The defaults are the ImageNet recipe.

    geometry  "imagenet": RandomResizedCrop(size) and flip; mixing pictures' shorter side to
              size * 8/7, then a random crop. "cifar": flip, zero padding by size/8 and a random
              crop; mixing pictures' shorter side to size * 9/8, then a random crop.
    crop      "random": as the geometry says. "center": as pictures are usually examined. In the
              imagenet geometry that is the middle square of 7/8 of the shorter side (224 of 256
              pixels), in the cifar geometry the picture's middle square. "none": the whole
              picture, squeezed where it is not square
    flip      whether half of the pictures are mirrored left to right
    raises    ValueError, one line, for a value out of range
    source    Hendrycks et al. (2022), PixMix, section 3 and appendix; values of the published code
    """

    size: int = 224  # side of the output, pixels
    k: int = 4  # at most k rounds of mixing
    beta: float = 4.0  # > 0; larger keeps closer to the original
    severity: float = 1.0  # >= 0.1; upper end of the augmentations' level
    all_ops: bool = True  # also colour, contrast, brightness, sharpness
    geometry: str = "imagenet"
    operations: tuple[str, ...] = PAPER_OPERATIONS  # of OPERATIONS; each as likely in a round
    crop: str = "random"  # of the original, never of the mixing picture
    flip: bool = True

    def __post_init__(self) -> None:
        """Check every value."""
        for name in ("size", "k"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name} must be a whole number, not {value}")
        for name in ("beta", "severity"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ValueError(f"{name} must be a number, not {value}")
        if not 1 <= self.size <= MAX_SIZE:
            raise ValueError(f"size must be 1 to {MAX_SIZE} pixels, not {self.size}")
        if not 0 <= self.k <= 100:
            raise ValueError(f"k must be 0 to 100 rounds, not {self.k}")
        if not (math.isfinite(self.beta) and self.beta > 0):
            raise ValueError(f"beta must be above 0, not {self.beta}")
        if not 0.1 <= self.severity <= 10:
            raise ValueError(f"severity must be 0.1 to 10, not {self.severity}")
        if self.geometry not in ("imagenet", "cifar"):
            raise ValueError(f"geometry must be imagenet or cifar, not {self.geometry}")
        if self.crop not in CROPS:
            raise ValueError(f"crop must be random, center or none, not {self.crop}")
        if not isinstance(self.flip, bool):
            raise ValueError(f"flip must be true or false, not {self.flip}")
        for name in self.operations:
            if name not in OPERATIONS:
                raise ValueError(f"operations are {', '.join(OPERATIONS)}, and not {name}")
        if not self.operations:
            raise ValueError("operations must name at least one")
        # in one order, so that no draw depends on how the user wrote them
        ordered = tuple(name for name in OPERATIONS if name in self.operations)
        object.__setattr__(self, "operations", ordered)

    @property
    def mixing_size(self) -> int:
        """Shorter side, in pixels, to which a mixing picture is resized before its crop."""
        ratio = (8, 7) if self.geometry == "imagenet" else (9, 8)
        return max(self.size, round(self.size * ratio[0] / ratio[1]))

    @property
    def padding(self) -> int:
        """Zero padding, in pixels, around a picture of the cifar geometry: 4 at 32 pixels."""
        return round(self.size / 8)


PRESETS = {
    "imagenet": PixMixConfig(),
    "cifar": PixMixConfig(size=32, beta=3.0, severity=3.0, geometry="cifar"),
}


def recipe_of(preset: str, **changes: Any) -> PixMixConfig:
    """A preset's recipe with some fields changed.

    raises  ValueError for an unknown preset or a value out of range; TypeError for an unknown field
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be {' or '.join(PRESETS)}, not {preset}")
    return replace(PRESETS[preset], **changes)
