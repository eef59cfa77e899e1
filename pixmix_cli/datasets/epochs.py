"""An epoch's number that every worker of a DataLoader sees, also one that is at work already."""

from __future__ import annotations

import numbers
from typing import Any

import torch

from pixmix_cli.errors import InputError

LAST = 2**63  # the numbers that a tensor's element can be end before it


class Epoch:
    """A number in memory that is shared with the workers, however they were started."""

    def __init__(self, number: int = 0) -> None:
        """Begin at an epoch."""
        self._shared = torch.tensor([number]).share_memory_()

    @property
    def number(self) -> int:
        """The epoch that was set last."""
        return int(self._shared[0])

    def set(self, number: int) -> None:
        """Go to an epoch, in every process. Raises InputError when there is none such."""
        whole = isinstance(number, numbers.Integral) and not isinstance(number, bool)
        if not whole or not 0 <= number < LAST:
            raise InputError(f"an epoch is a whole number from 0 on, not {number!r}")
        self._shared[0] = int(number)

    def __getstate__(self) -> Any:
        """The memory itself, which torch's own pickling shares and any other copies."""
        return self._shared

    def __setstate__(self, state: Any) -> None:
        """Share it, or the copy of it."""
        self._shared = state if state.is_shared() else state.share_memory_()
