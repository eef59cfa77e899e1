"""What a pipeline yields while it works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixmix_cli.outputs.run_plan import FractalTotals


@dataclass(frozen=True, slots=True)
class Step:
    """A piece of finished, committed work.

    items    how many items (pictures) it moves the progress on
    records  artefacts to tell the user of, each with "path"
    summary  the whole output's totals, in the last step only; of a part that is not the last one
             to end its own
    waits    in the last step of such a part: why the output is not finished
    bytes    how much was written
    shards   how many shards were finished
    errors   how many items were skipped
    """

    items: int
    records: tuple[dict[str, Any], ...] = field(default=())
    summary: Mapping[str, int] | FractalTotals | None = None
    bytes: int = 0
    shards: int = 0
    errors: int = 0
    waits: str | None = None
