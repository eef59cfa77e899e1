"""What the values of options are: places, weights, lengths."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import click

from pixmix_cli.storage.remote import Url, is_url


@dataclass(frozen=True, slots=True)
class Bytes:
    """A length in bytes, where a plain number would count something else."""

    count: int


class AnyPath(click.Path):
    """A local path, as pathlib.Path, or a URL, as Url."""

    def __init__(self, **kwargs: Any) -> None:
        """As click.Path."""
        super().__init__(path_type=Path, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The place that a text names."""
        if isinstance(value, str) and is_url(value):
            return Url(value)
        return super().convert(value, param, ctx)


class LocalPath(AnyPath):
    """A local path; a URL is refused by name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path that a text names."""
        path = super().convert(value, param, ctx)
        if isinstance(path, Url):
            what = "this" if param is None else param.human_readable_name
            self.fail(f"{value} is a URL, and {what} takes local paths only", param, ctx)
        return path


class WeightedPath(click.ParamType):
    """PATH or PATH:WEIGHT as text; several in an environment variable have : between them."""

    name = "path"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Apart at every colon but those before a weight."""
        parts: list[str] = []
        for part in rv.split(os.pathsep):
            weight = part.replace(".", "", 1).isdecimal() and not os.path.exists(part)
            if parts and (weight or (part.startswith("//") and is_url(f"{parts[-1]}:{part}"))):
                parts[-1] += f":{part}"
            elif part:
                parts.append(part)
        return parts


class NameIn(click.Choice):
    """One of the names in a table, which may grow."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        """Names are looked up when they are needed."""
        self._table = table
        super().__init__([])

    @property
    def choices(self) -> tuple[str, ...]:
        """The names there are now."""
        return tuple(self._table)

    @choices.setter
    def choices(self, value: Any) -> None:
        """click.Choice sets what it was given."""


class ShardSize(click.ParamType):
    """A number of samples, or Bytes: 1000, 256MB, 1GiB."""

    name = "N|BYTES"
    _UNITS: ClassVar[dict[str, int]] = {
        **{"kb": 10**3, "mb": 10**6, "gb": 10**9},
        **{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30},
    }

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Bytes | int:
        """The number of samples, or of bytes where a unit follows."""
        if isinstance(value, (int, Bytes)):
            return value
        match = re.fullmatch(r"([0-9]{1,12}) ?([a-z]*)", str(value).strip().lower())
        number, unit = (int(match[1]), match[2]) if match else (0, "")
        if number == 0 or unit not in ("", *self._UNITS):
            self.fail(f"{value!r} is neither a number of samples nor of bytes, as 1000 or 256MB")
        return Bytes(number * self._UNITS[unit]) if unit else number
