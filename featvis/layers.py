"""Which layers a network has and how they are called.

A layer is a module whose output is seen when a picture passes through the network, under its
`named_modules` name; a module that runs more than once has one layer a call, `name@1`,
`name@2` …; the network itself is `output` (its channels are the classes). One pass on the meta
device, which costs no arithmetic, tells shapes and cost. The channel axis is the one that does
not change between two picture sizes.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from featvis.architectures import blank, is_known, native_size, probing_side, skeleton
from featvis.errors import CheckpointError, UnknownLayerError, plain, some
from featvis.models import Network

OUTPUT = "output"  # the layer name of the network as a whole
AUTO_COUNT = 8  # layers that "auto" picks
PROBE_BATCH = 3  # pictures in a probing pass; tells the batch axis from others
PROBE_STEP = 64  # pixels between the two probing sizes: 2 cells at the usual stride of 32


@dataclass(frozen=True, slots=True)
class Layer:
    """One place in a network whose channels can be drawn.

    shape   of its output for one picture of the network's input size, without the batch
    axis    of the channels in the output with the batch, >= 1
    cost    share of the network's forward cost up to and including it, 0..1
    kind    class name of the module
    own     share of the forward cost inside the module, 0..1
    leaf    whether the module has no modules inside
    """

    name: str
    channels: int
    shape: tuple[int, ...]
    axis: int
    cost: float
    kind: str
    own: float = 0.0
    leaf: bool = True

    @property
    def module(self) -> str:
        """The module's `named_modules` name; "" is the network itself."""
        name = self.name.partition("@")[0]
        return "" if name == OUTPUT else name

    @property
    def call(self) -> int:
        """Which call of the module this is, from 1."""
        return int(self.name.partition("@")[2] or 1)


class Layers(list[Layer]):
    """The layers of one network in the order in which they finish.

    silent   modules that are no layer -> why, for error messages
    network  name of the architecture
    """

    def __init__(
        self,
        layers: Iterable[Layer] = (),
        *,
        silent: dict[str, str] | None = None,
        network: str = "this network",
    ) -> None:
        super().__init__(layers)
        self.silent = silent or {}
        self.network = network


def list_layers(network: Network | str, num_classes: int | None = None) -> Layers:
    """The layers of a loaded network, or of an architecture by name without any weights.

    raises   UnknownModelError
    """
    if isinstance(network, str):
        return layers_of(network, num_classes)
    if is_known(network.name):
        # shapes and costs are for the size that the weights were made for, mostly the usual one
        usual = network.input_size in (224, 299) and not network.fixed_size
        size = None if usual else network.input_size
        return layers_of(network.name, network.num_classes or None, size)
    small = network.skeleton()
    other = None if network.fixed_size else small
    return _probe(small, other, network.name, network.input_size)


def layers_of(name: str, num_classes: int | None = None, image_size: int | None = None) -> Layers:
    """The layers of architecture `name` (torchvision's, or timm's), found by its skeleton.

    num_classes  of the head; None: 1000
    image_size   side in pixels that shapes and costs are for; None: the network's own
                 for networks that take one size only, else 224 (299 for Inception)
    raises       UnknownModelError
    """
    found = _layers_of(name, num_classes, image_size)
    return Layers(found, silent=dict(found.silent), network=name)


@lru_cache(maxsize=16)
def _layers_of(name: str, num_classes: int | None, image_size: int | None) -> Layers:
    model = skeleton(name, num_classes, image_size)
    fixed = native_size(model)
    if fixed is None:
        return _probe(model, model, name, image_size or probing_side(name, model))
    try:
        other = skeleton(name, num_classes, fixed * 2)
    except (TypeError, AssertionError, RuntimeError, ValueError):
        # a network of timm that cannot be built for another size
        return _probe(model, None, name, fixed)
    return _probe(model, other, name, fixed, second=fixed * 2)


def _probe(
    model: nn.Module, other: nn.Module | None, name: str, size: int, second: int | None = None
) -> Layers:
    """Layers of a skeleton at `size`.

    other   the network for a second size, to tell the channel axis; None: by rank alone
    """
    records, total = _trace(model, size)
    compare: list[_Record] | None = None
    if other is not None:
        compare, _ = _trace(other, second or size + PROBE_STEP)
    calls = Counter(record.name for record in records)
    seen: Counter[str] = Counter()
    layers: list[Layer] = []
    silent: dict[str, str] = {}
    for index, record in enumerate(records):
        seen[record.name] += 1
        base = record.name or OUTPUT
        label = base if calls[record.name] == 1 else f"{base}@{seen[record.name]}"
        twin = compare[index] if compare and index < len(compare) else None
        axis = _channel_axis(record.shape, twin.shape if twin else None)
        if axis is None:
            silent[label] = "its output has no channels of one picture each"
            continue
        if calls[record.name] > 1:
            silent[base] = (
                f"it runs {calls[record.name]} times; one call is "
                f"{base}@1 … {base}@{calls[record.name]}"
            )
        layers.append(
            Layer(
                name=label,
                channels=record.shape[axis],
                shape=tuple(record.shape[1:]),
                axis=axis,
                cost=record.after / total,
                kind=record.kind,
                own=(record.after - record.before) / total,
                leaf=record.leaf,
            )
        )
    for module_name, _ in model.named_modules():
        if module_name and module_name not in calls:
            silent[module_name] = (
                "it never runs as a module of its own (its parent reads its weights, "
                "or it is used in training only)"
            )
    return Layers(layers, silent=silent, network=name)


@dataclass(slots=True)
class _Record:
    """One call of one module in a probing pass; before and after count operations."""

    name: str
    kind: str
    leaf: bool
    shape: tuple[int, ...]
    before: float
    after: float


def _trace(model: nn.Module, size: int) -> tuple[list[_Record], float]:
    """Every module call of one pass through a skeleton, and the total cost (> 0)."""
    records: list[_Record] = []
    counter = _CostCounter()
    started: list[float] = []

    def before(module: nn.Module, args: Any) -> None:
        started.append(counter.total)

    def after(name: str, leaf: bool) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            begun = started.pop()
            tensor = first_tensor(output)
            shape = tuple(tensor.shape) if tensor is not None else ()
            kind = type(module).__name__
            records.append(_Record(name, kind, leaf, shape, begun, counter.total))

        return hook

    with hooks() as handles, torch.no_grad(), counter:
        for name, module in model.named_modules():
            handles.append(module.register_forward_pre_hook(before))
            leaf = next(module.children(), None) is None
            handles.append(module.register_forward_hook(after(name, leaf)))
        model(blank(model, PROBE_BATCH, size))
    return records, max(counter.total, 1.0)


class _Costs:
    """Adds up operations: matrix products and convolutions by torch's own formulas, the rest
    one a written number."""

    total = 0.0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += float(formula(*args, **kwargs, out_val=out))
        elif not getattr(func, "is_view", False) and isinstance(out, Tensor):
            self.total += out.numel()
        return out


class _CostCounter(_Costs, TorchDispatchMode):
    """The mode that does so. Where a mode has that method of its own, torch imports its compiler
    to keep it from compiling the method: 2 s."""


@contextmanager
def hooks() -> Iterator[list[Any]]:
    """A list of hook handles; all are removed at the end, whatever happens."""
    handles: list[Any] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


def first_tensor(output: Any) -> Tensor | None:
    """The tensor that a module returned: itself, or the first of a tuple, list or dict."""
    while isinstance(output, (tuple, list)) and output:
        output = output[0]
    if isinstance(output, dict):
        return first_tensor(next(iter(output.values()), None))
    return output if isinstance(output, Tensor) else None


def _channel_axis(shape: tuple[int, ...], other: tuple[int, ...] | None) -> int | None:
    """The channels' axis of an output (batch first), or None where there is none.

    other   shape of the same output for another picture size. Axes that keep their length are
            candidates: if all do (pooled outputs) or none is told apart, convolutional outputs
            have theirs second and token sequences last; if several do (windows of a fixed
            number of tokens), the last.
    """
    if len(shape) < 2 or shape[0] != PROBE_BATCH:
        return None
    axes = range(1, len(shape))
    kept = list(axes)
    if other is not None and len(other) == len(shape):
        kept = [axis for axis in axes if shape[axis] == other[axis]]
    if not kept:
        return None
    if len(kept) == len(axes):
        return len(shape) - 1 if len(shape) == 3 else 1
    return kept[-1]


def select_layers(layers: Sequence[Layer], patterns: Sequence[str]) -> list[Layer]:
    """The layers that match any of `patterns`, in the network's order, each once.

    patterns  globs ("layer3*"), regular expressions ("re:layer[34]\\.1$", matched from the
              start), plain names, or "auto": about eight blocks spread over the network's
              depth, without the head. No pattern means "auto".
              Names and globs may stand in one text, with commas between them.
    raises    UnknownLayerError for a pattern that matches nothing, with the nearest names
    """
    chosen: set[str] = set()
    for pattern in split_patterns(patterns) or ["auto"]:
        matched = _match(layers, pattern)
        if not matched:
            raise _no_match(layers, pattern)
        chosen.update(matched)
    return [layer for layer in layers if layer.name in chosen]


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """The layer of exactly that name.

    raises    UnknownLayerError with the nearest names
    """
    for layer in layers:
        if layer.name == name:
            return layer
    raise _no_match(layers, name)


def split_patterns(patterns: Sequence[str]) -> tuple[str, ...]:
    """`patterns` with lists such as "layer1,layer2" taken apart; regular expressions stay whole.

    raises    UnknownLayerError for an empty name in a list
    """
    parts: list[str] = []
    for pattern in patterns:
        if pattern.startswith("re:") or "," not in pattern:
            parts.append(pattern)
            continue
        names = [name.strip() for name in pattern.split(",")]
        if not all(names):
            raise UnknownLayerError(
                f"{plain(repr(pattern))} has an empty name between its commas.",
                hint="--layers layer1,layer2",
            )
        parts += names
    return tuple(parts)


def check_weights(network: Network, chosen: Sequence[Layer]) -> None:
    """Raise CheckpointError for a layer that needs a weight which the network's file lacks.

    The hint names the last layer that needs none of them.
    """
    if not network.lacks:
        return
    for layer in chosen:
        lacking = network.needs(layer.module, layer.call)
        if not lacking:
            continue
        told = [f"{name} {network.lacks[name]}" for name in lacking]
        fine = usable(network, list_layers(network))
        raise CheckpointError(
            f"{layer.name} of {network.name} cannot be drawn from {network.source}: {some(told)}.",
            hint=f"--layers {fine[-1].name} or one before it" if fine else "another checkpoint",
        )


def usable(network: Network, layers: Sequence[Layer]) -> list[Layer]:
    """The layers that need no weight which the network's file lacks."""
    return [layer for layer in layers if not network.needs(layer.module, layer.call)]


def _match(layers: Sequence[Layer], pattern: str) -> list[str]:
    if pattern == "auto":
        return [layer.name for layer in _spread(layers)]
    if pattern.startswith("re:"):
        try:
            expression = re.compile(pattern[3:])
        except re.error as error:
            raise UnknownLayerError(
                f"{pattern!r} is no regular expression: {error}.", hint="a glob such as 'layer3*'"
            ) from error
        return [layer.name for layer in layers if expression.match(layer.name)]
    return [layer.name for layer in layers if fnmatch.fnmatchcase(layer.name, pattern)]


def _no_match(layers: Sequence[Layer], pattern: str) -> UnknownLayerError:
    network = getattr(layers, "network", "this network")
    silent: dict[str, str] = getattr(layers, "silent", {})
    if pattern in silent:
        return UnknownLayerError(
            f"{network} has a module {pattern!r}, but no such layer: {silent[pattern]}.",
            hint=f"{pattern}@1" if "@1" in silent[pattern] else "--list-layers",
        )
    names = [layer.name for layer in layers]
    wanted = pattern[3:] if pattern.startswith("re:") else pattern
    name, _, channel = wanted.rpartition(":")
    if channel.strip().isdecimal() and _respelled(name, names):
        return UnknownLayerError(
            f"No layer of {network} matches {plain(repr(pattern))}: channels have an option of "
            "their own.",
            hint=f"--layers {_respelled(name, names)} --channels {channel.strip()}",
        )
    respelled = _respelled(wanted, names)
    near = difflib.get_close_matches(wanted.strip("*")[:200], names, 3, 0.4)
    return UnknownLayerError(
        f"No layer of {network} matches {plain(repr(pattern))}.",
        hint=respelled or (" or ".join(near) if near else "--list-layers"),
    )


def _respelled(wanted: str, names: Sequence[str]) -> str | None:
    """The layer that `wanted` means as other tools write it: `model.features[9]`, `layer4/0`."""
    dotted = re.sub(r"\[(\d+)\]", r".\1", wanted.strip()).replace("/", ".")
    for name in (dotted, dotted.removeprefix("model."), dotted.removeprefix("module.")):
        if name in names:
            return name
    return None


def _spread(layers: Sequence[Layer]) -> list[Layer]:
    """About AUTO_COUNT layers, evenly spaced in cost, that give rich textures.

    Textures need a map of some size and more than a few channels; the very first layers draw
    bare stripes and the head wants whole objects. Whole blocks are preferred to what is in them.
    """
    textured = [
        layer
        for layer in layers
        if len(layer.shape) >= 2
        and layer.channels >= 16
        and _cells(layer) >= 16
        and 0.08 <= layer.cost <= 0.95
        and layer.own > 0.001
    ]
    blocks = [layer for layer in textured if not layer.leaf and layer.own < 0.3]
    if len(blocks) < 4:
        blocks = [layer for layer in textured if layer.own < 0.5] or textured
    if not blocks:
        inner = [layer for layer in layers if layer.name != OUTPUT and layer.channels > 1]
        return (inner or list(layers))[-1:]
    chosen: dict[str, Layer] = {}
    for place in np.linspace(0.12, 0.92, AUTO_COUNT):
        # Of blocks that end at the same place the outermost, which has the shortest name.
        best = min(blocks, key=lambda b: (round(abs(b.cost - place), 3), len(b.name)))
        chosen[best.name] = best
    return [layer for layer in layers if layer.name in chosen]


def _cells(layer: Layer) -> int:
    """How many places a picture has in this layer."""
    return int(np.prod(layer.shape)) // layer.channels
