"""Pictures that excite one layer, each in its own way, a batch at once.

What will happen (start noise, views) is drawn first, a picture from its own generator; then a
batch of fixed size is optimised, so that a picture depends neither on the others in its batch
nor on how many they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from featvis.adam import Adam
from featvis.architectures import blank
from featvis.config import MIRROR_JITTER, NETWORK_SIZE, WRAP_JITTER, FeatVisConfig
from featvis.errors import FeatVisError
from featvis.forward import Tap, tapped
from featvis.layers import Layer, check_weights, find_layer, list_layers
from featvis.models import Network
from featvis.objectives import Channel, Objective
from featvis.parametrizations import make_parametrization
from featvis.precision import choose
from featvis.transforms import draw_views, view

# A picture is grey when both its contrast and its colour stay near the start noise's.
GREY_CONTRAST = 12.0  # standard deviation of brightness in levels of 255
GREY_COLOR = 6.0  # mean difference between the largest and smallest of R, G, B, in levels

ADAM_EPSILON = 1e-12  # deep layers' mean activations have gradients near Adam's usual 1e-8

# Behind a ReLU the objective is a leaky one, of slope 1 while reviving and this afterwards:
# enough to lead a channel out of the dead, too little to reward making it less negative.
DEAD_SLOPE = 0.1

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rendered:
    """A finished batch.

    pixels    (n, size, size, 3) uint8
    start     (n,) float32: the objective at the first step of the last try
    end       (n,) float32: the objective at its last step
    grey      (n,) bool: still without contrast and colour after all restarts
    restarts  (n,) int64: how often the picture was begun anew
    overflow  (n,) bool: the objective was not finite at the last try's first or last step
    """

    pixels: U8
    start: F32
    end: F32
    grey: npt.NDArray[np.bool_]
    restarts: npt.NDArray[np.int64]

    @property
    def overflow(self) -> npt.NDArray[np.bool_]:
        """See above."""
        finite: npt.NDArray[np.bool_] = np.isfinite(self.start) & np.isfinite(self.end)
        return ~finite


def render(
    network: Network,
    layer: Layer | str,
    goals: Objective | Sequence[int],
    config: FeatVisConfig,
    rngs: Sequence[np.random.Generator],
    *,
    starts: F32 | None = None,
) -> Rendered:
    """Optimise one picture for each goal in one layer.

    layer    of list_layers(network), or its name
    goals    an objective, or channels whose means are to be large; at most config.batch_size,
             repeats are fine. On the CPU fewer are padded to batch_size and the padding thrown
             away, so that bytes do not depend on how full a batch is
    rngs     one a picture; only `random` and `standard_normal` are drawn
    starts   (n, 3, s, s) float32 in [0, 1]: pictures to start from; None: noise
    returns  the pictures in the order of `goals`; on CPU in float32 the same bytes for the same
             weights, goal, generator, config and number of threads
    raises   UnknownLayerError, ChannelRangeError, CheckpointError for a layer that needs weights
             which the network's file lacks, FeatVisError for a network size that the network
             cannot take (names the smallest that it can)
    """
    if isinstance(layer, str):
        layer = find_layer(list_layers(network), layer)
    check_weights(network, [layer])
    count = len(goals)
    if not 0 < count <= config.batch_size or len(rngs) != count:
        raise FeatVisError(
            f"{count} goals with {len(rngs)} generators do not fit a batch of {config.batch_size}.",
            hint="1 to batch_size goals, one generator each",
        )
    if isinstance(goals, Sequence):
        goals = Channel(tuple(int(channel) for channel in goals))
    goals.check(layer.name, layer.channels)
    side = network_side(network, layer, config)

    pixels, start, end, grey = _optimise(network, layer, goals, config, rngs, side, starts)
    restarts = np.zeros(count, np.int64)
    for _ in range(config.max_restarts):
        rows = [int(row) for row in np.flatnonzero(grey)]
        if not rows:
            break
        again = _optimise(
            network,
            layer,
            goals.take(rows),
            config,
            [rngs[r] for r in rows],
            side,
            None if starts is None else starts[rows],
        )
        pixels[rows], start[rows], end[rows], grey[rows] = again
        restarts[rows] += 1
    return Rendered(pixels, start, end, grey, restarts)


def render_fitting(
    network: Network,
    layer: Layer,
    goals: Objective,
    config: FeatVisConfig,
    rngs: Sequence[np.random.Generator],
    *,
    starts: F32 | None = None,
    group: int = 1,
) -> tuple[Rendered, FeatVisConfig]:
    """As `render`, in smaller batches where the device's memory is too small for these.

    group    neighbours that are never parted (of a `Diverse` objective)
    returns  the pictures, and the config with the batch size that they were made with; go on
             with it
    raises   torch.OutOfMemoryError when even one group is too much
    """
    while True:
        parts = [
            list(range(first, min(first + config.batch_size, len(goals))))
            for first in range(0, len(goals), config.batch_size)
        ]
        before = [rng.bit_generator.state for rng in rngs]
        try:
            done = [
                render(
                    network,
                    layer,
                    goals.take(rows),
                    config,
                    [rngs[row] for row in rows],
                    starts=None if starts is None else starts[rows],
                )
                for rows in parts
            ]
            break
        except torch.OutOfMemoryError:
            if config.batch_size <= group:
                raise
        # Here, where no exception holds on to the tensors of the try any more.
        config = replace(config, batch_size=max(1, config.batch_size // group // 2) * group)
        for rng, state in zip(rngs, before):
            rng.bit_generator.state = state
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return _joined(done), config


def _joined(parts: list[Rendered]) -> Rendered:
    return Rendered(
        *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Rendered))
    )


def is_grey(pixels: U8) -> bool:
    """Whether a picture shows nothing: neither contrast nor colour to speak of.

    pixels  (h, w, 3) uint8
    """
    return bool(are_grey(torch.from_numpy(pixels.transpose(2, 0, 1)[None]))[0])


def are_grey(levels: Tensor) -> npt.NDArray[np.bool_]:
    """`is_grey` of each picture, where the batch is: sums of whole numbers, the same on any device.

    levels   (n, 3, h, w) uint8
    returns  (n,) bool
    """
    count = levels.shape[-1] * levels.shape[-2]
    brightness = levels.sum(1, dtype=torch.int32)
    spread = levels.amax(1) - levels.amin(1)
    sums = [
        each.sum((1, 2), dtype=torch.int64).cpu().numpy() / count
        for each in (brightness, brightness * brightness, spread)
    ]
    contrast = np.sqrt(np.maximum(sums[1] - sums[0] ** 2, 0)) / 3
    grey: npt.NDArray[np.bool_] = (contrast < GREY_CONTRAST) & (sums[2] < GREY_COLOR)
    return grey


def network_side(network: Network, layer: Layer, config: FeatVisConfig) -> int:
    """The side in pixels at which the network sees the pictures.

    raises  FeatVisError if config asks for one that the network cannot take
    """
    own = network.input_size
    if network.fixed_size:
        if config.network_size not in (None, own):
            raise FeatVisError(
                f"{network.name} takes pictures of {own} pixels only, not {config.network_size}.",
                hint=f"--network-size {own} or none; --size is free",
            )
        return own
    wanted = config.network_size or min(config.size, NETWORK_SIZE, own)
    if wanted >= own or _fits(network, layer, wanted):
        return wanted
    smallest = wanted + bisect_left(
        range(wanted, own), True, key=lambda side: _fits(network, layer, side)
    )
    if config.network_size is None:
        return smallest
    raise FeatVisError(
        f"{network.name} cannot take pictures of {wanted} pixels up to {layer.name}: the smallest "
        f"that works is {smallest}.",
        hint=f"--network-size {smallest} or more",
    )


def _fits(network: Network, layer: Layer, side: int) -> bool:
    """Whether a picture of `side` pixels gets as far as the layer; costs next to nothing."""
    key = (layer.module, layer.call, side)
    if key not in network.fits:
        try:
            skeleton = network.skeleton()
            with torch.no_grad(), tapped(skeleton, layer) as tap:
                output, _ = tap(blank(skeleton, 1, side))
            network.fits[key] = output.numel() > 0
        except (RuntimeError, ValueError, AssertionError):  # what torch's layers raise
            network.fits[key] = False
    return network.fits[key]


def _optimise(
    network: Network,
    layer: Layer,
    goals: Objective,
    config: FeatVisConfig,
    rngs: Sequence[np.random.Generator],
    side: int,
    starts: F32 | None,
) -> tuple[U8, F32, F32, npt.NDArray[np.bool_]]:
    """One try: pixels (n, size, size, 3), first and last objective and what is grey, (n,) each."""
    count, device = len(rngs), network.device
    padding = padding_of(config, count, device)
    goals = goals.take([*range(count), *[0] * padding])
    rngs = [*rngs, *(np.random.default_rng(i) for i in range(padding))]
    if starts is not None:
        starts = starts[[*range(count), *[0] * padding]]

    low = choose(config.precision, device).bfloat16
    model = network.ready(layer.module, bfloat16=low)
    work = working_side(config.size, side)
    pictures = make_parametrization(config, work, rngs, device, starts)
    wrap = config.edges == "wrap" or (config.edges == "auto" and len(layer.shape) > 1)
    jitter = config.jitter
    if jitter is None:
        jitter = WRAP_JITTER if wrap else MIRROR_JITTER
    maps = torch.from_numpy(draw_views(config, jitter, rngs).astype(np.float32)).to(device)
    mean = torch.tensor(network.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(network.std, device=device).view(1, 3, 1, 1)
    adam = Adam(pictures.parameter, config.learning_rate * pictures.rate, ADAM_EPSILON)

    first = last = torch.empty(0)
    with torch.enable_grad(), tapped(model, layer) as tap:
        for step in range(config.steps):
            views = (view(pictures.decode(), maps[step], side, wrap=wrap) - mean) / std
            output, wanted = _activations(tap, layer, views, low, step < config.revive_steps)
            loss = -goals.score(wanted).sum()
            (gradient,) = torch.autograd.grad(loss, [pictures.parameter])
            adam.step(gradient)
            if step in (0, config.steps - 1):
                last = goals.score(output.detach())
                first = last if step == 0 else first
    with torch.no_grad():
        finished = pictures.decode(config.size)[:count]
        levels = (finished * 255 + 0.5).clamp(0, 255).to(torch.uint8)
    # MPS lacks some of what this takes
    grey = are_grey(levels if levels.is_cuda else levels.cpu())
    pixels = np.ascontiguousarray(levels.permute(0, 2, 3, 1).cpu().numpy())
    return pixels, first[:count].cpu().numpy(), last[:count].cpu().numpy(), grey


def padding_of(config: FeatVisConfig, count: int, device: str) -> int:
    """How many pictures are rendered and thrown away beside `count`.

    On the CPU a batch is always full, so that bytes do not depend on how many are still to be made.
    Elsewhere bytes are promised to nobody, and a layer's rest, or one picture begun anew, would
    cost as much as a whole batch.
    """
    return config.batch_size - count if device == "cpu" else 0


def working_side(size: int, network_side: int) -> int:
    """Side at which pictures are optimised. Beyond the network's side they gain nothing."""
    return min(size, network_side)


def _activations(
    tap: Tap, layer: Layer, views: Tensor, low: bool, revive: bool
) -> tuple[Tensor, Tensor]:
    """The layer's output, and what to optimise in its place, both (n, channels, ...) float32."""
    views = views.contiguous(memory_format=torch.channels_last)
    autocast = torch.autocast(views.device.type, torch.bfloat16) if low else nullcontext()
    with autocast:
        output, before = tap(views, revive=revive)
    wanted = output.float()
    if before is not output:
        wanted = torch.lerp(wanted, before.float(), 1.0 if revive else DEAD_SLOPE)
    return output.movedim(layer.axis, 1).float(), wanted.movedim(layer.axis, 1)
