"""Where a run writes, and what it may do with what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixmix_cli.errors import OutputExistsError
from pixmix_cli.outputs.destination import STDOUT, Destination
from pixmix_cli.outputs.output import open_output
from pixmix_cli.outputs.part import Part
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.storage.remote import Url

PLAN = RunPlan("bake", {}, {}, {})


def test_an_output_elsewhere_is_named_as_its_user_did() -> None:
    url = Url("memory://out")
    assert Destination(Path("mirror"), url).place == url
    assert Destination(Path("out")).place == Path("out")


def test_only_a_dash_is_a_stream() -> None:
    assert Destination(STDOUT).is_stream
    assert not Destination(Path("-/out")).is_stream


def test_a_part_goes_on_with_what_is_there_as_a_resumed_run_does(tmp_path: Path) -> None:
    with open_output(Destination(tmp_path / "o"), PLAN):
        pass
    for goes_on in ({"resume": True}, {"part": Part(0, 2)}):
        destination = Destination(tmp_path / "o", **goes_on)
        assert destination.goes_on
        assert destination.check(PLAN).status == "unfinished"
    with pytest.raises(OutputExistsError):
        Destination(tmp_path / "o").check(PLAN)
