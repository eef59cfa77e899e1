"""Tables of what can be read and written: lazy, and in step with what they hold."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from pixmix_cli.pipelines.bake.formats.registry import FORMATS, names_with
from pixmix_cli.sources.registry import KINDS
from pixmix_cli.tables import Table


@pytest.mark.parametrize("table", [FORMATS, KINDS], ids=["formats", "kinds"])
def test_names_in_a_table_are_those_of_what_it_holds(table: Table[Any]) -> None:
    assert {name: table[name].name for name in table} == {name: name for name in table}


def test_names_are_listed_without_importing_what_they_stand_for() -> None:
    code = (
        "import sys\n"
        "from pixmix_cli.pipelines.bake.formats.registry import FORMATS\n"
        "from pixmix_cli.pipelines.mixing_sets.registry import SET_FORMATS\n"
        "from pixmix_cli.sources.registry import KINDS\n"
        "assert 'npy' in FORMATS and 'folder' in SET_FORMATS and len(KINDS) == 6\n"
        "assert not {'numpy', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_a_key_error_and_may_be_asked_for() -> None:
    table: Table[int] = Table({"pi": "math:pi"})
    assert "e" not in table
    assert table.get("e") is None
    with pytest.raises(KeyError):
        table["e"]
    table["e"] = 3
    assert dict(table) == {"pi": pytest.approx(3.14159), "e": 3}
    del table["e"]
    assert list(table) == ["pi"]


def test_layouts_with_a_property_are_named_in_words() -> None:
    assert names_with("sharded") == "webdataset or parquet"
    assert names_with("dali_index") == "webdataset"
