"""An exception between two results: the workers end before the output is tidied up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fractals.config import FractalConfig
from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.output import Output
from pixmix_cli.pipelines.bake.job import BakeJob, Inputs, Running
from pixmix_cli.pipelines.bake.plan import plan_bake
from pixmix_cli.pipelines.bake.run import run_bake
from pixmix_cli.pipelines.mixing_sets.fractals import plan_fractals
from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob
from pixmix_cli.pipelines.mixing_sets.storing import run_set


def fractals(out, photos, mixing, engine):
    job = MixingSetJob(Destination(out), engine=engine)
    return run_set(plan_fractals(FractalConfig(size=32), 2, job))


def baked(out, photos, mixing, engine):
    config = replace(PRESETS["cifar"], size=16)
    inputs, running = Inputs(photos, (mixing,)), Running(engine=engine)
    job = BakeJob(inputs, Destination(out), config, running=running)
    return run_bake(plan_bake(job, pytest.fail))


@pytest.mark.parametrize("pipeline", [fractals, baked])
def test_the_engine_is_closed_before_the_output_is_tidied_up(
    pipeline, photos, mixing, tmp_path, monkeypatch
):
    events = []

    def engine(make_runner, context, tasks, workers, describe):
        runner = make_runner(*context)
        try:
            for task in tasks:
                yield runner(task)
        finally:
            events.append("closed")

    def interrupted(self, rows):
        raise KeyboardInterrupt

    tidy_up = Output.__exit__

    def told(self, *reason):
        events.append("tidied")
        tidy_up(self, *reason)

    monkeypatch.setattr(Output, "commit", interrupted)
    monkeypatch.setattr(Output, "__exit__", told)
    with pytest.raises(KeyboardInterrupt):
        list(pipeline(tmp_path / "out", photos, mixing, engine))
    assert events == ["closed", "tidied"]
