"""The build backend: setuptools, and a wheel that holds compiled kernels.

Numba is asked for only where a wheel is built. An editable install takes seconds; `make` builds its
kernels afterwards, and says so.
"""

from __future__ import annotations

from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403  # the other hooks

_NUMBA = ["numba>=0.60", "numpy>=1.26"]


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """What pip installs before `build_wheel`."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), *_NUMBA]
