"""The wheel holds all it needs and runs outside the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pixmix_kernels.__main__ import shipped
from pixmix_kernels.modules import FAMILIES, stamp
from tests.conftest import ROOT, change_an_inner_kernel

pytestmark = pytest.mark.process

PACKAGES = ("pixmix_cli", "fractals", "featvis", "pixmix_kernels")


def copied_sources(folder: Path) -> Path:
    """What a wheel is built from, with the compiled kernels that this checkout has."""
    for name in (*PACKAGES, "build_tools"):
        shutil.copytree(
            ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.nb?")
        )
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def built(source: Path, out: Path, **environment: str) -> Path:
    """The wheel of a folder of sources."""
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(out), str(source)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode and "setuptools" in done.stderr and "No matching" in done.stderr:
        pytest.skip("no package registry to take setuptools from")
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("pixmix-*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the sources."""
    source = copied_sources(tmp_path_factory.mktemp("source"))
    return built(source, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_the_packages_their_types_and_the_weights_only(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    for name in PACKAGES:
        assert f"{name}/py.typed" in names
    assert "featvis/__init__.pyi" in names  # read at run time
    assert "featvis/weights/fractals-squeezenet1_1.safetensors" in names
    templates = ROOT / "pixmix_cli" / "pipelines" / "report" / "templates"
    assert {path.relative_to(ROOT).as_posix() for path in templates.iterdir()} <= set(names)


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


def test_the_wheel_brings_compiled_kernels_for_its_platform(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for target in shipped():
        for family in FAMILIES:
            assert f"pixmix_kernels/lib/{stamp()}/{target}.{family}.json" in names
    assert len({name.split("/")[2] for name in names if "/lib/" in name}) == 1
    assert wheel.name.startswith("pixmix-")
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")


def test_a_newer_wheel_over_an_older_one_runs_its_own_inner_kernels(
    wheel: Path, tmp_path: Path
) -> None:
    source = copied_sources(tmp_path / "source")
    change_an_inner_kernel(source)
    # without libraries: what the first wheel left lies there to be taken by mistake
    newer = built(source, tmp_path / "newer", PIXMIX_WHEEL="plain")
    assert newer.name.endswith("-none-any.whl")
    place, made = tmp_path / "site", []
    for number, one in enumerate((wheel, newer)):
        install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
        subprocess.run(
            [*install, str(place), "--upgrade", str(one)], check=True, capture_output=True
        )
        done = subprocess.run(
            [
                sys.executable, "-m", "pixmix_cli.main", "generate-fractals", "-n", "1", "--size",
                "16", "-o", str(number), "--image-format", "png",
            ],
            env={**os.environ, "PYTHONPATH": str(place), "NUMBA_CACHE_DIR": str(tmp_path / "c")},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("compiling kernels" in done.stderr) == (number == 1)
        made.append((tmp_path / str(number) / "000" / "000000.png").read_bytes())
    assert made[0] != made[1]
