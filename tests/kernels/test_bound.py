"""An entry with its arguments settled beforehand."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from pixmix_cli.mixing.compiled import philox as by_library
from pixmix_kernels import bound, copies
from tests.compiled import philox as by_numba


def module_of(way: str) -> ModuleType:
    if way == "python":
        return copies("python", "mixing")["pixmix_cli.mixing.compiled.philox"]
    return by_library if way == "library" else by_numba


@pytest.mark.parametrize("way", ["library", "numba", "python"])
def test_each_call_reads_what_the_arrays_hold_by_then(way: str) -> None:
    module = module_of(way)
    keys, stream = np.zeros((1, 2), np.uint64), np.empty(module.STREAM, np.uint64)
    out = np.empty((1, 8))
    fill = bound(module.fill_uniforms, keys, 0, stream, out)
    for key in (1, 2):
        keys[0, 0] = key
        fill()
        expected = np.random.Generator(np.random.Philox(key=key)).random(8)
        np.testing.assert_array_equal(out[0], expected)


def test_arguments_are_checked_when_they_are_settled() -> None:
    wrong = np.zeros((1, 2), np.int64)
    with pytest.raises(TypeError, match="keys takes C-contiguous uint64"):
        bound(by_library.fill_uniforms, wrong, 0, np.empty(9, np.uint64), np.empty((1, 8)))


def test_the_arrays_live_as_long_as_the_call() -> None:
    keys = np.ones((1, 2), np.uint64)
    out = np.empty((1, 8))
    fill = bound(by_library.fill_uniforms, keys, 0, np.empty(by_library.STREAM, np.uint64), out)
    del keys
    np.empty(1 << 16).fill(7)  # would take freed memory
    fill()
    assert 0 <= out.min() <= out.max() < 1
