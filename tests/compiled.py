"""Kernel modules that Numba compiles function by function.

Commands run a library in which only entries can be called; tests of a single kernel ask for these
copies. What they compiled is kept in build/kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pixmix_kernels import copies

with pytest.MonkeyPatch.context() as _patch:
    from tests.conftest import KERNEL_CACHE

    _patch.setenv("NUMBA_CACHE_DIR", str(KERNEL_CACHE))
    _modules: dict[str, ModuleType] = copies("numba")

fractal_kernels = SimpleNamespace()  # the names of all of them
for _name, _module in _modules.items():
    if _name.startswith("fractals."):
        vars(fractal_kernels).update(vars(_module))
augment_kernels = _modules["pixmix_cli.mixing.compiled.augment"]
batch_kernels = _modules["pixmix_cli.mixing.compiled.batch"]
kernels = _modules["pixmix_cli.mixing.compiled.mix"]
lookups = _modules["pixmix_cli.mixing.compiled.lookups"]
philox = _modules["pixmix_cli.mixing.compiled.philox"]
powers = _modules["pixmix_cli.mixing.compiled.powers"]
resize_kernels = _modules["pixmix_cli.mixing.compiled.resize"]
sample_kernels = _modules["pixmix_cli.mixing.compiled.sample"]
vectors = _modules["pixmix_cli.mixing.compiled.vectors"]

_plain: dict[str, ModuleType] = copies("python")


def in_python(kernel: Any) -> Callable[..., Any]:
    """A compiled kernel as plain Python, all the way down."""
    function = getattr(_plain[kernel.__module__], kernel.__name__)

    def call(*arguments: Any) -> Any:
        # NumPy's scalars warn where the processor's unsigned integers just wrap around
        with np.errstate(all="ignore"):
            return function(*arguments)

    return call
