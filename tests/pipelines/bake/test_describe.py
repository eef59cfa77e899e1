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
from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs, Running
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


@pytest.mark.parametrize("copies", [1, 3, 40])
def test_a_sample_is_read_once_for_all_its_copies(
    photos: Path, mixing: Path, tmp_path: Path, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = 0.0
    read, bake = Baker.read, Baker.bake

    def slow_read(self, sample):
        nonlocal clock
        clock += 12
        return read(self, sample)

    def slow_bake(self, sample, copies, picture):
        nonlocal clock
        clock += 0.5 * len(copies)
        return bake(self, sample, copies, picture)

    monkeypatch.setattr(Baker, "read", slow_read)
    monkeypatch.setattr(Baker, "bake", slow_bake)
    monkeypatch.setattr(time, "process_time", lambda: clock)
    plan = plan_of(photos, mixing, tmp_path / "o", copies, "webdataset", "imagenet")
    assert describe.cost_of(plan).seconds == pytest.approx(12 / copies + 0.5)


def test_nothing_stays_in_the_temporary_folder(
    photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describe.spool, "new_file", lambda name: tmp_path / name)
    describe.cost_of(plan_of(photos, mixing, tmp_path / "o", 2, "webdataset"))
    assert list(tmp_path.iterdir()) == []
