"""Building and loading the toy family, each in a process that knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT

KNOWS = "import pixmix_kernels.modules as m; m.FAMILIES['toy'] = ('tests.kernels.toy',); "

Python = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Run Python code that knows of the toy family, with a cache of its own."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PIXMIX_"))}
        cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", KNOWS + code],
            env={**kept, **cache, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


def build_toy(python: Python, folder: Path, targets: str, **environment: str) -> None:
    """Build the toy family into a folder."""
    folder.mkdir(exist_ok=True)
    arguments = json.dumps([str(folder), "toy", targets])
    done = python(
        f"from pixmix_kernels.build import main; import sys; sys.exit(main({arguments}))",
        NUMBA_OPT="0", PIXMIX_KERNELS="build", **environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
