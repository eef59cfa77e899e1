"""What --dry-run says a bake would cost."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.pipelines.bake import describe
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import (
    BakeJob,
    Copy,
    Files,
    Inputs,
    Running,
    all_copies,
)
from pixmix_cli.pipelines.bake.plan import BakePlan, plan_bake
from pixmix_cli.pipelines.bake.run import run_bake
from pixmix_cli.pipelines.bake.worker import Baker


def plan_of(
    photos: Path, mixing: Path, output: Path, copies: int, layout: str, preset: str = "cifar"
) -> BakePlan:
    job = BakeJob(
        inputs=Inputs(photos, (mixing,)),
        destination=Destination(output),
        config=replace(PRESETS[preset], size=32),
        copies=copies,
        files=Files(format=layout, image_format="png"),
        running=Running(workers=1),
    )
    return plan_bake(job, lambda line: None)


@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy", "parquet"])
def test_bytes_are_those_of_the_files_within_a_tenth(
    photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    plan = plan_of(photos, mixing, tmp_path / "o", 2, layout)
    said = describe.describe_bake(plan)["estimated_bytes"]
    for _ in run_bake(plan):
        pass
    suffixes = ("png", *FORMATS[layout].suffixes)
    files = [path for path in (tmp_path / "o").glob("copy-*/**/*") if path.is_file()]
    real = sum(path.stat().st_size for path in files if path.name.endswith(suffixes))
    assert abs(said / real - 1) < 0.1


READING, AUGMENTED, PLAIN = 12.0, 0.5, 0.125  # seconds on the clock of `timed`


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that takes so long for each part of a sample, and for nothing else."""
    clock = 0.0
    read, bake = Baker.read, Baker.bake

    def slow_read(self, sample):
        nonlocal clock
        clock += READING
        return read(self, sample)

    def slow_bake(self, sample, copies, picture):
        nonlocal clock
        clock += sum(PLAIN if copy.plain else AUGMENTED for copy in copies)
        return bake(self, sample, copies, picture)

    monkeypatch.setattr(Baker, "read", slow_read)
    monkeypatch.setattr(Baker, "bake", slow_bake)
    monkeypatch.setattr(time, "process_time", lambda: clock)


def augmented_plan(photos: Path, mixing: Path, output: Path, copies: int) -> BakePlan:
    return plan_of(photos, mixing, output, copies, "webdataset", "imagenet")


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize(
    ("copies", "plain"), [(1, 0), (3, 0), (40, 0), (1, 1), (2, 1), (1, 30), (20, 200)]
)
def test_a_sample_is_read_once_for_all_its_copies_which_cost_by_their_kind(
    photos: Path, mixing: Path, tmp_path: Path, copies: int, plain: int
) -> None:
    plan = augmented_plan(photos, mixing, tmp_path / "o", copies)
    job = replace(plan.job, plain=plain)
    plan = replace(plan, job=job, pending=((0, job.all_copies),))
    expected = 24 * (READING + copies * AUGMENTED + plain * PLAIN)
    assert describe.cost_of(plan).seconds == pytest.approx(expected)


@pytest.mark.usefixtures("timed")
@pytest.mark.parametrize(
    ("copies", "seconds"),
    [
        ([(Copy(7),)], READING + AUGMENTED),
        ([(Copy(0, True),)], READING + PLAIN),
        ([all_copies(8, 2)], READING + 8 * AUGMENTED + 2 * PLAIN),
        # a stream takes one copy after the other, and reads each sample for each
        ([(Copy(0),), (Copy(1),), (Copy(0, True),)], 3 * READING + 2 * AUGMENTED + PLAIN),
    ],
    ids=["one of eight", "a plain one", "all", "a stream"],
)
def test_what_is_pending_is_what_costs(
    photos: Path, mixing: Path, tmp_path: Path, copies: list[tuple[Copy, ...]], seconds: float
) -> None:
    plan = augmented_plan(photos, mixing, tmp_path / "o", 8)
    plan = replace(plan, pending=tuple((0, some) for some in copies))
    assert describe.cost_of(plan).seconds == pytest.approx(24 * seconds)


def test_bytes_are_added_by_the_kind_of_copy(
    photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def baked(baker, chosen, copies):
        made = len(copies) * sum(len(task.samples) for task in chosen)
        size = sum(100 if copy.plain else 1000 for copy in copies)
        return 1.0, size * made // len(copies), made

    monkeypatch.setattr(describe, "_bake", baked)
    plan = augmented_plan(photos, mixing, tmp_path / "o", 3)
    plan = replace(plan, pending=((0, all_copies(3, 50)),))
    assert describe.cost_of(plan).bytes == 24 * (3 * 1000 + 50 * 100)


def test_nothing_stays_in_the_temporary_folder(
    photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe.spool, "new_file", lambda name: tmp_path / name)
    describe.cost_of(plan_of(photos, mixing, tmp_path / "o", 2, "webdataset"))
    assert list(tmp_path.iterdir()) == []
