"""Running kernels as plain Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compiled import fractal_kernels, in_python


@pytest.fixture
def both() -> Callable[[str], list[Callable[..., Any]]]:
    """A kernel compiled, and as plain Python all the way down."""

    def get(name: str) -> list[Callable[..., Any]]:
        compiled = getattr(fractal_kernels, name)
        return [compiled, in_python(compiled)]

    return get
