"""Running a network as far as one layer, and gradients through ReLUs that are switched off."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from featvis.errors import UnknownLayerError
from featvis.layers import Layer, first_tensor, hooks

REMEMBERED = 16  # ReLUs looked back on: an Inception block joins at most six


class Tap:
    """Runs `model` up to one call of one module and hands out its output.

    Nothing behind the layer runs, so nothing can overwrite the output in place. Made by
    `tapped`, which removes the hook whatever happens.
    """

    def __init__(self, model: nn.Module, layer: Layer) -> None:
        self._model = model
        self._layer = layer
        self._calls = 0
        self._output: Tensor | None = None

    def __call__(self, views: Tensor, *, revive: bool = False) -> tuple[Tensor, Tensor]:
        """The layer's output for a batch, with the gradient's way back to `views`.

        views    (n, 3, h, w) float, normalised
        revive   let switched-off ReLUs pass gradients that would switch them on
        returns  the module's tensor, and the same as it was before the ReLU that it ends in
                 (the very same object where it ends in none)
        raises   UnknownLayerError if the layer did not run
        """
        self._calls = 0
        with Rectifiers(revive) as rectifiers, suppress(_Reached):
            self._model(views)
        output, self._output = self._output, None
        if output is None:
            raise UnknownLayerError(
                f"{self._layer.name} did not run for this input.", hint="--list-layers"
            )
        return output, rectifiers.before(output)

    def hook(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the layer's module: keeps the output and stops the pass."""
        self._calls += 1
        if self._calls == self._layer.call:
            self._output = first_tensor(output)
            raise _Reached


class _Reached(Exception):
    """Unwinds the forward pass."""


@contextmanager
def tapped(model: nn.Module, layer: Layer) -> Iterator[Tap]:
    """A `Tap` on `layer`; the model is left without hooks of ours."""
    tap = Tap(model, layer)
    with hooks() as handles:
        handles.append(model.get_submodule(layer.module).register_forward_hook(tap.hook))
        yield tap


class Rectifiers(TorchFunctionMode):
    """Watches the ReLU and ReLU6 calls of one forward pass.

    A channel behind a ReLU often starts dead: the start noise makes it positive nowhere, so no
    gradient says how to. With `revive` a ReLU that would pass a picture no gradient at all
    passes what would switch it on (after lucid's "redirected ReLU gradients", Olah, Mordvintsev
    & Schubert 2017). In any case `before` gives the output of a layer that ends in a ReLU, or
    in several put side by side, as it was before them, which has a gradient everywhere.

    `F.relu(x, inplace=True)`, which is what nn.ReLU(inplace=True) calls, leaves x alone here
    and returns a new tensor; functions that exist only to change their tensor do change it.
    """

    def __init__(self, revive: bool) -> None:
        super().__init__()
        self._revive = revive
        # Of the latest ReLUs: id of the output -> output, and how to make what it was before.
        self._latest: OrderedDict[int, tuple[Tensor, Callable[[], Tensor]]] = OrderedDict()

    def before(self, output: Tensor) -> Tensor:
        """What went into the ReLUs that `output` comes out of, else `output` itself."""
        source = self._source(output)
        result = output if source is None else source()
        self._latest.clear()
        return result

    def _source(self, output: Any) -> Callable[[], Tensor] | None:
        known = self._latest.get(id(output))
        return known[1] if known is not None and known[0] is output else None

    def _remember(self, output: Tensor, source: Callable[[], Tensor]) -> None:
        self._latest[id(output)] = (output, source)
        if len(self._latest) > REMEMBERED:
            self._latest.popitem(last=False)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _JOINS:
            return self._join(func, args, kwargs)
        limits = _LIMITS.get(func)
        if limits is None:
            return func(*args, **kwargs)
        low, high = limits(*args, **kwargs)
        tensor: Tensor = args[0] if args else kwargs["input"]
        if func in _IN_PLACE:
            source = tensor.clone()
            result = tensor.copy_(self._rectify(source, low, high))
        else:
            source = tensor
            result = self._rectify(source, low, high)
        self._remember(result, lambda: source)
        return result

    def _join(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        result: Tensor = func(*args, **kwargs)
        parts = args[0] if args else kwargs.get("tensors", ())
        sources = [self._source(part) for part in parts]
        known = [source for source in sources if source is not None]
        if known and len(known) == len(sources):
            axis = args[1] if len(args) > 1 else kwargs.get("dim", 0)
            self._remember(result, lambda: torch.cat([source() for source in known], axis))
        return result

    def _rectify(self, tensor: Tensor, low: float, high: float) -> Tensor:
        if self._revive:
            revived: Tensor = _Revived.apply(tensor, low, high)
            return revived
        return F.relu(tensor) if (low, high) == (0.0, math.inf) else tensor.clamp(low, high)


class _Revived(torch.autograd.Function):
    """Clamps like ReLU; a picture that would get no gradient back gets one that wakes it.

    Whoever calls minimises, so below the range it is the negative gradients, which raise the
    input, and above the range the positive ones.
    """

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, low: float, high: float) -> Tensor:
        ctx.bounded = high < math.inf
        masks = [tensor <= low] + ([tensor >= high] if ctx.bounded else [])
        ctx.save_for_backward(*masks)
        return tensor.clamp(low, high if ctx.bounded else None)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        masks = ctx.saved_tensors
        off = masks[0] | masks[1] if ctx.bounded else masks[0]
        passed = gradient.masked_fill(off, 0)
        dead = (passed == 0).flatten(1).all(1)
        # Nearly always nothing is dead. On a GPU, though, asking would wait for all work so far.
        if not gradient.is_cuda and not dead.any():
            return passed, None, None
        waking = torch.where(masks[0], gradient.clamp(max=0), gradient.clamp(min=0))
        dead = dead.view(-1, *[1] * (gradient.ndim - 1))
        return torch.where(dead, waking, passed), None, None


def _relu_limits(*args: Any, **kwargs: Any) -> tuple[float, float]:
    return 0.0, math.inf


def _relu6_limits(*args: Any, **kwargs: Any) -> tuple[float, float]:
    return 0.0, 6.0


def _hardtanh_limits(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> tuple[float, float]:
    return float(min_val), float(max_val)


_LIMITS: dict[Any, Callable[..., tuple[float, float]]] = {
    F.relu: _relu_limits,
    torch.relu: _relu_limits,
    torch.relu_: _relu_limits,
    Tensor.relu: _relu_limits,
    Tensor.relu_: _relu_limits,
    F.relu6: _relu6_limits,
    F.hardtanh: _hardtanh_limits,
    F.hardtanh_: _hardtanh_limits,
}
_JOINS = {torch.cat, torch.concat, torch.concatenate}
_IN_PLACE = {torch.relu_, Tensor.relu_, F.hardtanh_}
