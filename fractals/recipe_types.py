"""What a recipe holds: the types of the JSON that a fractal is drawn as, and rendered from.

Coordinates of a map are its own; colours are OKLab; angles are in turns. `recipe.check_recipe`
checks ranges.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict

Affine = list[float]  # a, b, c, d, e, f: x' = a x + b y + c, y' = d x + e y + f
Variation = list[Any]  # name, weight, list of its parameters
Lab = list[float]  # L, a, b


class AffineMap(TypedDict):
    """A contractive map of an affine IFS."""

    affine: Affine
    color: float  # 0 to 1, where it leads to on the palette
    weight: float  # share of the points; positive


class Transform(TypedDict):
    """Variations of an affine map's result, and an affine map after them."""

    affine: Affine
    variations: list[Variation]
    post: Affine | None


class FlameMap(Transform):
    """A map of a flame."""

    color: float
    speed: float  # 0 to 1, how far a point's colour goes to the map's
    weight: float


class Symmetry(TypedDict):
    """The symmetries of a regular polygon: rotations, and with `mirror` reflections."""

    order: int
    mirror: bool


class AffineGenome(TypedDict):
    """The maps of an affine IFS."""

    maps: list[AffineMap]
    final: None
    symmetry: Symmetry


class FlameGenome(TypedDict):
    """The maps of a flame. final: what every point passes through before it is plotted."""

    maps: list[FlameMap]
    final: Transform | None
    symmetry: Symmetry


class AffineAttractor(AffineGenome):
    """An affine IFS, and the numbers that its points follow from."""

    kind: Literal["affine"]
    sampling_seed: int


class FlameAttractor(FlameGenome):
    """A flame, and the numbers that its points follow from."""

    kind: Literal["flame"]
    sampling_seed: int


Attractor = AffineAttractor | FlameAttractor


class Frame(TypedDict):
    """The window that a picture shows, in map coordinates."""

    center: list[float]  # x, y
    width: float
    angle: float


class Tone(TypedDict):
    """How densities become light: see generate._tone."""

    solidity: float
    shade: float
    highlight: float
    opacity: float
    glow: float


class Look(TypedDict):
    """Which window shows, and how it is coloured."""

    frame: Frame
    palette: list[Lab]
    equalize: float  # 0 to 1: how far colours are spread to equal shares
    blend: str  # "over" | "screen"
    tone: Tone


class AffineLayer(AffineAttractor, Look):
    """An affine IFS, laid over what is below it."""


class FlameLayer(FlameAttractor, Look):
    """A flame, laid over what is below it."""


Layer = AffineLayer | FlameLayer


class Ground(TypedDict):
    """What lies behind the layers."""

    shape: str  # one of color.GROUND_SHAPES
    colors: list[Lab]
    angle: float
    center: list[float]  # x, y, 0 to 1
    repeats: float


class Recipe(TypedDict):
    """Everything that decides a fractal's pixels."""

    version: int
    kind: str  # "affine" | "flame"
    size: int  # pixels
    points_per_pixel: float
    ground: Ground
    veil: Layer | None  # a soft close look at the first layer, behind it
    layers: list[Layer]
