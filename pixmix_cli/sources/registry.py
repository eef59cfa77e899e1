"""The kinds of datasets that can be read: the one list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixmix_cli.tables import Table

if TYPE_CHECKING:
    from pixmix_cli.sources.kind import Kind

_HERE = "pixmix_cli.sources"

# From the last to the first they are asked whether a SOURCE is theirs: the first takes most.
KINDS: Table[Kind] = Table(
    {
        "imagefolder": f"{_HERE}.imagefolder:KIND",
        "webdataset": f"{_HERE}.webdataset:KIND",
        "numpy": f"{_HERE}.numpy_arrays:KIND",
        "parquet": f"{_HERE}.parquet:KIND",
        "cifar": f"{_HERE}.cifar:KIND",
        "list": f"{_HERE}.lists:KIND",
    }
)
