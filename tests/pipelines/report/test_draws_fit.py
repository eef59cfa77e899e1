"""The tests of fit that a report shows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pixmix_cli.mixing.config import OPERATIONS, PRESETS
from pixmix_cli.mixing.draws import DrawsJson, draw
from pixmix_cli.pipelines.report.draws_fit import DOUBTFUL, Fit, chi_square_tail, fits_of


@pytest.mark.parametrize(
    ("statistic", "freedom", "probability"),
    [  # printed tables of the chi-square distribution
        (3.841459, 1, 0.05),
        (10.827566, 1, 0.001),
        (5.991465, 2, 0.05),
        (9.487729, 4, 0.05),
        (18.307038, 10, 0.05),
        (36.190869, 19, 0.01),
        (0.0, 3, 1.0),
    ],
)
def test_the_tail_of_chi_square_agrees_with_printed_tables(
    statistic: float, freedom: int, probability: float
) -> None:
    assert chi_square_tail(statistic, freedom) == pytest.approx(probability, rel=1e-5)


def records(beta: float, k: int, all_ops: bool, n: int = 4000) -> list[DrawsJson]:
    config = replace(PRESETS["cifar"], beta=beta, k=k, all_ops=all_ops)
    rng = np.random.default_rng(5)
    return [draw(config, rng, (32, 32), 10).to_json() for _ in range(n)]


def fits(draws: list[DrawsJson], beta: float, k: int, all_ops: bool) -> dict[str, Fit]:
    found = fits_of(draws, {"k": k, "beta": beta, "all-ops": all_ops})
    return {fit.title.split(",")[0]: fit for fit in found}


@pytest.mark.parametrize(("beta", "k", "all_ops"), [(3.0, 4, True), (4.0, 2, False)])
def test_our_own_draws_are_as_prescribed(beta: float, k: int, all_ops: bool) -> None:
    found = fits(records(beta, k, all_ops), beta, k, all_ops)
    assert len(found) == 8
    for fit in found.values():
        assert fit.p is not None
        assert fit.p > DOUBTFUL, fit.title
        assert fit.verdict == "as prescribed"
        assert math.isclose(sum(fit.expected), 1)
    assert sum(found["rounds"].counts) == 4000


def test_draws_of_another_recipe_differ() -> None:
    draws = records(3.0, 4, True)
    assert fits(draws, 6.0, 4, True)["weight a"].verdict == "differs from the recipe"
    assert fits(draws, 6.0, 4, True)["weight b"].verdict == "differs from the recipe"
    assert fits(draws, 3.0, 2, True)["rounds"].verdict == "differs from the recipe"
    assert fits(draws, 3.0, 4, False)["augmentation"].verdict == "differs from the recipe"
    for record in draws:
        for step in record["rounds"]:
            step["operation"] = "add"
    assert fits(draws, 3.0, 4, True)["operation"].verdict == "differs from the recipe"


def test_a_handful_of_draws_is_too_few_to_test() -> None:
    assert fits(records(3.0, 4, True, n=3), 3.0, 4, True)["rounds"].verdict == "too few to test"


def test_draws_with_every_operation_are_as_prescribed() -> None:
    config = replace(PRESETS["cifar"], operations=OPERATIONS)
    rng = np.random.Generator(np.random.Philox(key=4))
    draws = [draw(config, rng, (32, 32), 50).to_json() for _ in range(4000)]
    options = {"k": 4, "beta": 3.0, "all-ops": True, "operations": list(OPERATIONS)}
    for fit in fits_of(draws, options):
        assert fit.verdict == "as prescribed", fit.title
