"""The simulation behind docs/scale.md."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scale import MACHINE, World, simulate, works

STEADY = World(spread=0.0, hours_between_failures=1e12)


def run(units, cores, world=STEADY, shared=False):
    return simulate(units, 10.0, cores, world, np.random.default_rng(0), shared)


@pytest.mark.parametrize("shared", [True, False])
def test_steady_equal_workers_share_the_work_exactly(shared):
    assert run(100, 1, shared=shared) == pytest.approx(1000)
    assert run(64 * 16 * 3, 16 * MACHINE, shared=shared) == pytest.approx(30)


def test_fewer_units_than_cores_leave_cores_idle():
    assert run(10, 1024) == pytest.approx(10)


def test_unequal_machines_cost_less_with_one_queue():
    uneven = World(spread=0.3, hours_between_failures=1e12)
    assert run(20_000, 1024, uneven, shared=True) < run(20_000, 1024, uneven)


def test_failures_cost_time_and_no_unit():
    failing = World(spread=0.0, hours_between_failures=0.05)
    assert run(5000, 64, STEADY) < run(5000, 64, failing) < 10 * run(5000, 64, STEADY)


def test_jobs_follow_from_the_plans_that_dry_run_prints():
    few = {
        "estimated_seconds": 2.0, "estimated_bytes": 1000, "pictures": 100, "done_already": 0,
        "copies": 8,
    }  # fmt: skip
    many = {**few, "estimated_seconds": 1.0, "copies": 100}
    jobs = works([few, many], {**few, "estimated_seconds": 4.0})
    assert [job.pictures for job in jobs[:2]] == [1_281_167 * 90, 14_197_122 * 8]
    assert jobs[0].seconds == pytest.approx(0.01 * jobs[0].pictures)
    assert jobs[1].seconds == pytest.approx(0.02 * jobs[1].pictures)
    assert jobs[-1].size == pytest.approx(10 * 100_000_000)
