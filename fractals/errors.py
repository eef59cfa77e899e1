"""Errors of this package.

    ValueError
    └── FractalError      a setting or a recipe that cannot be rendered

Messages are one line: what is wrong, where, and what to do about it.
"""

from __future__ import annotations

__all__ = ["FractalError"]


class FractalError(ValueError):
    """A setting or a recipe that cannot be rendered; says what, where and how to mend it."""
