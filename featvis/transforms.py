"""Random views of a picture, which keep the optimisation from drawing noise that only works
at one place, size and angle. Drawn first, one row a picture and step; applied later."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from featvis.config import FeatVisConfig

F64 = npt.NDArray[np.float64]


def draw_views(config: FeatVisConfig, jitter: float, rngs: Sequence[np.random.Generator]) -> F64:
    """The views of every step and picture.

    jitter   largest shift as a share of the side
    rngs     one a picture, each advanced by 4 * steps numbers
    returns  (steps, n, 2, 3) float64: for each the affine map from a place in the view to the
             place in the picture, both in [-1, 1] with x first
    """
    uniform = np.stack([rng.random((config.steps, 4)) for rng in rngs], axis=1)
    ratio = config.zoom_max / config.zoom_min
    zoom = config.zoom_min * ratio ** uniform[..., 0]
    angle = np.radians(config.rotation * (2 * uniform[..., 1] - 1))
    shift = 2 * jitter * (2 * uniform[..., 2:] - 1)
    views = np.empty((*uniform.shape[:2], 2, 3))
    views[..., 0, 0] = np.cos(angle) / zoom
    views[..., 0, 1] = -np.sin(angle) / zoom
    views[..., 1, 0] = np.sin(angle) / zoom
    views[..., 1, 1] = np.cos(angle) / zoom
    views[..., 2] = shift
    return views


def view(pictures: Tensor, maps: Tensor, side: int, *, wrap: bool) -> Tensor:
    """Each picture through its own map: shift, zoom and turn in one resampling.

    pictures  (n, 3, h, w) float32
    maps      (n, 2, 3) float32, rows of `draw_views`
    wrap      beyond its edge a picture starts again at the other; else it goes on mirrored
    returns   (n, 3, side, side) float32
    """
    grid = F.affine_grid(maps, [len(pictures), 3, side, side], align_corners=False)
    if wrap:  # half a pixel at the seam is held constant rather than interpolated
        grid = torch.remainder(grid + 1, 2) - 1
    # A view that shrinks by more than two would skip pixels: average them first.
    shrink = math.floor(pictures.shape[-1] / side)
    if shrink >= 2:
        pictures = F.avg_pool2d(pictures, shrink)
    return F.grid_sample(pictures, grid, "bilinear", "reflection", align_corners=False)
