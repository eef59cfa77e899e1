"""Random 512 px fractals on disk: generate-fractals against flam3, on one core, in one run.

    python -m benchmarks.fractals [--count 60] [--flam3-count 12]

flam3 (Debian's flam3-utils) makes a random genome (`flam3-genome`) and renders it (`flam3-render`)
at 512 px with 8 points a pixel and no density estimation; skipped where it is not installed. CPU
seconds of the child processes, start-up included. Prints a JSON record.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numba
import numpy as np
import PIL

ROOT = Path(__file__).resolve().parent.parent


def cpu_seconds(command: list[str], **options: object) -> float:
    """CPU seconds of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ours(folder: Path, count: int, image_format: str) -> float:
    """CPU seconds a picture."""
    command = [sys.executable, "-m", "pixmix_cli.main", "generate-fractals", "-n", str(count)]
    command += ["-j", "1", "--image-format", image_format, "-qq", "-o", str(folder)]
    return cpu_seconds(command, cwd=ROOT) / count


def flam3(folder: Path, count: int) -> float:
    """CPU seconds a picture, genome and render, PNG."""
    folder.mkdir()
    seconds = 0.0
    for seed in range(count):
        genome = folder / f"{seed}.flam3"
        settings = {**os.environ, "seed": str(seed + 1), "nthreads": "1"}
        with genome.open("wb") as file:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                ["flam3-genome"],
                check=True,
                stdout=file,
                stderr=subprocess.DEVNULL,
                env=settings,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds += after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        text = genome.read_text(encoding="utf-8")
        for name, value in (
            ("size", "512 512"),
            ("quality", "8"),
            ("supersample", "1"),
            ("estimator_radius", "0"),
        ):
            text = re.sub(rf'\b{name}="[^"]*"', f'{name}="{value}"', text)
        genome.write_text(text, encoding="utf-8")
        out = folder / f"{seed}.png"
        with genome.open("rb") as file:
            seconds += cpu_seconds(
                ["flam3-render"], stdin=file, env={**settings, "out": str(out), "format": "png"}
            )
        if not out.exists():
            raise SystemExit("flam3-render wrote no picture")
    return seconds / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--flam3-count", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        ours(tmp / "warm", 2, "jpeg")
        seconds = {
            "generate-fractals, JPEG": ours(tmp / "jpeg", arguments.count, "jpeg"),
            "generate-fractals, PNG": ours(tmp / "png", arguments.count, "png"),
        }
        if shutil.which("flam3-genome") and shutil.which("flam3-render"):
            seconds["flam3, PNG"] = flam3(tmp / "flam3", arguments.flam3_count)
    record = {
        "cpu_ms_a_picture": {case: round(1000 * value, 1) for case, value in seconds.items()},
        "n": {"generate-fractals": arguments.count, "flam3": arguments.flam3_count},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "pillow": PIL.__version__,
        },
    }
    if "flam3, PNG" in seconds:
        peer = seconds["flam3, PNG"]
        record["ratio to flam3"] = {
            case: round(peer / value, 1) for case, value in seconds.items() if case[0] != "f"
        }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
