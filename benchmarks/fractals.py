"""Fractals against their peers, on one core, in one run; prints a table, and JSON with --json.

    python -m benchmarks.fractals [--count 60] [--flam3-count 12] [--rounds 5]
    python -m benchmarks.fractals --sizes 32,64,224,256,512,2048,4096 [--flam3-count 2]

Kernels: 512 x 512, 4e6 points with colour, tone map included, in memory. End to end: a random
picture on disk, 8 points a pixel, start-up apart. Peers: `benchmarks.plain_ifs`, the usual way
to write an affine chaos game in Numba, and flam3 (Debian's flam3-utils: `flam3-genome` and
`flam3-render`, no density estimation), skipped where it is not installed. CPU seconds, so that
other work on the machine disturbs little; the smallest of several rounds for the kernels.

Sizes: whole pictures in memory, search and check included, start-up and encoding not; and the
largest resident set of that process. From LARGE px on flam3 renders as many genomes beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
import PIL

from benchmarks import plain_ifs
from fractals import generate
from fractals.config import FractalConfig
from fractals.recipe_types import Recipe

ROOT = Path(__file__).resolve().parent.parent
SIZE = 512
POINTS = 4_000_000
GENOMES = 8  # random ones that the kernel times are a mean of
COUNT_FULL = 14_230  # pictures of the set that PixMix used


def cpu_seconds(command: list[str], **options: Any) -> tuple[float, int]:
    """CPU seconds of one child process; its largest resident set, KiB."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **options)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss


POLL_SECONDS = 0.02  # what a process does after the last look is not counted
TICKS = os.sysconf("SC_CLK_TCK")


def family(command: list[str], **options: Any) -> tuple[float, int]:
    """CPU seconds of a process and of all below it; the largest resident set of any, KiB.

    Workers are children of a server that nobody waits for, so rusage leaves them out: this
    polls /proc (Linux) and adds up what was seen last of every process of the
    command's session.
    """
    process = subprocess.Popen(
        command, stderr=subprocess.DEVNULL, start_new_session=True, **options
    )
    seconds: dict[int, float] = {}
    memory: dict[int, int] = {}
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                # after the name in parentheses, which may hold anything; see proc_pid_stat(5)
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                if int(stat[3]) != process.pid:
                    continue
                status = (folder / "status").read_text()
            except OSError:
                continue  # gone meanwhile
            pid = int(folder.name)
            seconds[pid] = (int(stat[11]) + int(stat[12])) / TICKS
            peak = re.search(r"VmHWM:\s+(\d+)", status)
            memory[pid] = int(peak[1]) if peak else memory.get(pid, 0)
        time.sleep(POLL_SECONDS)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return sum(seconds.values()), max(memory.values(), default=0)


def smallest(run: Callable[[], object], rounds: int) -> float:
    """CPU seconds of the quickest of several runs, after one that compiles."""
    run()
    best = float("inf")
    for _ in range(rounds):
        before = time.thread_time()
        run()
        best = min(best, time.thread_time() - before)
    return best


# ---------------------------------------------------------------- kernels


def recipes(kind: str, count: int) -> list[Recipe]:
    """Recipes of one layer, without a veil: the kernel and the tone map alone."""
    config = FractalConfig(kind, SIZE)
    found: list[Recipe] = []
    for seed in range(count):
        recipe, _ = generate._draw_recipe(np.random.default_rng(seed), config)
        recipe["layers"], recipe["veil"] = recipe["layers"][:1], None
        found.append(recipe)
    return found


def kernel_seconds(kind: str, rounds: int) -> float:
    """A picture of POINTS points, mean over random genomes."""
    from fractals import render_recipe

    density = POINTS / SIZE**2
    times = [
        smallest(partial(render_recipe, recipe, SIZE, density), rounds)
        for recipe in recipes(kind, GENOMES)
    ]
    return sum(times) / len(times)


def plain_seconds(rounds: int) -> float:
    """The same affine systems by the plain chaos game."""
    times = []
    for recipe in recipes("affine", GENOMES):
        layer = recipe["layers"][0]
        maps, weights, colors = plain_ifs.system(layer)
        run = partial(plain_ifs.picture, maps, weights, colors, POINTS, SIZE)
        times.append(smallest(run, rounds))
    return sum(times) / len(times)


# ---------------------------------------------------------------- end to end


def generate_command(folder: Path, count: int, image_format: str, workers: int) -> list[str]:
    """The command that makes so many pictures."""
    command = [sys.executable, "-m", "pixmix_cli.main", "generate-fractals", "-n", str(count)]
    return [*command, "-j", str(workers), "--image-format", image_format, "-qq", "-o", str(folder)]


def ours(folder: Path, count: int, image_format: str) -> tuple[float, int]:
    """CPU seconds of making so many pictures, start-up included; the largest resident set, KiB."""
    command = generate_command(folder, count, image_format, 1)
    return cpu_seconds(command, cwd=ROOT, stdout=subprocess.DEVNULL)


def first_line_seconds(folder: Path) -> float:
    """Seconds by the clock from the start of the command to the first picture's name."""
    command = generate_command(folder, 1, "jpeg", 1)
    begun = time.perf_counter()
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return time.perf_counter() - begun


def workers_seconds(tmp: Path, count: int, rounds: int) -> tuple[list[float], int]:
    """CPU seconds a picture with one worker and with two, in turn; a worker's memory, KiB.

    Start-up is apart: the difference between many pictures and eight, which both workers share.
    """
    totals = [[0.0, 0.0], [0.0, 0.0]]
    memory = 0
    for turn in range(rounds):
        for k, workers in enumerate((1, 2)):
            for j, pictures in enumerate((8, count)):
                folder = tmp / f"{turn}-{workers}-{pictures}"
                command = generate_command(folder, pictures, "jpeg", workers)
                seconds, peak = family(command, cwd=ROOT, stdout=subprocess.DEVNULL)
                totals[k][j] += seconds
                memory = max(memory, peak)
                shutil.rmtree(folder)
    return [(many - few) / rounds / (count - 8) for few, many in totals], memory


def flam3_genome(folder: Path, seed: int) -> tuple[Path, float]:
    """A random genome of flam3's own, and the CPU seconds it took."""
    genome = folder / f"{seed}.flam3"
    with genome.open("wb") as file:
        environment = {**os.environ, "seed": str(seed + 1), "nthreads": "1"}
        seconds, _ = cpu_seconds(["flam3-genome"], stdout=file, env=environment)
    return genome, seconds


def with_attributes(genome: str, changes: dict[str, str]) -> str:
    """A flam3 genome with other values of some attributes."""
    for name, value in changes.items():
        genome = re.sub(rf'\b{name}="[^"]*"', f'{name}="{value}"', genome)
    return genome


def flam3_render(genome: Path, quality: float, size: int = SIZE) -> float:
    """CPU seconds to render it at a size with `quality` points a pixel."""
    changes = {"size": f"{size} {size}", "quality": f"{quality:g}", "supersample": "1"}
    text = with_attributes(genome.read_text(encoding="utf-8"), {**changes, "estimator_radius": "0"})
    genome.write_text(text, encoding="utf-8")
    out = genome.with_suffix(".png")
    out.unlink(missing_ok=True)
    environment = {**os.environ, "nthreads": "1", "out": str(out), "format": "png"}
    with genome.open("rb") as file:
        seconds, _ = cpu_seconds(
            ["flam3-render"], stdin=file, stdout=subprocess.DEVNULL, env=environment
        )
    if not out.exists():
        raise SystemExit("flam3-render wrote no picture")
    return seconds


# ---------------------------------------------------------------- sizes

LARGE = 512  # pixels: from here on flam3 is asked, too
PIXELS = 48 * 512 * 512  # of the pictures of one size, together

IN_MEMORY = """
import re, sys, time
from pathlib import Path
import numpy as np
from fractals import FractalConfig, generate_fractal, warm_up
size, count = map(int, sys.argv[1:])
config = FractalConfig("mixed", size)
warm_up()
generate_fractal(config, np.random.default_rng(count))
begin = time.process_time()
for seed in range(count):
    generate_fractal(config, np.random.default_rng(seed))
seconds = time.process_time() - begin
# rusage would also know the parent's memory, from before the program began
print(seconds / count, re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def of_size(size: int) -> tuple[int, float, int]:
    """How many pictures, CPU seconds of one, and the largest resident set, KiB."""
    count = max(2, min(96, PIXELS // (size * size)))
    command = [sys.executable, "-c", IN_MEMORY, str(size), str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, peak = done.stdout.split()
    return count, float(seconds), int(peak)


def sizes_table(sizes: list[int], flam3_count: int) -> list[str]:
    """Each size as a line of a table, flam3's beside it where it is installed."""
    lines = [f"{'px':>6}{'n':>5}{'CPU ms':>10}{'MiB':>7}{'flam3 ms':>11}{'n':>4}{'ratio':>8}"]
    there = shutil.which("flam3-genome") and shutil.which("flam3-render")
    with tempfile.TemporaryDirectory() as name:
        for size in sizes:
            count, seconds, peak = of_size(size)
            line = f"{size:>6}{count:>5}{1000 * seconds:>10.1f}{peak / 1024:>7.0f}"
            if there and size >= LARGE and flam3_count:
                total = 0.0
                for seed in range(flam3_count):
                    genome, drawing = flam3_genome(Path(name), seed)
                    total += drawing + flam3_render(genome, 8, size)
                mean = total / flam3_count
                line += f"{1000 * mean:>11.0f}{flam3_count:>4}{mean / seconds:>7.1f}x"
            lines.append(line)
    return lines


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Every number of the table."""
    ms: dict[str, float] = {}
    ms["affine kernel"] = 1000 * kernel_seconds("affine", arguments.rounds)
    ms["flame kernel"] = 1000 * kernel_seconds("flame", arguments.rounds)
    ms["plain affine"] = 1000 * plain_seconds(max(1, arguments.rounds // 2))
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        ours(tmp / "warm", 1, "jpeg")
        start, _ = ours(tmp / "start", 1, "jpeg")
        ms["start-up and the first picture"] = 1000 * start
        first = min(first_line_seconds(tmp / f"first-{k}") for k in range(arguments.rounds))
        pair, memory = workers_seconds(tmp, 8 + arguments.count, 2)
        ms["one worker"], ms["two workers"] = 1000 * pair[0], 1000 * pair[1]
        for kind in ("JPEG", "PNG"):
            seconds, _ = ours(tmp / kind, arguments.count, kind.lower())
            ms[f"end to end, {kind}"] = 1000 * (seconds - start) / (arguments.count - 1)
        if shutil.which("flam3-genome") and shutil.which("flam3-render"):
            whole, kernel = [], []
            for seed in range(arguments.flam3_count):
                genome, drawing = flam3_genome(tmp, seed)
                whole.append(drawing + flam3_render(genome, 8))
                if seed < GENOMES:
                    kernel.append(flam3_render(genome, POINTS / SIZE**2))
            ms["flam3, genome and render, PNG"] = 1000 * sum(whole) / len(whole)
            ms["flam3, render, 4e6 points"] = 1000 * sum(kernel) / len(kernel)
    return {
        "cpu_ms": {name: round(value, 1) for name, value in ms.items()},
        "first_picture_wall_ms": round(1000 * first),
        "peak_memory_mb": round(memory / 1024),
        "n": {"end to end": arguments.count, "flam3": arguments.flam3_count, "genomes": GENOMES},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "pillow": PIL.__version__,
        },
    }


def table(record: dict[str, Any]) -> list[str]:
    """The record as lines of a table, with ratios to the peers."""
    ms = record["cpu_ms"]
    title = f"CPU ms a picture, one core, {SIZE} px"
    lines = [f"{title:<52}{'peer':>9}{'ours':>9}{'ratio':>8}"]

    def row(text: str, peer: str, our: str) -> None:
        if peer in ms:
            ratio = ms[peer] / ms[our]
            lines.append(f"{text:<52}{ms[peer]:>9.1f}{ms[our]:>9.1f}{ratio:>7.1f}x")

    row("affine, 4e6 points, against a plain Numba game", "plain affine", "affine kernel")
    row("flame, 4e6 points, against flam3-render", "flam3, render, 4e6 points", "flame kernel")
    for kind in ("JPEG", "PNG"):
        text = f"random picture on disk, {kind}, against flam3 (PNG)"
        row(text, "flam3, genome and render, PNG", f"end to end, {kind}")
    row("two workers (under peer: one), JPEG", "one worker", "two workers")
    lines.append(
        f"{'start-up and the first picture':<52}{ms['start-up and the first picture']:>18.1f}"
    )
    text = "to the first picture's name, by the clock"
    lines.append(f"{text:<52}{record['first_picture_wall_ms']:>18}")
    lines.append(f"{'largest process, two workers, MB':<52}{record['peak_memory_mb']:>26}")
    minutes = COUNT_FULL * ms["end to end, JPEG"] / 60_000
    lines.append(f"{f'{COUNT_FULL:,} pictures on one core, JPEG, minutes':<52}{minutes:>26.1f}")
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--flam3-count", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--sizes", metavar="PX,PX", help="only this: pictures of these sizes")
    arguments = parser.parse_args()
    if arguments.sizes:
        sizes = [int(size) for size in arguments.sizes.split(",")]
        print("\n".join(sizes_table(sizes, arguments.flam3_count)))
        return
    record = measure(arguments)
    print(json.dumps(record, indent=1) if arguments.json else "\n".join(table(record)))


if __name__ == "__main__":
    main()
