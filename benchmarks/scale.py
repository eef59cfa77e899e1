"""What large jobs cost, from rates measured on this machine: the tables of docs/scale.md.

    pixmix bake photos/train --mixing-set mixing -o x --copies 8 -j 1 --dry-run --json > 8.json
    pixmix bake photos/train --mixing-set mixing -o x --copies 90 -j 1 --dry-run --json > 90.json
    pixmix generate-fractals -n 1000 -o x -j 1 --dry-run --json > fractals.json
    python -m benchmarks.scale --bake 8.json 90.json --fractals fractals.json

    python -m benchmarks.scale --listing 1000000   # what a part spends before its first picture

Times and bytes a picture come from these files, a bake's from the one with as many copies or the
nearest number. The seconds a row of the journal costs at the end
of a run are measured here, and how unequal and failing workers stretch a run is simulated. Prices
and failure rates are assumptions, and options.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.file_names import JOURNALS, LISTING, META
from pixmix_cli.outputs.output import open_output
from pixmix_cli.outputs.part import Part
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs
from pixmix_cli.pipelines.bake.plan import plan_bake, tasks
from pixmix_cli.pipelines.mixing_sets.fractals import TASK_PICTURES
from pixmix_cli.sources import walk
from pixmix_cli.sources.watched import SETTLED_NS
from pixmix_cli.storage.files import canonical_json

CORES = (1, 64, 1024)
MACHINE = 64  # cores of one machine, which is one part (--shard i/n)
LIST_SECONDS = 7.4e-6  # a picture of an ImageFolder; one part lists (lab/2026-11-29-listing.md)
LIST_BYTES = 69  # of memory a picture listed (the same)
ROW_BYTES = 56  # of memory a row while a manifest is sorted (lab/2026-11-22-output-folder.md)
ROWS_MEASURED = 100_000
A_CLASS = 650  # pictures of one, about as in ImageNet-21k


@dataclass(frozen=True, slots=True)
class Work:
    """One job: its units, the seconds of one core that they take, and what it leaves behind."""

    name: str
    pictures: int
    units: int  # shards, or tars
    seconds: float  # of one core, of all of it
    size: float  # bytes of the output
    listed: int  # pictures that one part has to list first, while the others wait


@dataclass(frozen=True, slots=True)
class World:
    """What is assumed of the machines."""

    spread: float = 0.1  # standard deviation of the logarithm of a machine's speed
    hours_between_failures: float = 1000.0  # of one machine
    restart_seconds: float = 120.0  # until a failed machine works again
    core_hour: float = 0.04  # currency units
    gigabyte_month: float = 0.023


def simulate(
    units: int, seconds: float, cores: int, world: World, rng: np.random.Generator, shared: bool
) -> float:
    """Seconds until the last unit is done.

    units    equal pieces of work
    seconds  of an average core, a unit
    shared   True: every core takes the next unit from one queue (Ray); False: unit u belongs to
             machine u mod n, whose cores take the machine's next (--shard i/n)
    A machine that fails loses the units under way on it, waits, and goes on.
    """
    machines = max(1, cores // MACHINE)
    each = cores // machines
    speeds = np.exp(rng.normal(0, world.spread, machines))
    down = rng.exponential(world.hours_between_failures * 3600, machines)  # next failure of each
    queues = [units] if shared else [len(range(m, units, machines)) for m in range(machines)]
    free = [(0.0, m) for m in range(machines) for _ in range(each)]
    heapq.heapify(free)
    end = 0.0
    while free:
        now, machine = heapq.heappop(free)
        queue = 0 if shared else machine
        if not queues[queue]:
            continue
        if now >= down[machine]:
            now = max(now, down[machine] + world.restart_seconds)
            down[machine] = now + rng.exponential(world.hours_between_failures * 3600)
        done = now + seconds * speeds[machine]
        if done > down[machine]:  # lost: the core begins it again after the restart
            heapq.heappush(free, (down[machine], machine))
            continue
        queues[queue] -= 1
        end = max(end, done)
        heapq.heappush(free, (done, machine))
    return end


def rows_per_second() -> float:
    """Rows that the end of a run reads, sorts and writes, a second of this machine."""
    with tempfile.TemporaryDirectory() as folder:
        plan = RunPlan("generate-fractals", {"format": "folder"}, {}, {})
        with open_output(Destination(Path(folder) / "out"), plan) as output:
            journal = output.path / JOURNALS.replace("*", "")
            with journal.open("w") as file:
                for index in range(ROWS_MEASURED):
                    row: dict[str, Any] = {"bytes": 300_000, "index": index, "sha256": "0" * 64}
                    row["path"] = f"{index // 1000:03d}/{index:06d}.jpg"
                    row |= {"layers": ["flame", "affine"], "rejected": 1}
                    file.write(canonical_json(row) + "\n")
            begin = time.perf_counter()
            output.finish()
            return ROWS_MEASURED / (time.perf_counter() - begin)


def measure_listing(pictures: int, folder: Path) -> None:
    """Print what parts spend until their first picture is read, of an ImageFolder of links.

    Three parts in turn, each a process: one alone, without the output's listing; the first one,
    which writes it; one that reads it.
    """
    source, mixing = folder / "photos", folder / "mixing"
    if not source.exists():
        _link_pictures(source, mixing, pictures)
    print("| part 3/64 | CPU s | wall s | peak MiB | folders read |")
    print("|---|---|---|---|---|")
    for layout in ("webdataset", "imagefolder"):
        output = folder / f"out-{layout}"
        shutil.rmtree(output, ignore_errors=True)
        spent = []
        for how in ("alone", "first", "second"):
            command = [sys.executable, "-m", "benchmarks.scale", "--part", how, layout]
            done = subprocess.run(
                [*command, str(folder)], capture_output=True, text=True, check=True
            )
            cpu, wall, peak, read = map(float, done.stdout.split())
            spent.append(cpu)
            print(f"| {layout}, {how} | {cpu:.2f} | {wall:.2f} | {peak:.0f} | {read:.0f} |")
        size = (output / META / LISTING).stat().st_size
        ratio = spent[0] / spent[2]
        print(f"\n{layout}: a part that reads it takes 1/{ratio:.0f}; {size / pictures:.0f} bytes")
        print("of file a picture\n")


def _link_pictures(source: Path, mixing: Path, count: int) -> None:
    """An ImageFolder with 650 links a class, of a few small pictures, and a mixing set."""
    mixing.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(mixing / "m.jpg")
    pool = source.parent / "pool"
    pool.mkdir()
    files = [pool / f"{number}.jpg" for number in range(max(8, count // 50_000))]
    for number, file in enumerate(files):  # a file has 65,000 names at most
        Image.new("RGB", (64, 64), (number % 256, 0, 0)).save(file)
    made = 0
    while made < count:
        label = made // A_CLASS
        inside = source / f"n{label:08d}"
        inside.mkdir(parents=True)
        for number in range(min(A_CLASS, count - made)):
            os.link(files[made % len(files)], inside / f"n{label:08d}_{number * 37}.JPEG")
            made += 1
    time.sleep(SETTLED_NS / 1e9)  # what has just changed is not relied on


def spend_as_part(how: str, layout: str, folder: Path) -> None:
    """Be part 3/64, or 0/64 as the first: plan, read one picture, print what that took."""
    begin, read = time.perf_counter(), 0
    list_folder = walk._listed

    def counted(*given: Any) -> Any:
        nonlocal read
        read += 1
        return list_folder(*given)

    setattr(walk, "_listed", counted)  # noqa: B010  (mypy forbids the plain way)
    part = Part(0 if how == "first" else 3, 64)
    job = BakeJob(
        inputs=Inputs(folder / "photos", (folder / "mixing",)),
        destination=Destination(folder / f"out-{layout}", part=part),
        config=PRESETS["imagenet"],
        copies=8,
        files=Files(format=layout),
    )
    plan = plan_bake(job, lambda line: None, write=how == "first")
    next(tasks(plan)).samples[0].ref.read()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used)
    wall = time.perf_counter() - begin
    print(cpu, wall, used[0].ru_maxrss / 1024, read - 1)  # one is the mixing set


def works(bakes: Sequence[dict[str, Any]], fractals: dict[str, Any]) -> list[Work]:
    """The jobs of the tables, from plans that `--dry-run --json` printed with -j 1.

    bakes  one or several, of different numbers of copies: one decode serves all copies
    """
    making = fractals["estimated_seconds"] / (fractals["pictures"] - fractals["done_already"])
    made = fractals["estimated_bytes"] / (fractals["pictures"] - fractals["done_already"])
    shard_size = FORMATS["webdataset"].default_shard_size
    found = []
    for name, samples, copies in (
        ("ImageNet-1k, 90 copies", 1_281_167, 90),
        ("ImageNet-21k, 8 copies", 14_197_122, 8),
    ):
        count = samples * copies
        bake = min(bakes, key=lambda plan: abs(math.log(plan["copies"] / copies)))
        pictures = bake["pictures"] - bake["done_already"]
        bake_seconds = bake["estimated_seconds"] / pictures
        bake_bytes = bake["estimated_bytes"] / pictures
        # one unit is one shard of all its copies
        units = -(-samples // shard_size(samples, PRESETS["imagenet"]))
        found.append(Work(name, count, units, bake_seconds * count, bake_bytes * count, samples))
    for count in (14_230, 1_000_000, 100_000_000):
        found.append(
            Work(
                f"{count:,} fractals",
                count,
                -(-count // TASK_PICTURES),
                making * count,
                made * count,
                0,
            )
        )
    return found


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bake", type=Path, nargs="+")
    parser.add_argument("--fractals", type=Path)
    parser.add_argument("--listing", type=int, metavar="PICTURES")
    parser.add_argument("--folder", type=Path, help="for --listing: where links are made and stay")
    parser.add_argument("--part", nargs=3, help=argparse.SUPPRESS)
    usual = World()
    parser.add_argument("--core-hour", type=float, default=usual.core_hour)
    parser.add_argument("--gigabyte-month", type=float, default=usual.gigabyte_month)
    asked = parser.parse_args()
    if asked.part is not None:
        spend_as_part(asked.part[0], asked.part[1], Path(asked.part[2]))
        return
    if asked.listing is not None:
        with tempfile.TemporaryDirectory() as temporary:
            measure_listing(asked.listing, asked.folder or Path(temporary))
        return
    if asked.bake is None or asked.fractals is None:
        parser.error("--bake and --fractals, or --listing")
    world = World(core_hour=asked.core_hour, gigabyte_month=asked.gigabyte_month)
    bakes = [json.loads(path.read_bytes()) for path in asked.bake]
    jobs = works(bakes, json.loads(asked.fractals.read_bytes()))
    rate = rows_per_second()
    print("| job | core-hours | " + " | ".join(f"{c:,} core{'s' * (c > 1)}" for c in CORES), end="")
    print(" | output | cost of the cores | a month of storage |")
    print("|---|---|" + "---|" * len(CORES) + "---|---|---|")
    for job in jobs:
        listing = job.listed * LIST_SECONDS
        hours = [_hours((listing + job.seconds / cores) / 3600) for cores in CORES]
        cost = job.seconds / 3600 * world.core_hour
        store = job.size / 1e9 * world.gigabyte_month
        print(
            f"| {job.name} | {job.seconds / 3600:,.0f} | {' | '.join(hours)} | {_size(job.size)} "
            f"| {cost:,.2f} | {store:,.2f} |"
        )
    print()
    print("| job, 1,024 cores | units | seconds a unit | --shard i/16 | one queue (Ray) |", end="")
    print(" listing | memory of it | rows at the end | sorting them |")
    print("|---|---|---|---|---|---|---|---|---|")
    for job in jobs:
        each = job.seconds / job.units
        ideal = job.seconds / 1024
        stretched = []
        for shared in (False, True):
            rng = np.random.default_rng(0)
            runs = [simulate(job.units, each, 1024, world, rng, shared) for _ in range(5)]
            stretched.append(f"{np.median(runs) / ideal:.2f}")
        rows = job.pictures if not job.listed else job.units * round(job.pictures / job.listed)
        print(
            f"| {job.name} | {job.units:,} | {each:,.1f} | {stretched[0]} | {stretched[1]} "
            f"| {job.listed * LIST_SECONDS:,.0f} s | {_size(job.listed * LIST_BYTES)} "
            f"| {rows:,} | {rows / rate:,.0f} s, {_size(rows * ROW_BYTES)} |"
        )
    print(f"\nrows a second: {rate:,.0f}")


def _hours(hours: float) -> str:
    if hours < 1:
        return f"{hours * 60:,.1f} min"
    return f"{hours:,.1f} h" if hours < 48 else f"{hours / 24:,.1f} d"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000:
            return f"{count:,.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} PB"


if __name__ == "__main__":
    main()
