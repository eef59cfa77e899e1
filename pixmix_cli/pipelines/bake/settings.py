"""What decides a baked set's bytes, written into its manifest and read back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pixmix_cli.mixing.config import PAPER_OPERATIONS, PixMixConfig
from pixmix_cli.outputs.run_plan import RunPlan
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import BakeJob
from pixmix_cli.sources.mixing_set import MixingSet
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images

ALGORITHM = "2"  # raise it when the same settings would give other bytes


def run_plan(job: BakeJob, source: Source, mixing: MixingSet) -> RunPlan:
    """What decides the bytes, as the manifest holds it."""
    config = job.config
    size = f"{job.shard_bytes} bytes" if job.shard_bytes else job.shard_size or "auto"
    options: dict[str, Any] = {
        "preset": config.geometry,
        "size": config.size,
        "k": config.k,
        "beta": config.beta,
        "severity": config.severity,
        "all-ops": config.all_ops,
        "format": job.format,
        "shard-size": size,
        "seed": job.seed,
    }
    if job.draws != "keyed":
        options["draws"] = job.draws
    if config.operations != PAPER_OPERATIONS:
        options["operations"] = list(config.operations)
    for name, value in (("equal-shards", job.equal), ("dali-index", job.dali_index)):
        if value:
            options[name] = value
    versions = {"bake": ALGORITHM, **images.reader()}
    layout = FORMATS[job.format]
    if layout.encoded:
        options["image-format"] = job.image_format
        versions |= images.codec(job.image_format)
        if job.image_format == "jpeg":
            options["quality"] = job.quality
    if job.mixing_weights:
        options["mixing-set weights"] = list(job.mixing_weights)
    if layout.sharded:
        options |= {"shuffle": job.shuffle, "draws-json": job.with_json}
    versions |= layout.versions()
    if job.draws == "reference":
        from pixmix_cli.pipelines.bake import reference_draws

        versions |= reference_draws.versions()
    inputs: dict[str, dict[str, Any]] = {
        "SOURCE": {
            "path": source.path,
            "format": source.kind,
            "pictures": len(source.pictures),
            "sha256": source.digest,
        },
        "mixing-set": {
            "path": list(mixing.paths),
            "pictures": len(mixing.pictures),
            "sha256": mixing.digest,
        },
    }
    for name, value in (("split", source.split), ("label-field", job.label_field)):
        if value is not None:
            inputs["SOURCE"][name] = value
    return RunPlan("bake", options, versions, inputs)


def job_of(manifest: dict[str, Any], job: BakeJob) -> BakeJob:
    """The job that a manifest.json tells of: `run_plan` read backwards.

    job     supplies what a manifest does not hold: paths, copies, workers
    raises  KeyError, TypeError or ValueError when the manifest is not one of ours
    """
    told = manifest["options"]
    config = PixMixConfig(
        size=told["size"],
        k=told["k"],
        beta=told["beta"],
        severity=told["severity"],
        all_ops=told["all-ops"],
        geometry=told["preset"],
        operations=tuple(told.get("operations", PAPER_OPERATIONS)),
    )
    size, _, unit = str(told["shard-size"]).partition(" ")
    source = manifest["inputs"]["SOURCE"]
    return replace(
        job,
        source_format=source.get("format", job.source_format),
        split=source.get("split"),
        label_field=source.get("label-field"),
        mixing_weights=tuple(map(float, told.get("mixing-set weights", ()))),
        config=config,
        format=told["format"],
        image_format=told.get("image-format", job.image_format),
        quality=told.get("quality", job.quality),
        shard_size=None if unit or size == "auto" else int(size),
        shard_bytes=int(size) if unit else None,
        equal=told.get("equal-shards"),
        dali_index=told.get("dali-index", False),
        shuffle=told.get("shuffle", job.shuffle),
        with_json=told.get("draws-json", job.with_json),
        seed=int(told["seed"]),
        draws=told.get("draws", "keyed"),
    )
