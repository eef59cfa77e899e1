"""Elementary functions against the C library's."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fractals import elementary


@pytest.mark.parametrize("x", [*np.linspace(-7, 7, 57).tolist(), 1e-9, 300.25, -1e5])
def test_sine_and_cosine_agree_with_the_library(x: float) -> None:
    assert elementary.sine(x) == pytest.approx(math.sin(x), abs=1e-9)
    assert elementary.cosine(x) == pytest.approx(math.cos(x), abs=1e-9)


@pytest.mark.parametrize("x", [-40.0, -1.0, -1e-8, 0.0, 0.3, 1.0, 2.5, 60.0])
def test_exponential_agrees_with_the_library(x: float) -> None:
    assert elementary.exponential(x) == pytest.approx(math.exp(x), rel=1e-12)


@pytest.mark.parametrize("x", [1e-12, 0.1, 0.7, 0.99, 1.0, 1.01, 1.5, 3.0, 1e9])
def test_logarithm_agrees_with_the_library(x: float) -> None:
    assert elementary.logarithm(x) == pytest.approx(math.log(x), rel=1e-12, abs=1e-13)


def test_power_agrees_with_the_library_and_is_zero_at_zero() -> None:
    assert elementary.power(0.3, 1 / 2.4) == pytest.approx(0.3 ** (1 / 2.4), rel=1e-12)
    assert elementary.power(0.0, 2.0) == 0.0
