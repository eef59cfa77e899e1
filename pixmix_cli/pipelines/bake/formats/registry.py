"""The layouts that a baked set can have: the one list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixmix_cli.tables import Table

if TYPE_CHECKING:
    from pixmix_cli.outputs.run_plan import Manifest
    from pixmix_cli.pipelines.bake.formats.base import Format

_HERE = "pixmix_cli.pipelines.bake.formats"

FORMATS: Table[Format[Any]] = Table(
    {
        "webdataset": f"{_HERE}.webdataset:FORMAT",
        "imagefolder": f"{_HERE}.imagefolder:FORMAT",
        "npy": f"{_HERE}.npy:FORMAT",
        "parquet": f"{_HERE}.parquet:FORMAT",
    }
)


def format_of(manifest: Manifest) -> Format[Any] | None:
    """The layout that a manifest.json or plan.json of a baked set names; None when unknown."""
    return FORMATS.get(str(manifest["options"].get("format")))


def names_with(attribute: str) -> str:
    """The layouts that have a property, as words: "webdataset or parquet"."""
    return " or ".join(name for name in FORMATS if getattr(FORMATS[name], attribute))
