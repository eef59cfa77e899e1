"""A record of draws in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pixmix_cli.mixing.config import OPERATIONS, PRESETS
from pixmix_cli.mixing.draws import draw
from pixmix_cli.pipelines.report.sections import in_words


def test_every_operation_is_told_with_the_weights_that_it_has() -> None:
    config = replace(PRESETS["imagenet"], operations=OPERATIONS)
    rng = np.random.default_rng(0)
    told = "; ".join(in_words(draw(config, rng, (64, 64), 5).to_json()) for _ in range(200))
    for operation in OPERATIONS:
        assert operation in told
    steps = [step for step in told.split("; ") if " with " in step]
    weighted = [step for step in steps if " a=" in step]
    assert all(("add" in step or "multiply" in step) <= (" a=" in step) for step in steps)
    assert 0 < len(weighted) < len(steps)
