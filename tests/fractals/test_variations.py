"""Every variation of the kernel against its formula in the paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractals.kernels import variations
from fractals.variations import VARIATIONS
from tests.compiled import fractal_kernels as kernels
from tests.naive import fractals_oracles as naive

F = np.float32
Both = Callable[[str], list[Callable[..., Any]]]
AFFINE = [0.7, -0.4, 0.6, 0.3, 0.8, -0.5]
PARAMETERS = {
    "blob": [1.2, 0.3, 5.0],
    "pdj": [1.1, -0.7, 2.0, 0.4],
    "perspective": [0.7, 2.5],
    "julian": [3.0, 0.9],
    "juliascope": [-4.0, 1.1],
    "curl": [0.4, -0.3],
    "rectangles": [0.4, 0.7],
}
RANDOM = {"julia": 2, "julian": 3, "juliascope": 8}


def _points(n: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    return rng.uniform(-1.9, 1.9, n).astype(F), rng.uniform(-1.9, 1.9, n).astype(F)


def _run(name: str, weight: float = 1.0, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    x, y = _points()
    px, py = np.zeros_like(x), np.zeros_like(y)
    p = [F(v) for v in VARIATIONS[name].packed(PARAMETERS.get(name, []), AFFINE)]
    number = np.int32(VARIATIONS[name].number)
    scratch = np.empty((2, len(x)), F)
    apply: Any = kernels.apply_variation  # Numba's types know no starred arguments
    apply(number, x, y, px, py, F(weight), *p, np.uint32(seed), *scratch)
    return px, py


def test_there_are_at_least_twenty_variations() -> None:
    assert len(VARIATIONS) >= 20


def test_every_variation_may_be_drawn() -> None:
    assert list(VARIATIONS) == variations.ORDER


@pytest.mark.parametrize("name", [n for n in VARIATIONS if n not in RANDOM])
def test_variation_is_its_formula(name: str) -> None:
    x, y = (v.astype(float) for v in _points())
    ex, ey = naive.variation(name, x, y, AFFINE, PARAMETERS.get(name, []))
    px, py = _run(name)
    error = np.hypot(px - ex, py - ey) / (1.0 + np.hypot(ex, ey))
    # float32 may fall on the other side of an edge, and blows up near poles: few points only
    assert np.quantile(error, 0.98) < 3e-4
    assert np.quantile(error, 0.5) < 2e-5


@pytest.mark.parametrize("name", list(RANDOM))
def test_variation_with_a_random_branch_takes_each_equally(name: str) -> None:
    x, y = (v.astype(float) for v in _points())
    p = PARAMETERS.get(name, [])
    px, py = _run(name)
    branches: list[object] = list(range(RANDOM[name]))
    if name == "juliascope":
        branches = [(sign, k) for sign in (0, 1) for k in range(4)]
    errors = np.array(
        [
            np.hypot(px - ex, py - ey) / (1.0 + np.hypot(ex, ey))
            for ex, ey in (naive.variation(name, x, y, AFFINE, p, b) for b in branches)
        ]
    )
    assert np.quantile(errors.min(axis=0), 0.98) < 3e-4
    counts = np.bincount(errors.argmin(axis=0), minlength=len(branches))
    assert counts == pytest.approx(np.full(len(branches), 4000 / len(branches)), rel=0.15)


def test_weight_scales_and_results_are_added() -> None:
    full = np.array(_run("swirl"))
    half = np.array(_run("swirl", 0.5))
    assert half == pytest.approx(full / 2, abs=1e-6)


@pytest.mark.parametrize("name", list(VARIATIONS))
def test_compiled_variation_equals_plain_python_to_the_bit(both: Both, name: str) -> None:
    x, y = (v[:40] for v in _points())
    x[0], y[0] = F(0), F(0)  # poles too
    p = [F(v) for v in VARIATIONS[name].packed(PARAMETERS.get(name, []), AFFINE)]
    number = np.int32(VARIATIONS[name].number)
    results = []
    for apply in both("apply_variation"):
        px, py = np.zeros_like(x), np.zeros_like(y)
        apply(number, x, y, px, py, F(0.7), *p, np.uint32(3), *np.empty((2, len(x)), F))
        results.append((px, py))
    assert np.array_equal(results[0][0], results[1][0], equal_nan=True)
    assert np.array_equal(results[0][1], results[1][1], equal_nan=True)
