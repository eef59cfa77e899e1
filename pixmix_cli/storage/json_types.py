"""Values read from JSON, checked against the types with which they are used."""

from __future__ import annotations

import re
from typing import Any, TypeVar

T = TypeVar("T")

_PLACE = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?")
_MISSING = re.compile("Object missing required field `(.*)`")


def checked(kind: type[T], value: Any, where: str = "") -> T:
    """A value from JSON as a dataclass, or shown to be of a TypedDict or other type.

    Fields beyond those of the type are left out of a dataclass or TypedDict, and are no error.

    where   the value's name, for the error message; "" for all of a file or line
    raises  ValueError: "count is missing", "inputs.SOURCE.pictures: expected int, got str"
    """
    import msgspec  # here, since a new output reads nothing back and starts without it

    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise ValueError(_in_words(str(error), where)) from None


def _in_words(message: str, prefix: str) -> str:
    """Expected `int`, got `str` - at `$.count`  ->  count: expected int, got str."""
    match = _PLACE.fullmatch(message)
    assert match is not None
    what, where = match[1], ".".join(filter(None, (prefix, match[2])))
    missing = _MISSING.fullmatch(what)
    if missing is not None:
        return f"{where}.{missing[1]} is missing".lstrip(".")
    what = what.replace("`", "")
    what = what[:1].lower() + what[1:]
    return f"{where}: {what}" if where else what
