"""The error for a path that is not there, with the nearest one that is."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from pixmix_cli.errors import InputError
from pixmix_cli.storage.remote import AnyPath

LISTED = 10_000  # names of a folder that are looked at


def missing(what: str, path: AnyPath) -> InputError:
    """An InputError that says that a path does not exist.

    what  it stands for, with a blank behind: "SOURCE ", or ""
    """
    hint = _near(path) if isinstance(path, Path) else None
    return InputError(f"{what}{path} does not exist", hint)


def _near(path: Path) -> str | None:
    """The path with its first wrong name put right, where one resembles it; else what is there."""
    there = path
    while not there.exists() and there != there.parent:
        there, wrong = there.parent, there.name
    if there == path:
        return None
    try:
        with os.scandir(there) as entries:
            names = [entry.name for entry, _ in zip(entries, range(LISTED))]
    except OSError:
        return None
    for name in difflib.get_close_matches(wrong, names, n=1):
        mended = there / name / path.relative_to(there / wrong)
        return str(mended if mended.exists() else there / name)
    if there in (Path(), Path(".")):
        return f"a path from {os.getcwd()}, the current folder"
    return f"what is in {there}"
