"""Settings of one rendering. Cheap to import: no torch, no numpy."""

from __future__ import annotations

import math
from dataclasses import dataclass

from featvis.errors import FeatVisError

PRECISIONS = ("auto", "float32", "bfloat16")
PARAMETRIZATIONS = ("fourier", "maco", "pixel")
EDGES = ("auto", "wrap", "mirror")
WRAP_JITTER = 0.5  # of the side: every place is as likely in the middle as any other
MIRROR_JITTER = 24 / 224
# The side at which a network sees the pictures by default: several times faster than 224, with
# pictures as good and more contrast at 32 px; 96 is clearly worse (docs/design/featvis.md).
NETWORK_SIZE = 128
MIN_SIZE = 2  # pixels; a single one has no contrast
MAX_SIZE = 4096  # pixels; a spectrum of 4096^2 already takes 200 MB a picture


@dataclass(frozen=True, slots=True)
class FeatVisConfig:
    """How pictures are optimised. Checked when made; raises FeatVisError.

    The defaults of the transforms, the rate and the number of steps are those that made 32
    classes of squeezenet1_1 most recognisable to two networks that never saw them, among the
    variants measured for this project: strong zoom and rotation matter far more than the
    optimiser, and more steps raise the objective rather than the picture.

    edges decides what lies beyond a picture's edge, and so what jitter None means. Channels of a
    map want textures: wrapped around and shifted by up to half a side, every place is seen
    alike, and no frame forms where the network pads with zeros. Classes want one thing in the
    middle: mirrored, shifted by up to 24 pixels in 224.
    """

    size: int = 224  # side of the finished picture in pixels
    steps: int = 64  # optimisation steps a picture
    batch_size: int = 8  # pictures optimised at once; part of what decides the bytes
    network_size: int | None = None  # side the network sees; None: min(size, 128, its own)
    precision: str = "auto"  # of the network: auto = bfloat16 on CUDA, else float32
    parametrization: str = "fourier"  # what is optimised: fourier | maco | pixel
    learning_rate: float = 0.05  # Adam's
    decay: float = 1.25  # fourier: amplitude falls as frequency**-decay
    zoom_min: float = 0.8  # magnification of a view, drawn log-uniformly; < 1 sees the surround
    zoom_max: float = 1.8
    rotation: float = 20.0  # a view is turned by up to this many degrees either way
    edges: str = "auto"  # wrap: pictures tile; mirror; auto: wrap for layers that are maps
    jitter: float | None = None  # shift of a view, up to this share of the side; None: see below
    revive_steps: int = 16  # first steps in which dead ReLUs pass a gradient
    max_restarts: int = 2  # how often a grey picture is redone from another start

    def __post_init__(self) -> None:
        _whole("size", self.size, MIN_SIZE, MAX_SIZE)
        _whole("steps", self.steps, 1, 100_000)
        _whole("batch_size", self.batch_size, 1, 65_536)
        if self.network_size is not None:
            _whole("network_size", self.network_size, 1, MAX_SIZE)
        _choice("precision", self.precision, PRECISIONS)
        _choice("parametrization", self.parametrization, PARAMETRIZATIONS)
        _real("learning_rate", self.learning_rate, 1e-6, 10.0)
        _real("decay", self.decay, 0.0, 4.0)
        _real("zoom_min", self.zoom_min, 0.1, 10.0)
        _real("zoom_max", self.zoom_max, self.zoom_min, 10.0)
        _real("rotation", self.rotation, 0.0, 180.0)
        _choice("edges", self.edges, EDGES)
        if self.jitter is not None:
            _real("jitter", self.jitter, 0.0, 1.0)
        _whole("revive_steps", self.revive_steps, 0, 100_000)
        _whole("max_restarts", self.max_restarts, 0, 100)


def _whole(name: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise FeatVisError(
            f"{name} is {value!r}; it must be a whole number from {low} to {high}.",
            hint=f"--{name.replace('_', '-')} {low} to {high}",
        )


def _real(name: str, value: object, low: float, high: float) -> None:
    good = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
        raise FeatVisError(
            f"{name} is {value!r}; it must be a number from {low:g} to {high:g}.",
            hint=f"--{name.replace('_', '-')} {low:g} to {high:g}",
        )


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise FeatVisError(
            f"{name} is {value!r}; it must be one of {', '.join(choices)}.",
            hint=f"one of {', '.join(choices)}",
        )
