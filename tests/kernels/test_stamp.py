"""The stamp: no kernel can be changed without it, and nothing else moves it."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from pixmix_kernels import folders, modules
from pixmix_kernels.libraries import names
from pixmix_kernels.processors import targets
from tests.conftest import ROOT, change_an_inner_kernel

PACKAGES = ("pixmix_cli", "fractals", "featvis", "pixmix_kernels")
KERNEL_MODULES = {name for family in modules.FAMILIES.values() for name in family}


def _imports(path: Path) -> set[str]:
    """Modules, and names of modules, that a file imports while it is imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module
            deeper = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if find_spec_or_none(name) else node.module for name in deeper}
    return found


def find_spec_or_none(name: str) -> object:
    """The module of that name, if it is one."""
    try:
        return find_spec(name)
    except ModuleNotFoundError:
        return None


@pytest.mark.parametrize("name", sorted(KERNEL_MODULES | set(modules.LLVM_MODULES)))
def test_machine_code_depends_on_no_file_that_the_stamp_does_not_cover(name: str) -> None:
    ours = {m for m in _imports(modules.sources()[name]) if m.split(".")[0] in PACKAGES}
    # what pixmix_kernels hands out are decorators and names of types, which the stamp covers
    allowed = KERNEL_MODULES | {"pixmix_kernels", "pixmix_kernels.arrays"}
    assert ours <= allowed


def test_every_module_with_a_kernel_is_listed() -> None:
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if "\n@kernel\n" in text or "\n@entry\n" in text:
                found.add(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert found <= KERNEL_MODULES
    assert found  # the search finds what there is


def _copy(folder: Path) -> Path:
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


def _stamp_of(root: Path) -> str:
    code = "from pixmix_kernels.modules import stamp; print(stamp())"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(root)}, cwd=root,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.process
def test_any_change_of_any_kernel_source_or_of_the_version_is_another_stamp(
    tmp_path: Path,
) -> None:
    copy = _copy(tmp_path / "copy")
    assert _stamp_of(copy) == modules.stamp()
    seen = {modules.stamp()}
    for path in modules.sources(copy).values():
        before = path.read_bytes()
        path.write_bytes(before + b"#")
        seen.add(_stamp_of(copy))
        path.write_bytes(before)
    assert len(seen) == 1 + len(modules.sources())
    package = copy / "pixmix_kernels" / "__init__.py"
    package.write_text(package.read_text().replace('__version__ = "', '__version__ = "9.'))
    assert _stamp_of(copy) not in seen
    (copy / "fractals" / "color.py").write_text("")  # no kernel is in there
    package.write_text((ROOT / "pixmix_kernels" / "__init__.py").read_text())
    assert _stamp_of(copy) == modules.stamp()


def test_the_version_stands_in_one_place() -> None:
    from importlib.metadata import version

    import pixmix_cli
    from pixmix_kernels import __version__

    assert pixmix_cli.__version__ == __version__ == version("pixmix")
    quoted = f'"{__version__}"'
    files = [ROOT / "pyproject.toml", *(p for a in PACKAGES for p in (ROOT / a).rglob("*.py"))]
    holders = [path for path in files if quoted in path.read_text(encoding="utf-8")]
    assert holders == [ROOT / "pixmix_kernels" / "__init__.py"]


@pytest.mark.process
def test_an_edited_inner_kernel_gives_other_bytes_at_the_next_run(tmp_path: Path) -> None:
    copy = _copy(tmp_path / "copy")
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PIXMIX_", "NUMBA_"))},
        "PYTHONPATH": str(copy),
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
    }

    def picture(name: str) -> tuple[bytes, str]:
        command = [sys.executable, "-m", "pixmix_cli.main", "generate-fractals", "-n", "1"]
        done = subprocess.run(
            [*command, "--size", "16", "-o", name, "--format", "folder", "--image-format", "png"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=500,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return (tmp_path / name / "000" / "000000.png").read_bytes(), done.stderr

    before, said = picture("before")
    assert "compiling" not in said  # the copy brought the library of the same sources along
    put_back = change_an_inner_kernel(copy)
    after, said = picture("after")
    assert "compiling kernels (fractals), once on this machine: about" in said
    assert after != before
    again, said = picture("again")
    assert "compiling" not in said
    assert again == after
    put_back()
    assert picture("back")[0] == before


def test_the_checkout_has_the_library_that_these_tests_are_about() -> None:
    # `make test` builds it; otherwise some tests here would test less than they say
    for target in targets():
        for family in modules.FAMILIES:
            assert (folders.packaged() / names(target, family)[0]).exists(), "run: make kernels"
