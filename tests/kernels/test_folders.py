"""Where compiled kernels are kept: ours alone, whole, and never in the way."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pixmix_kernels import folders, jit, modules, processors
from tests.conftest import ROOT
from tests.kernels.conftest import KNOWS, Python, build_toy

TARGET = processors.targets()[-1]


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's cache folder, in which nothing is yet."""
    for name in ("NUMBA_CACHE_DIR", "PIXMIX_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(folders.tempfile, "gettempdir", lambda: str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir(mode=0o777)
    return tmp_path / "home" / "pixmix" / "kernels"


def test_the_folder_is_named_after_sources_numba_and_llvmlite(base: Path) -> None:
    import llvmlite
    import numba

    made = folders.cache(make=True)
    assert made == base / f"{modules.stamp()}-{numba.__version__}-{llvmlite.__version__}"
    assert made.stat().st_mode & 0o777 == 0o700
    assert folders.cache(make=False) == made


def test_asking_makes_nothing(base: Path) -> None:
    assert folders.cache(make=False) is None
    assert not base.exists()


@pytest.mark.parametrize("variable", ["NUMBA_CACHE_DIR", "PIXMIX_CACHE_DIR"])
def test_a_folder_that_is_named_is_used(
    base: Path, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "named"))
    made = folders.cache(make=True)
    assert made is not None
    assert made.is_relative_to(tmp_path / "named")


def test_a_home_that_cannot_be_written_leads_to_a_private_folder(
    base: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").write_text("a file where the cache would be")
    made = folders.cache(make=True)
    assert made is not None
    assert made.parent == tmp_path / "tmp" / f"pixmix-kernels-{os.getuid()}"


@pytest.mark.parametrize("which", ["folder", "above"])
@pytest.mark.parametrize("fault", ["others may write", "a link", "another's"])
def test_a_folder_that_others_could_write_is_never_used(
    base: Path, which: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = folders.cache(make=True)
    assert made is not None
    place = made if which == "folder" else made.parent
    if fault == "others may write":
        place.chmod(0o777)
    elif fault == "a link":
        place.rename(tmp_path / "elsewhere")
        place.symlink_to(tmp_path / "elsewhere")
    else:
        if os.getuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(place, 12345, 12345)
    assert folders.cache(make=False) is None
    second = folders.cache(make=True)
    assert second is not None
    assert second.parent == tmp_path / "tmp" / f"pixmix-kernels-{os.getuid()}"


def test_nowhere_to_write_is_no_error(base: Path, tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    (tmp_path / "tmp").rmdir()
    (tmp_path / "tmp").write_text("")
    assert folders.cache(make=True) is None


def test_older_stamps_go_except_the_last_used(base: Path) -> None:
    base.mkdir(parents=True)
    for age in range(6):
        (base / f"old{age}").mkdir()
        os.utime(base / f"old{age}", (1e9 - age, 1e9 - age))
    made = folders.cache(make=True)
    assert made is not None
    assert sorted(path.name for path in base.iterdir()) == sorted([made.name, "old0", "old1"])


@pytest.mark.process
def test_two_processes_on_a_cold_cache_compile_once_and_both_run(
    python: Python, tmp_path: Path
) -> None:
    build_toy(python, tmp_path / "made", TARGET)
    code = KNOWS + (
        "import shutil, subprocess, time, numpy as np\n"
        "from pathlib import Path\nfrom pixmix_kernels import folders, libraries, ways\n"
        "folders.PACKAGED = Path('none')\nlibraries.SECONDS['toy'] = 2\n"
        "def build(families, targets, folder):\n"
        "    with open('built', 'a') as file: file.write('x')\n"
        "    time.sleep(1.5)\n"
        "    for path in Path('made').iterdir(): shutil.copy(path, folder)\n"
        "    return subprocess.CompletedProcess([], 0, '', '')\n"
        "libraries.build = build\n"
        "from tests.kernels import toy\nout = np.zeros(3)\ntoy.fill(4.0, out)\nprint(out.sum())"
    )
    environment = {
        **os.environ, "PIXMIX_KERNELS": TARGET, "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }  # fmt: skip
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for _ in range(3)
    ]  # fmt: skip
    said = [process.communicate(timeout=120) for process in running]
    assert [out.strip() for out, _ in said] == ["12.0"] * 3, said
    assert (tmp_path / "built").read_text() == "x"
    assert sum("compiling kernels (toy)" in err for _, err in said) == 1


NUMBA_RUN = """
import numpy as np
from tests.kernels import toy
out = np.zeros(3)
toy.fill(4.0, out)
print(out.sum(), sum(toy.fill.stats.cache_hits.values()))
"""


@pytest.mark.process
def test_numbas_own_cache_lies_below_the_stamp_and_a_damaged_file_is_made_again(
    python: Python, tmp_path: Path
) -> None:
    def run() -> list[str]:
        done = python(NUMBA_RUN, PIXMIX_KERNELS="numba")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        return done.stdout.split()

    assert run() == ["12.0", "0"]
    assert run() == ["12.0", "1"]
    files = [p for p in (tmp_path / "cache").rglob("*") if p.suffix in (".nbi", ".nbc")]
    assert len(files) == 2
    stamp = python("print(m.stamp())").stdout.strip()
    assert all(stamp in str(path) for path in files)
    for suffix in (".nbi", ".nbc"):
        for damage in (b"", b"\x80\x04", b"nonsense " * 50):
            path = next(p for p in (tmp_path / "cache").rglob(f"*{suffix}"))
            path.write_bytes(damage)
            assert run() == ["12.0", "0"]
            assert run() == ["12.0", "1"]


def test_a_users_own_numba_functions_keep_their_cache_where_it_was(tmp_path: Path) -> None:
    numba = pytest.importorskip("numba")
    before = numba.config.CACHE_DIR
    jit.compiled(lambda x: x, {"nogil": True})
    assert before == numba.config.CACHE_DIR


@pytest.mark.process
def test_a_library_in_the_package_needs_no_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "file")}
    for name in ("NUMBA_CACHE_DIR", "PIXMIX_CACHE_DIR", "XDG_CACHE_HOME", "PIXMIX_KERNELS"):
        environment.pop(name, None)
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", "from pixmix_kernels import prepare; print(prepare('mixing'))"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == processors.targets()[0], done.stderr
    assert done.stderr == ""
    assert time.monotonic() - begin < 20  # it compiled nothing
