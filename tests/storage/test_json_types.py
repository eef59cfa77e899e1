"""Values from JSON are of the types they are said to be, or named by their field."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import pytest

from pixmix_cli.storage.json_types import checked
from tests.conftest import environment


class Input(TypedDict):
    path: str | list[str]
    pictures: int


class Inputs(TypedDict, total=False):
    SOURCE: Input


@dataclass(frozen=True)
class Thing:
    count: int
    share: float
    inputs: Inputs
    names: list[str] = field(default_factory=list)
    split: str | None = None


GOOD: dict[str, Any] = {
    "count": 3, "share": 1, "inputs": {"SOURCE": {"path": ["b"], "pictures": 1}}
}  # fmt: skip


def test_a_dataclass_is_made_of_the_fields_it_has() -> None:
    thing = checked(Thing, {**GOOD, "later": 1})
    assert (thing.count, thing.share, thing.names, thing.split) == (3, 1, [], None)
    assert thing.inputs["SOURCE"]["path"] == ["b"]


def test_a_name_that_is_not_utf8_comes_through() -> None:
    assert checked(Thing, {**GOOD, "split": "\udcff"}).split == "\udcff"


@pytest.mark.parametrize("name", ["count", "share", "inputs"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} is missing$"):
        checked(Thing, {k: v for k, v in GOOD.items() if k != name})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": "3"}, "count: expected int, got str"),
        ({"count": True}, "count: expected int, got bool"),
        ({"count": 3.5}, "count: expected int, got float"),
        ({"share": None}, "share: expected float, got null"),
        ({"inputs": []}, "inputs: expected object, got array"),
        ({"inputs": {"SOURCE": 5}}, "inputs.SOURCE: expected object, got int"),
        ({"inputs": {"SOURCE": {"path": "a"}}}, "inputs.SOURCE.pictures is missing"),
        (
            {"inputs": {"SOURCE": {"path": [1], "pictures": 1}}},
            "inputs.SOURCE.path[0]: expected str, got int",
        ),
        ({"names": [None]}, "names[0]: expected str, got null"),
        ({"split": 4}, "split: expected str | null, got int"),
    ],
)
def test_a_value_of_another_type_is_named(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (compared below)
        checked(Thing, {**GOOD, **change})
    assert str(caught.value) == said


@pytest.mark.parametrize(("value", "kind"), [(None, "null"), (5, "int"), ([], "array")])
def test_something_else_than_an_object_is_refused(value: object, kind: str) -> None:
    with pytest.raises(ValueError, match=f"^expected object, got {kind}$"):
        checked(Thing, value)


def test_a_run_that_reads_nothing_back_does_not_load_msgspec(tmp_path: Path) -> None:
    words = ["generate-fractals", "-n1", "--size", "32", "-j1", "-qq", "-o", str(tmp_path / "o")]
    program = (
        f"import sys; from pixmix_cli.main import run; assert run({words}) == 0;"
        "assert 'msgspec' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, env=environment(), stdout=subprocess.DEVNULL
    )
