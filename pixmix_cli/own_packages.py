"""Are the top-level packages that pixmix brings the ones that Python finds under their names?

`fractals` and `featvis` are names that others use, too: another distribution can overwrite them,
and a folder of PYTHONPATH can hide them. Nothing of what is found is run.
"""

from __future__ import annotations

import importlib.util
import os

NAMES = ("fractals", "featvis", "pixmix_kernels")
MARK = b'__distribution__ = "pixmix"'  # a line of each one's __init__.py
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # where all should be

REINSTALL = "pip install --force-reinstall --no-deps pixmix"


def trouble() -> tuple[str, str] | None:
    """What is wrong with the first package that is not ours, and what mends it."""
    for name in NAMES:
        own = os.path.join(ROOT, name, "__init__.py")
        found = _found(name)
        if found is None:
            return f"{own} is missing: pixmix's own package {name} is not whole", REINSTALL
        if found != own and not _same(found, own):
            return (
                f"{found} hides pixmix's own package {name} ({os.path.dirname(own)})",
                "another name for it, or its folder away from PYTHONPATH; "
                f"pip uninstall {name}, where pip put it there",
            )
        if not _is_marked(own):
            return (
                f"{own} is not pixmix's: another distribution has overwritten it",
                f"pip uninstall {name}, then {REINSTALL}",
            )
    return None


def _found(name: str) -> str | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.has_location:  # a folder without __init__.py has no place
        return None
    return spec.origin


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _is_marked(path: str) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib takes longer than all of this)
            return MARK in file.read()
    except OSError:  # in an archive: nobody else writes there
        return True
