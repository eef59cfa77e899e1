"""Which weights a network has read by the time that a layer is reached."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from featvis.architectures import blank


@dataclass(frozen=True)
class Uses:
    """The order of one pass, in operations counted from 1.

    read  name of a parameter or buffer -> the operation that reads it first; the rest is not read
    done  (module, call) -> the last operation before that call of the module ends
    """

    read: dict[str, int] = field(default_factory=dict)
    done: dict[tuple[str, int], int] = field(default_factory=dict)

    def needed(self, module: str, call: int) -> set[str]:
        """Names of what has been read when that call of the module ends."""
        end = self.done.get((module, call), 0)
        return {name for name, place in self.read.items() if place <= end}


def uses_of(model: nn.Module, side: int) -> Uses:
    """How a network reads its weights.

    model  in eval mode, of names and shapes
    side   of a picture that it takes
    """
    names = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
    uses = Uses()
    calls: Counter[str] = Counter()
    watcher = _Watcher(names, uses)
    handles = []

    def ends(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            calls[name] += 1
            uses.done[name, calls[name]] = watcher.count

        return hook

    for name, module in model.named_modules():
        handles.append(module.register_forward_hook(ends(name)))
    try:
        with torch.no_grad(), watcher:
            model(blank(model, 1, side))
    finally:
        for handle in handles:
            handle.remove()
    return uses


class _Reads:
    """Counts operations, and notes which reads a weight first."""

    def __init__(self, names: dict[int, str], uses: Uses) -> None:
        super().__init__()
        self._names = names
        self._uses = uses
        self.count = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.count += 1
        self._note((*args, *(kwargs or {}).values()))
        return func(*args, **(kwargs or {}))

    def _note(self, values: Any) -> None:
        for value in values:
            if isinstance(value, (list, tuple)):
                self._note(value)
            elif isinstance(value, Tensor) and id(value) in self._names:
                self._uses.read.setdefault(self._names[id(value)], self.count)


class _Watcher(_Reads, TorchDispatchMode):
    """The mode that does so; apart from the method, as in `layers.py`."""
