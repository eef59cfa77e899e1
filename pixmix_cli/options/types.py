"""What the values of options are: places, weights, lengths."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from pixmix_cli.storage.remote import Url, is_url
from pixmix_cli.units import Bytes, read_size


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


class Factor(click.FloatRange):
    """A number within bounds, which nan is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number that a text names; 0.0 for -0.0, which settings would record as another."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number + 0.0


class OneOf(click.Choice):
    """click.Choice, with the nearest name for a slip."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name. Raises click.BadParameter, with a guess where one is near."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            meant = nearest(str(value), [str(name) for name in self.choices])
            if meant is None:
                raise
            self.fail(f"{error.message.rstrip('.')}. Did you mean {meant}?", param, ctx)


def nearest(text: str, names: Sequence[str]) -> str | None:
    """The name that a slip most likely meant: one spelt alike, or shortened, as wds is."""
    text = text.lower()
    for name in difflib.get_close_matches(text, names, n=1):
        return name
    letters = [name for name in names if len(text) > 1 and _shortens(text, name)]
    return letters[0] if len(letters) == 1 else None


def _shortens(text: str, name: str) -> bool:
    """Whether a text begins as a name does, and has letters of it in their order."""
    left = iter(name)
    return text[0] == name[0] and all(letter in left for letter in text)


class NameIn(OneOf):
    """One of the names in a table, which may grow, or of some before them."""

    def __init__(self, table: Mapping[str, Any], *before: str) -> None:
        """Names are looked up when they are needed."""
        self._table = table
        self._before = before
        super().__init__([])

    @property
    def choices(self) -> tuple[str, ...]:
        """The names there are now."""
        return (*self._before, *self._table)

    @choices.setter
    def choices(self, value: Any) -> None:
        """click.Choice sets what it was given."""


class ShardSize(click.ParamType):
    """A number of samples, or Bytes: 1000, 256MB, 1GiB."""

    name = "N|BYTES"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Bytes | int:
        """The number of samples, or of bytes where a unit follows."""
        if isinstance(value, (int, Bytes)):
            return value
        try:
            return read_size(str(value))
        except ValueError as error:
            self.fail(str(error))
