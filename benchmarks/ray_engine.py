"""What --engine ray costs beside the processes of one machine: the same bake by both, in turn.

    python -m benchmarks.ray_engine [--pictures 2000] [--rounds 3]

Prints JSON: wall seconds of each whole command, and of the part after the engine had started (the
command's own "(… s, …/s)" line), medians, and their ratios.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SIDE = 64


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--shard-size", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rng = np.random.default_rng(0)
        small = rng.integers(0, 256, (asked.pictures, 8, 8, 3), dtype=np.uint8)
        pictures = small.repeat(SIDE // 8, 1).repeat(SIDE // 8, 2)
        np.savez(root / "x.npz", images=pictures, labels=np.arange(asked.pictures) % 10)
        _run("generate-fractals", "-n", 100, "--size", 128, "-o", root / "mixing")
        times: dict[str, list[tuple[float, float]]] = {"local": [], "ray": []}
        for _ in range(asked.rounds):
            for engine, found in times.items():
                found.append(_bake(root, engine, asked))
        sums = {
            name: {
                "whole_s": round(statistics.median(t[0] for t in found), 2),
                "at_work_s": round(statistics.median(t[1] for t in found), 2),
            }
            for name, found in times.items()
        }
        ratios = {key: round(sums["ray"][key] / sums["local"][key], 2) for key in sums["local"]}
        told = {"pictures": asked.pictures, "shards": -(-asked.pictures // asked.shard_size)}
        print(json.dumps({**told, **vars(asked), **sums, "ray / local": ratios}, indent=1))


def _bake(root: Path, engine: str, asked: argparse.Namespace) -> tuple[float, float]:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    begin = time.monotonic()
    told = _run(
        *("bake", root / "x.npz", "--mixing-set", root / "mixing", "--size", SIDE, "-o", out),
        *("--shard-size", asked.shard_size, "-j", asked.workers, "--engine", engine),
    )
    whole = time.monotonic() - begin
    match = re.search(r"\(([0-9.]+) s, [0-9.]+/s\)", told)
    assert match is not None, told
    return whole, float(match[1])


def _run(*arguments: object) -> str:
    line = [sys.executable, "-m", "pixmix_cli.main", *map(str, arguments), "-q"]
    return subprocess.run(line, check=True, capture_output=True, text=True).stderr


if __name__ == "__main__":
    main()
