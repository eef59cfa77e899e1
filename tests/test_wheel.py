"""The wheel holds all it needs and runs outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("pixmix_cli", "fractals", "featvis")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?")
        )
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode and "setuptools" in built.stderr and "No matching" in built.stderr:
        pytest.skip("no package registry to take setuptools from")
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("pixmix-*.whl")
    return path


def test_the_wheel_holds_the_packages_their_types_and_the_weights_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    for name in PACKAGES:
        assert f"{name}/py.typed" in names
    assert "featvis/weights/fractals-squeezenet1_1.safetensors" in names


def test_the_installed_wheel_runs_elsewhere(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    script = place / "bin" / "pixmix"
    environment = {**os.environ, "PYTHONPATH": str(place)}
    for arguments in (
        ["--version"],
        ["generate-fractals", "-n", "2", "--size", "16", "-o", "o", "-j", "2"],
        ["verify", "o"],
    ):
        done = subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    program = "import pixmix_cli, fractals, featvis; print(pixmix_cli.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert found.stdout.startswith(str(place))
