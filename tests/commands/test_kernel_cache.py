"""A read-only install still compiles its kernels."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pixmix_cli import kernel_cache
from tests.conftest import ROOT, environment


def test_a_place_that_is_set_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/somewhere")
    kernel_cache.choose()
    assert os.environ["NUMBA_CACHE_DIR"] == "/somewhere"


def test_a_writable_install_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    kernel_cache.choose()
    assert "NUMBA_CACHE_DIR" not in os.environ


def test_without_any_place_a_private_folder_is_made_and_a_strangers_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    kernel_cache.choose()
    own = Path(os.environ["NUMBA_CACHE_DIR"])
    assert own.parent == tmp_path
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    own.chmod(0o777)  # as if somebody else had made it for us
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    kernel_cache.choose()
    assert Path(os.environ["NUMBA_CACHE_DIR"]) != own


def test_numba_comes_without_scipys_blas_which_can_be_imported_afterwards() -> None:
    script = (
        "import sys; from pixmix_cli import kernel_cache; kernel_cache.import_numba();"
        "print('scipy.linalg' in sys.modules, 'numba.np.arraymath' in sys.modules);"
        "import scipy.linalg.cython_blas"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.split()) == (0, ["False", "True"])


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A temporary folder that other users may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.skipif(not shutil.which("setpriv") or os.getuid() != 0, reason="needs another user")
def test_a_read_only_install_without_a_home_generates_fractals(public_folder: Path) -> None:
    install = public_folder / "install"
    for name in ("pixmix_cli", "fractals"):
        shutil.copytree(
            ROOT / name, install / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?")
        )
    out = public_folder / "out"
    out.mkdir()
    out.chmod(0o777)
    command = [sys.executable, "-m", "pixmix_cli.main", "generate-fractals"]
    command += ["-n", "1", "--size", "16", "-j", "1", "-o", str(out / "o")]
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", *command],
        env={**environment(), "PYTHONPATH": str(install), "HOME": "/nonexistent"},
        cwd=install,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Permission denied" in done.stderr and "pixmix" not in done.stderr:
        pytest.skip("another user cannot run this interpreter")
    assert done.returncode == 0, done.stderr
