"""What commands import, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pixmix_cli.outputs.run_plan import RunPlan
from tests.conftest import Cli, command_line, environment

pytestmark = pytest.mark.process

SHIPPED = ["render-featvis", "--weights", "fractals"]
SMALL = ["-n", 2, "--size", 32, "--steps", 2, "-j", 1]
RANDOM = ["render-featvis", "--model", "resnet18", "--weights", "random", *SMALL]


def quiet_environment(**extra: str) -> dict[str, str]:
    """Without what this process's own import of torchvision has set."""
    kept = environment(**extra)
    kept.pop("TORCHINDUCTOR_CACHE_DIR", None)
    return kept


def imported(*arguments: object, code: int = 0) -> set[str]:
    """Which of the large libraries a command line imports."""
    program = (
        "import json, sys; from pixmix_cli.main import run; code = run(sys.argv[1:]);"
        "large = ['numba', 'numpy', 'torch', 'torch._dynamo', 'torchvision'];"
        "print('\\n' + json.dumps([code, [name for name in large if name in sys.modules]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, env=quiet_environment(), text=True, check=False,
    )  # fmt: skip
    found, names = json.loads(done.stdout.splitlines()[-1])
    assert found == code, done.stderr
    return set(names)


def test_a_bake_imports_neither_torch_nor_numba(photos: Path, mixing: Path, tmp_path: Path) -> None:
    line = ["bake", photos, "--mixing-set", mixing, "--size", 32, "-j", 1, "-o", tmp_path / "o"]
    assert imported(*line) == {"numpy"}


@pytest.mark.torch
@pytest.mark.parametrize(
    "rest", [SMALL, [*SMALL, "--dry-run"], ["--list-layers"]], ids=["run", "dry-run", "layers"]
)
def test_the_network_that_comes_with_pixmix_needs_no_torchvision(
    tmp_path: Path, rest: list[object]
) -> None:
    found = imported(*SHIPPED, "-o", tmp_path / "o", *rest)
    assert found == {"numpy", "torch"}


@pytest.mark.parametrize(
    "slip", [["-n", 1], ["--weights", "fractals", "--size", 1]], ids=["no model", "size"]
)
def test_a_slip_of_the_hand_is_told_before_torch_is_imported(
    tmp_path: Path, slip: list[object]
) -> None:
    assert "torch" not in imported("render-featvis", *slip, "-o", tmp_path / "o", code=2)


@pytest.mark.torch
@pytest.mark.parametrize(
    "line", [RANDOM, [*RANDOM, "-j", 2], ["doctor"]], ids=["one worker", "two workers", "doctor"]
)
def test_no_folder_of_torchs_compiler_stays_in_the_temporary_folder(
    tmp_path: Path, line: list[object]
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    output = [] if line == ["doctor"] else ["-o", tmp_path / "o"]
    done = subprocess.run(
        command_line([*line, *output]), capture_output=True, check=False, text=True,
        env=quiet_environment(TMPDIR=str(temporary)),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)  # doctor may miss something here
    assert os.listdir(temporary) == []


@pytest.mark.torch
def test_an_output_that_recorded_torchvision_for_our_own_network_is_gone_on_with(
    cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    assert cli(*SHIPPED, *SMALL, "-o", out)[0] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert "torchvision" not in manifest["versions"]
    manifest["versions"]["torchvision"] = "0.21.0"
    manifest["settings_sha256"] = RunPlan.from_manifest(manifest).settings_sha256()
    (out / "manifest.json").write_text(json.dumps(manifest))
    more = [*SMALL[:1], 3, *SMALL[2:]]
    assert cli(*SHIPPED, *more, "-o", out, "--resume")[0] == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["summary"]["pictures"] == 3
    assert manifest["versions"]["torchvision"] == "0.21.0"
