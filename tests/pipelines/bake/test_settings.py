"""Settings in a manifest: written and read back by one table."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from pixmix_cli.mixing.config import PRESETS, PixMixConfig
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.run_plan import Manifest
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs, Running
from pixmix_cli.pipelines.bake.settings import SETTINGS, job_of, options_of
from pixmix_cli.units import Bytes

SOURCE, MIXING = Path("/photos"), (Path("/fractals"), Path("/featvis"))
PLACE = Destination(Path("/out"))


def test_every_option_of_recipe_and_files_is_a_setting() -> None:
    there = {setting.field for setting in SETTINGS}
    assert there >= {f"config.{field.name}" for field in fields(PixMixConfig)}
    assert there >= {f"files.{field.name}" for field in fields(Files)}
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS) == len(there)


def manifest_of(job: BakeJob) -> Manifest:
    options = options_of(job, FORMATS[job.files.format])
    paths = {"SOURCE": {"path": str(SOURCE)}, "mixing-set": {"path": [str(p) for p in MIXING]}}
    manifest: Manifest = json.loads(json.dumps({"options": options, "inputs": paths}))
    return manifest


PARQUET = Files("parquet", "webp", shard_size=7, equal="pad", shuffle=False, draws_json=False)
FOLDER = Files("imagefolder", "png", shard_size=Bytes(1_000_000))
TARS = Files("webdataset", "jpeg", quality=40, dali_index=True)


@pytest.mark.parametrize(
    "job",
    [
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PRESETS["imagenet"]),
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PRESETS["cifar"], seed=2**62, draws="reference"),
        BakeJob(Inputs(SOURCE, MIXING, mixing_weights=(2.0, 0.5)), PLACE, PixMixConfig(k=0)),
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PixMixConfig(operations=("screen",)), files=PARQUET),
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PixMixConfig(all_ops=False), files=FOLDER),
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PixMixConfig(beta=0.5), files=TARS),
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PixMixConfig(severity=9.5), files=Files("npy")),
        BakeJob(Inputs(SOURCE, MIXING), PLACE, PixMixConfig(crop="center", flip=False)),
    ],
)
def test_a_job_read_back_from_its_manifest_is_the_job(job: BakeJob) -> None:
    assert job_of(manifest_of(job), PLACE, Running()) == job


def test_what_does_not_decide_bytes_is_not_recorded() -> None:
    files = Files("npy", "png", quality=3, shuffle=False, draws_json=False)
    job = BakeJob(Inputs(SOURCE, MIXING), PLACE, PRESETS["cifar"], files=files)
    plain = BakeJob(Inputs(SOURCE, MIXING), PLACE, PRESETS["cifar"], files=Files("npy"))
    assert manifest_of(job) == manifest_of(plain)


@pytest.mark.parametrize("name", ["format", "image-format", "equal-shards", "draws", "quality"])
def test_a_manifest_with_a_value_that_nobody_knows_is_no_manifest(name: str) -> None:
    manifest = manifest_of(BakeJob(Inputs(SOURCE, MIXING), PLACE, PRESETS["imagenet"]))
    manifest["options"][name] = "nonsense"
    with pytest.raises(ValueError, match="nonsense"):
        job_of(manifest, PLACE, Running())


@pytest.mark.parametrize("name", ["size", "format", "seed", "shard-size"])
def test_a_manifest_without_a_setting_that_is_always_recorded_is_no_manifest(name: str) -> None:
    manifest = manifest_of(BakeJob(Inputs(SOURCE, MIXING), PLACE, PRESETS["imagenet"]))
    del manifest["options"][name]
    with pytest.raises(KeyError, match=name):
        job_of(manifest, PLACE, Running())
