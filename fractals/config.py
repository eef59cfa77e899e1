"""What a caller can set. Cheap to import: needs neither numpy nor numba."""

from __future__ import annotations

from dataclasses import dataclass

from fractals.errors import FractalError

__all__ = [
    "KINDS",
    "MAX_POINTS",
    "MAX_POINTS_PER_PIXEL",
    "MAX_SIZE",
    "MIN_POINTS_PER_PIXEL",
    "FractalConfig",
    "check_points",
    "check_size",
]

KINDS = ("mixed", "affine", "flame")

# 8192 is where the working arrays (about 16 bytes a pixel) reach a gigabyte; larger sides would
# also overflow the 32-bit cell index of the flame kernel at 46,340.
MAX_SIZE = 8192
# Below a tenth the picture is dust at any size; above a thousand nothing visible changes.
MIN_POINTS_PER_PIXEL = 0.1
MAX_POINTS_PER_PIXEL = 1000.0
# About half a minute on one core: more is a slip of the hand, not a picture.
MAX_POINTS = 4_000_000_000


def check_size(size: object, where: str = "size") -> int:
    """The side in pixels as an int in 1..MAX_SIZE; FractalError otherwise."""
    if isinstance(size, bool) or not isinstance(size, int):
        raise FractalError(f"{where} is {size!r}: give a whole number of pixels, 1 to {MAX_SIZE}")
    if not 1 <= size <= MAX_SIZE:
        raise FractalError(
            f"{where} is {size}: give 1 to {MAX_SIZE} pixels (a larger side needs gigabytes)"
        )
    return size


def check_points(points_per_pixel: object, size: int, where: str = "points_per_pixel") -> float:
    """Points a pixel as a float within limits, also in total; FractalError otherwise."""
    if isinstance(points_per_pixel, bool) or not isinstance(points_per_pixel, (int, float)):
        raise FractalError(f"{where} is {points_per_pixel!r}: give a number, for example 8")
    value = float(points_per_pixel)
    if not MIN_POINTS_PER_PIXEL <= value <= MAX_POINTS_PER_PIXEL:
        raise FractalError(
            f"{where} is {value:g}: give {MIN_POINTS_PER_PIXEL:g} to {MAX_POINTS_PER_PIXEL:g}"
        )
    if value * size * size > MAX_POINTS:
        raise FractalError(
            f"{where} {value:g} at size {size} asks for {value * size * size:.2g} points: "
            f"at most {MAX_POINTS:.0g} are rendered, lower one of the two"
        )
    return value


@dataclass(frozen=True, slots=True)
class FractalConfig:
    """Settings of a set of fractals; checked when made, FractalError if one is out of range."""

    kind: str = "mixed"  # "mixed" (a quarter affine, three quarters flame), "affine" or "flame"
    size: int = 512  # side in pixels, 1..8192
    points_per_pixel: float = 8.0  # 0.1..1000; fewer is grainy, more is slower; pictures below
    # 256 px are made at 256, with these points for every pixel there, and shrunk

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise FractalError(f"kind is {self.kind!r}: choose one of {', '.join(KINDS)}")
        check_size(self.size)
        object.__setattr__(self, "points_per_pixel", check_points(self.points_per_pixel, self.size))
