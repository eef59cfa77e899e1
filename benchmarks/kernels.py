"""What compiled kernels cost before they run, and how fast they are: libraries beside Numba.

    python -m benchmarks.kernels [--turns 3] [--build] [--against PIXMIX]

Each command runs as a process of its own, one worker, in turn: with the library; with Numba and an
empty cache, once, which is what every new machine, container and CI job paid before; with Numba and
a full one. --against names the `pixmix` of another version, which runs in turn, too, with a cache
that is kept. Times are CPU seconds, user and system, of the process and its children; medians.

Pictures are made here: 200 smooth ones of 500 x 375 with noise, and 5,000 of 32 x 32.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixmix_kernels import copies, libraries, processors
from pixmix_kernels.modules import FAMILIES

Row = dict[str, Any]


def make_inputs(folder: Path) -> None:
    """Photographs as an ImageFolder, small pictures as arrays, a mixing set."""
    rng = np.random.default_rng(0)

    def picture(height: int, width: int) -> Image.Image:
        coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        noise = rng.integers(-12, 13, smooth.shape)
        return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))

    for i in range(200):
        place = folder / "photos" / f"class{i % 4}"
        place.mkdir(parents=True, exist_ok=True)
        picture(375, 500).save(place / f"{i:03}.jpg", quality=90)
    (folder / "mixing").mkdir()
    for i in range(24):
        picture(256, 256).save(folder / "mixing" / f"{i:02}.jpg", quality=95)
    images = rng.integers(0, 256, (5000, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "small.npz", images=images, labels=np.arange(5000) % 10)


COMMANDS: dict[str, list[str]] = {
    "bake, 200 photographs, 224 px": [
        "bake", "photos", "--mixing-set", "mixing", "-o", "out", "-j", "1", "-qq",
    ],
    "bake --preset cifar --format npy, 5,000 pictures": [
        "bake", "small.npz", "--mixing-set", "mixing", "-o", "out", "--preset", "cifar",
        "--format", "npy", "-j", "1", "-qq",
    ],
    "generate-fractals -n 4 --size 512": [
        "generate-fractals", "-n", "4", "--size", "512", "-o", "out", "-j", "1", "-qq",
    ],
    "generate-fractals -n 1 --size 64": [
        "generate-fractals", "-n", "1", "--size", "64", "-o", "out", "-j", "1", "-qq",
    ],
}  # fmt: skip
FIRST = [
    "bake", "photos", "--mixing-set", "mixing", "-o", "out", "-j", "1", "-qq", "--shard-size", "1",
]  # fmt: skip


def cpu_seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """Of a process and its children, to their end."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    before = os.times()
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])


def first_artefact(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    """CPU seconds of a process until it prints its first path."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    process.stdout.readline()
    numbers = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    process.stdout.read()
    process.wait()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def commands(turns: int, against: str | None) -> list[Row]:
    """Each command by each way, in turn."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIXMIX_", "NUMBA_"))}
    here = [sys.executable, "-m", "pixmix_cli.main"]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_inputs(folder)
        root = str(Path(__file__).resolve().parent.parent)

        def environment(way: str) -> dict[str, str]:
            caches = {
                "XDG_CACHE_HOME": str(folder / f"home-{way}"),
                "HOME": str(folder / f"home-{way}"),
            }
            if way in ("library", "new home"):
                return {**kept, **caches, "PYTHONPATH": root, "PIXMIX_KERNELS": "library"}
            if way == "against":
                return {**kept, **caches, "NUMBA_CACHE_DIR": str(folder / "against")}
            return {**kept, **caches, "PYTHONPATH": root, "PIXMIX_KERNELS": "numba"}

        ways = ["new home", "library", "numba, nothing kept", "numba, kept"]
        ways += ["against"] if against else []
        for title, arguments in COMMANDS.items():
            times: dict[str, list[float]] = {way: [] for way in ways}
            for way in ways:  # once, not counted: decoded mixing pictures, kept kernels
                if way not in ("new home", "numba, nothing kept"):
                    command = [against] if way == "against" and against else here
                    cpu_seconds([*command, *arguments], folder, environment(way))
            for turn in range(turns):
                for way in ways:
                    if way == "numba, nothing kept" and turn:
                        continue  # minutes each: once
                    if way in ("new home", "numba, nothing kept"):
                        shutil.rmtree(folder / f"home-{way}", ignore_errors=True)
                    command = [against] if way == "against" and against else here
                    times[way].append(cpu_seconds([*command, *arguments], folder, environment(way)))
            row = {way: round(statistics.median(seen), 2) for way, seen in times.items()}
            rows.append({"command": title, **row})
            print(json.dumps(rows[-1]), flush=True)
        first: dict[str, list[float]] = {"library": [], "numba, kept": []}
        if against:
            first["against"] = []
        for _ in range(turns):
            for way in first:
                command = [against] if way == "against" and against else here
                first[way].append(first_artefact([*command, *FIRST], folder, environment(way)))
        row = {way: round(statistics.median(seen), 2) for way, seen in first.items()}
        rows.append({"command": "bake, from the command to its first committed picture", **row})
        print(json.dumps(rows[-1]), flush=True)
    return rows


def own_speed(turns: int) -> list[Row]:
    """The kernels themselves: the same calls through the library and through Numba, in turn."""
    from dataclasses import replace

    from pixmix_cli.mixing.config import PRESETS
    from pixmix_cli.mixing.draws import draw
    from pixmix_cli.mixing.mixer import Mixer

    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (375, 500, 3), dtype=np.uint8)
    mixing = rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)
    modules = copies("numba")
    config = replace(PRESETS["imagenet"], size=224)
    mixer = Mixer(config)
    many = [draw(config, np.random.default_rng(s), picture.shape[:2], 1) for s in range(100)]

    def mix() -> None:
        for draws in many:
            mixer.sample(draws, picture, mixing)

    from fractals import FractalConfig, generate, generate_fractal

    def fractals() -> None:
        for seed in range(12):
            generate_fractal(FractalConfig(size=256), np.random.default_rng(seed))

    from pixmix_cli.mixing import mixer as mixer_module

    def swap(scope: Any, numba: bool, kept: dict[str, Any]) -> None:
        for name, value in list(vars(scope).items()):
            plain = getattr(value, "py_func", None)
            if plain is not None and plain.__module__ in modules:
                kept.setdefault(name, value)
                other = getattr(modules[plain.__module__], plain.__name__)
                setattr(scope, name, other if numba else kept[name])

    rows = []
    for title, work, scopes in (
        ("mixing, 100 samples at 224 px", mix, [mixer_module.sample_kernels]),
        ("fractals, 12 of 256 px", fractals, [generate]),
    ):
        times: dict[bool, list[float]] = {False: [], True: []}
        kept: dict[str, Any] = {}
        for turn in range(turns + 1):
            for numba in (False, True):
                for scope in scopes:
                    swap(scope, numba, kept)
                begin = time.process_time()
                work()
                if turn:
                    times[numba].append(time.process_time() - begin)
        for scope in scopes:
            swap(scope, False, kept)
        ratio = min(times[True]) / min(times[False])
        rows.append({
            "kernels": title, "library s": round(min(times[False]), 4),
            "numba s": round(min(times[True]), 4), "numba / library": round(ratio, 3),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def set_up() -> Row:
    """All families for this processor, in processes side by side, by the clock and in CPU time."""
    with tempfile.TemporaryDirectory() as name:
        before, begin = os.times(), time.monotonic()
        from concurrent.futures import ThreadPoolExecutor

        targets = list(processors.targets()[:1])
        with ThreadPoolExecutor() as pool:
            done = list(
                pool.map(lambda f: libraries.build([f], targets, Path(name)), list(FAMILIES))
            )
        assert all(one.returncode == 0 for one in done), [one.stderr for one in done]
        after = os.times()
    row = {
        "set-up": ", ".join(targets),
        "clock s": round(time.monotonic() - begin, 1),
        "cpu s": round(sum(after[2:4]) - sum(before[2:4]), 1),
        "load before": os.getloadavg()[0],
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--build", action="store_true", help="time the set-up only")
    parser.add_argument("--speed", action="store_true", help="time the kernels themselves only")
    parser.add_argument("--against", help="the pixmix command of another version")
    chosen = parser.parse_args()
    machine = {
        "processor": platform.machine(), "cores": os.cpu_count(), "targets": processors.targets(),
        "python": platform.python_version(), "numpy": np.__version__, "numba": version("numba"),
        "turns": chosen.turns, "load": os.getloadavg(),
    }  # fmt: skip
    print(json.dumps(machine), flush=True)
    if not chosen.speed:
        set_up()
    if not chosen.build:
        own_speed(max(5, chosen.turns))
    if not (chosen.build or chosen.speed):
        commands(chosen.turns, chosen.against)


if __name__ == "__main__":
    main()
