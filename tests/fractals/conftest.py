"""Running kernels as plain Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from fractals import kernels


@contextmanager
def _plain() -> Iterator[None]:
    compiled = {name: value for name, value in vars(kernels).items() if hasattr(value, "py_func")}
    try:
        for name, value in compiled.items():
            setattr(kernels, name, value.py_func)
        # NumPy's scalars warn where the processor's unsigned integers just wrap around
        with np.errstate(all="ignore"):
            yield
    finally:
        for name, value in compiled.items():
            setattr(kernels, name, value)


@pytest.fixture
def both() -> Callable[[str], list[Callable[..., Any]]]:
    """A kernel compiled, and as plain Python all the way down.

    A compiled function called from Python returns float64 for float32, so a kernel's .py_func is
    itself only if the functions it calls are plain too.
    """

    def get(name: str) -> list[Callable[..., Any]]:
        compiled = getattr(kernels, name)

        def plain(*arguments: Any) -> Any:
            with _plain():
                return compiled.py_func(*arguments)

        return [compiled, plain]

    return get
