"""A kernel gives the same bytes whichever way it runs, and errors where none can."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pixmix_cli.mixing.batch import BatchMixer
from pixmix_cli.mixing.config import OPERATIONS, PRESETS
from pixmix_cli.mixing.draws import draw
from pixmix_cli.mixing.mixer import Mixer
from pixmix_kernels import processors
from tests.conftest import KERNEL_CACHE, ROOT, Run, one_line_error, tree

pytestmark = pytest.mark.process

GOLDEN = (ROOT / "tests" / "golden" / "kernels.txt").read_text().split()


def mixed() -> str:
    """The hash of pictures that between them use every mixing kernel."""
    digest = hashlib.sha256()
    y, x, c = np.mgrid[0:60, 0:80, 0:3]
    picture = ((x * 3 + y * 5 + c * 40 + (x * y) % 17) % 256).astype(np.uint8)
    mixing = ((x * 7 + y * 11 + c * 90) % 256).astype(np.uint8)[:40, :44]
    for number, operation in enumerate(OPERATIONS):
        config = replace(PRESETS["imagenet"], size=24, all_ops=True, operations=(operation,))
        mixer = Mixer(config)
        for seed in range(8):
            rng = np.random.default_rng(100 * number + seed)
            draws = draw(config, rng, picture.shape[:2], 1)
            digest.update(mixer.sample(draws, picture, mixing).tobytes())
    config = replace(PRESETS["cifar"], severity=3)
    squares = np.stack([picture[i : i + 32, i : i + 32] for i in range(4)])
    keys = [bytes([i] * 16) for i in range(40)]
    which = np.arange(len(keys)) % len(squares)
    made = BatchMixer(config, 1)(keys, squares, which, lambda i: (i, mixing))
    digest.update(made.pixels.tobytes())
    return digest.hexdigest()


def fractal() -> str:
    """The hash of an affine fractal and a flame, made of few points."""
    from fractals import FractalConfig, generate_fractal

    digest = hashlib.sha256()
    for kind, seed in (("affine", 1), ("flame", 3)):
        config = FractalConfig(kind, size=16, points_per_pixel=1.0)
        digest.update(generate_fractal(config, np.random.default_rng(seed)).pixels.tobytes())
    return digest.hexdigest()


WAYS = [
    *({"PIXMIX_KERNELS": target} for target in processors.targets()),
    {"PIXMIX_KERNELS": "numba", "NUMBA_CACHE_DIR": str(KERNEL_CACHE)},
    {"NUMBA_DISABLE_JIT": "1"},
    {"NUMBA_CPU_NAME": "generic"},
    {"NUMBA_NUM_THREADS": "0"},
]


@pytest.mark.parametrize("environment", WAYS, ids=lambda e: "-".join(map("=".join, e.items()))[:40])
def test_every_way_gives_the_golden_bytes(environment: dict[str, str]) -> None:
    code = "from tests.kernels.test_ways import fractal, mixed; print(mixed(), fractal())"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIXMIX_", "NUMBA_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, "PYTHONPATH": str(ROOT), **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == GOLDEN


def test_the_commands_make_the_same_files_by_plain_python(
    pixmix: Run, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    for name, way in (("library", {}), ("python", {"NUMBA_DISABLE_JIT": "1"})):
        done = pixmix(
            "bake", photos, "--mixing-set", mixing, "-o", tmp_path / name, "--size", 12,
            "--copies", 1, "-j", 1, "--quiet", env=way,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "library") == tree(tmp_path / "python")


def test_a_name_that_is_none_of_the_ways_is_one_line(pixmix: Run, tmp_path: Path) -> None:
    done = pixmix("generate-fractals", "-n", 1, "-o", tmp_path / "o", env={"PIXMIX_KERNELS": "gpu"})
    assert done.returncode == 1
    assert "PIXMIX_KERNELS=gpu is none of auto, library," in one_line_error(done.stderr)


def test_a_numba_that_cannot_be_loaded_is_one_line(pixmix: Run, tmp_path: Path) -> None:
    done = pixmix(
        "generate-fractals", "-n", 1, "--size", 16, "-o", tmp_path / "o",
        env={"PIXMIX_KERNELS": "numba", "NUMBA_NUM_THREADS": "0"},
    )  # fmt: skip
    assert done.returncode == 1
    line = one_line_error(done.stderr)
    assert line.startswith("pixmix generate-fractals: Numba cannot be loaded: Number of threads")
    assert line.endswith("(docs/errors.md#kernels)")


def test_plain_python_is_said(pixmix: Run, photos: Path, mixing: Path, tmp_path: Path) -> None:
    done = pixmix(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", "--size", 8, "-j", 1,
        env={"NUMBA_DISABLE_JIT": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "kernels run as plain Python" in done.stderr


def test_code_that_this_processor_cannot_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from pixmix_kernels import ways
    from pixmix_kernels.errors import KernelError

    monkeypatch.setenv("PIXMIX_KERNELS", "x86-64-v3")
    monkeypatch.setattr(processors, "targets", lambda: ("x86-64",))
    with pytest.raises(KernelError, match="does not run such code"):
        ways.allowed()


@pytest.mark.parametrize(
    ("flags", "machine", "expected"),
    [
        (processors._V3_FLAGS | {"sse"}, "x86_64", ("x86-64-v3", "x86-64")),
        (processors._V3_FLAGS - {"fma"}, "x86_64", ("x86-64",)),
        (processors._V3_FLAGS - {"avx2"}, "AMD64", ("x86-64",)),
        (set(), "x86_64", ("x86-64",)),
        (set(), "aarch64", ("aarch64",)),
        (set(), "", ("unknown",)),
    ],
)
def test_a_processor_gets_code_that_it_can_run(
    flags: set[str], machine: str, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processors, "_flags", lambda: flags)
    monkeypatch.setattr(processors.platform, "machine", lambda: machine)
    monkeypatch.delenv("NUMBA_CPU_NAME", raising=False)
    processors.targets.cache_clear()
    try:
        assert processors.targets() == expected
    finally:
        monkeypatch.undo()
        processors.targets.cache_clear()


def test_without_any_library_numba_compiles_what_is_called(tmp_path: Path) -> None:
    """The builder is broken here: entries still run, by Numba."""
    code = (
        "import subprocess, sys\nfrom pixmix_kernels import folders, libraries, ways\n"
        f"folders.PACKAGED = folders.Path({str(tmp_path)!r})\n"
        "libraries.build = lambda *a: subprocess.CompletedProcess([], 1, '', 'broken')\n"
        "said = []\nways.tell(said.append, said.append)\n"
        "import numpy as np\nfrom PIL import Image\n"
        "from pixmix_cli.mixing.resize import Resizer, by_pillow\n"
        "from pixmix_cli.mixing.compiled import philox\n"
        "out = np.zeros((1, 4))\n"
        "philox.fill_uniforms(np.zeros((1, 2), np.uint64), 0, np.empty(8, np.uint64), out)\n"
        "key = np.random.Philox(key=0)\n"
        "assert (out[0] == np.random.Generator(key).random(4)).all()\n"
        # this one calls kernels of three other modules
        "noise = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)\n"
        "made = Resizer(16).by_kernel(noise, (1, 2, 48, 36), True)\n"
        "assert (made == by_pillow(noise, (1, 2, 48, 36), 16, True)).all()\n"
        "print(ways.settled('mixing').name, *said, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    way, compiling, why = done.stdout.strip().split("|")
    assert way == "numba"
    assert compiling.startswith("compiling kernels (mixing), once on this machine")
    assert why == "kernels: mixing could not be compiled beforehand: broken"


def test_copies_call_each_other_and_leave_the_first_modules_alone() -> None:
    from pixmix_cli.mixing.compiled import augment, resize, vectors
    from pixmix_kernels import copies

    plain = copies("python", "mixing")
    names = {name.rpartition(".")[2]: module for name, module in plain.items()}
    assert names["resize"].vectors is names["vectors"]
    assert names["augment"].vectors is names["vectors"]
    assert names["vectors"] is not vectors
    from pixmix_cli.mixing.compiled import vectors as again

    assert again is vectors
    assert resize.vectors is augment.vectors is vectors
    assert sys.modules["pixmix_cli.mixing.compiled.vectors"] is vectors
