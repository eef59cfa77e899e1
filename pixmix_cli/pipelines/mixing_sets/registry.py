"""The layouts that a mixing set can have: the one list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixmix_cli.tables import Table

if TYPE_CHECKING:
    from pixmix_cli.pipelines.mixing_sets.formats import SetFormat

_HERE = "pixmix_cli.pipelines.mixing_sets.formats"

SET_FORMATS: Table[SetFormat] = Table({"folder": f"{_HERE}:LOOSE", "webdataset": f"{_HERE}:TARS"})
