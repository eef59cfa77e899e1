"""Tables of named things, such as the layouts of an output, that are imported when asked for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from importlib import import_module
from typing import TypeVar, cast

T = TypeVar("T")


class Table(MutableMapping[str, T]):
    """Name -> thing. Text "module:name" stands for a thing that is not imported yet.

    So --help, which lists the names, imports neither NumPy nor Pillow.
    """

    def __init__(self, places: dict[str, str]) -> None:
        """Where each thing is."""
        self._found: dict[str, T | str] = dict(places)

    def __getitem__(self, name: str) -> T:
        """The thing of this name. Raises KeyError."""
        found = self._found[name]
        if isinstance(found, str):
            module, _, attribute = found.partition(":")
            found = self._found[name] = cast(T, getattr(import_module(module), attribute))
        return found

    def __setitem__(self, name: str, thing: T) -> None:
        """Add a thing, or put another in its place."""
        self._found[name] = thing

    def __delitem__(self, name: str) -> None:
        """Take a thing out. Raises KeyError."""
        del self._found[name]

    def __iter__(self) -> Iterator[str]:
        """The names, without importing anything."""
        return iter(self._found)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._found)

    def __contains__(self, name: object) -> bool:
        """Whether there is a thing of this name, without importing it."""
        return name in self._found
