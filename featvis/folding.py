"""Batch normalisation folded into the convolution before it.

A frozen network's batch normalisation only scales and shifts, which the convolution's weights
can do at no cost. Names stay: the normalisation's place is taken by an identity, so every module
but the folded convolutions gives the output that it gave before, up to rounding.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from featvis.architectures import blank


def foldable_pairs(skeleton: nn.Module, side: int) -> dict[str, str]:
    """Convolutions whose only reader is a batch normalisation: name -> the normalisation's.

    skeleton  the network in eval mode, of names and shapes
    side      of a picture that it takes
    """
    names = {module: name for name, module in skeleton.named_modules()}
    if not any(type(module) is nn.BatchNorm2d for module in names):
        return {}
    readers = _Readers()
    calls: Counter[nn.Module] = Counter()
    made: dict[int, tuple[nn.Module, Tensor]] = {}  # id of an output -> its convolution, itself
    pairs: list[tuple[nn.Module, nn.Module, Tensor]] = []

    def after_convolution(module: nn.Module, args: Any, output: Tensor) -> None:
        calls[module] += 1
        made[id(output)] = (module, output)

    def before_normalisation(module: nn.Module, args: Any) -> None:
        calls[module] += 1
        if id(args[0]) in made:
            pairs.append((made[id(args[0])][0], module, args[0]))

    handles = []
    for module in names:
        if type(module) is nn.Conv2d:
            handles.append(module.register_forward_hook(after_convolution))
        elif type(module) is nn.BatchNorm2d and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(before_normalisation))
    try:
        with torch.no_grad(), readers:
            skeleton(blank(skeleton, 1, side))
    finally:
        for handle in handles:
            handle.remove()
    return {
        names[convolution]: names[normalisation]
        for convolution, normalisation, output in pairs
        if calls[convolution] == calls[normalisation] == 1 and readers.count[id(output)] == 1
    }


class _Readers(TorchFunctionMode):
    """Counts for every tensor the functions that make tensors from it."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[int] = Counter()
        self._alive: list[Any] = []  # so that no id is used twice

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, (Tensor, tuple, list)) and not isinstance(result, torch.Size):
            self._alive.append((args, kwargs, result))
            self.count.update({id(tensor) for tensor in _tensors((args, kwargs or {}))})
        return result


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, (tuple, list)):
        return [tensor for value in values for tensor in _tensors(value)]
    return []


def fold(model: nn.Module, pairs: dict[str, str]) -> nn.Module:
    """A copy of `model`, in eval mode, with the pairs of `foldable_pairs` folded."""
    folded = copy.deepcopy(model)
    for convolution, normalisation in pairs.items():
        before, after = folded.get_submodule(convolution), folded.get_submodule(normalisation)
        assert isinstance(before, nn.Conv2d)
        assert isinstance(after, nn.BatchNorm2d)
        fused = fuse_conv_bn_eval(before, after)
        _replace(folded, convolution, fused)
        _replace(folded, normalisation, nn.Identity())
    return folded.eval().requires_grad_(False)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)
