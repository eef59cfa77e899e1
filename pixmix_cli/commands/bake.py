"""pixmix bake: PixMix-augmented copies of a dataset, as shards."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from pixmix_cli import options
from pixmix_cli.commands.common import check_config, follow, show_plan
from pixmix_cli.mixing.config import CROPS
from pixmix_cli.options import option
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.sources.registry import KINDS
from pixmix_cli.storage.remote import Url
from pixmix_cli.terminal import StdoutSink
from pixmix_cli.units import MAX_PIXELS, Bytes

EXAMPLES = """
pixmix bake photos/train --mixing-set mixing -o baked --copies 8
pixmix bake cifar-10-python.tar.gz --preset cifar --mixing-set mixing -o baked --format npy
pixmix generate-fractals -n 2000 -o - | pixmix bake photos/train --mixing-set - -o baked
find photos -name '*.jpg' -print0 | pixmix bake - --mixing-set mixing -o baked
pixmix bake photos/train --mixing-set mixing -o baked --shard 3/16
"""

_SOURCE, _RECIPE, _OUT, _RUN = "Source", "Recipe", "Output", "Running"


@click.command("bake", cls=options.Command, examples=EXAMPLES)
@click.argument("source", type=options.AnyPath())
@option(
    "--source-format",
    type=options.NameIn(KINDS, "auto"),
    default="auto",
    section=_SOURCE,
    help="What SOURCE is; auto tells by what holds pictures in it.",
)
@option(
    "--split",
    metavar="NAME",
    section=_SOURCE,
    show_default="train, where there are several",
    help="Part of a CIFAR, .npz or Hugging Face dataset.",
)
@option(
    "--label-field",
    metavar="NAME",
    section=_SOURCE,
    show_default=False,
    help="Column, field or array of the label, as coarse_labels of CIFAR-100.",
)
@option(
    "--path-field",
    metavar="NAME",
    section=_SOURCE,
    show_default=False,
    help="Column or field of the path, of a .csv, .tsv or .jsonl list.",
)
@option(
    "--mixing-set",
    "mixing_set",
    type=options.WeightedPath(),
    multiple=True,
    required=True,
    section=_RECIPE,
    metavar="PATH[:WEIGHT]",
    show_default=False,
    help="Folder, tar, array (.npy), list of paths or URL of these, with pictures to mix in, or - "
    "for a tar on stdin; may be given several "
    "times (in the environment with : between). With weights, as fractals:1 featvis:2, a set is "
    "picked from so often whatever its size; without, every picture is equally likely.",
)
@option(
    "--preset",
    type=options.OneOf(["imagenet", "cifar"]),
    default="imagenet",
    section=_RECIPE,
    help="The paper's recipe, with its geometry.",
)
@option(
    "--size",
    type=int,
    section=_RECIPE,
    show_default="224, cifar 32",
    help="Side of the output pictures, pixels.",
)
@option("--k", type=int, section=_RECIPE, show_default="4", help="At most k mixing rounds.")
@option(
    "--beta",
    type=float,
    section=_RECIPE,
    show_default="4, cifar 3",
    help="Mixing weights; larger keeps closer to the original.",
)
@option(
    "--severity",
    type=float,
    section=_RECIPE,
    show_default="1, cifar 3",
    help="Upper end of the augmentations' level.",
)
@option(
    "--all-ops/--no-all-ops",
    default=True,
    section=_RECIPE,
    help="Also colour, contrast, brightness, sharpness; these four overlap with the "
    "corruptions of ImageNet-C and CIFAR-C.",
)
@option(
    "--crop",
    type=options.OneOf(CROPS),
    default="random",
    section=_RECIPE,
    help="Of SOURCE's pictures: random, as the preset; center, as for examining; none: the whole "
    "picture, squeezed to a square.",
)
@option(
    "--flip/--no-flip",
    default=True,
    section=_RECIPE,
    help="Mirror half of them left to right; not digits, letters or scans.",
)
@option(
    "--operations",
    metavar="NAME,NAME...",
    section=_RECIPE,
    show_default="add,multiply",
    help="How pictures are mixed, each as likely in a round: add, multiply, and beyond the paper "
    "screen, overlay, darken-lighten, swap-channel.",
)
@option(
    "--draws",
    type=options.OneOf(["keyed", "reference"]),
    default="keyed",
    section=_RECIPE,
    help="keyed by seed, copy and sample; or in the order of the published code's calls of NumPy's "
    "and torch's generators, for parity studies.",
)
@option(
    "-o",
    "--output",
    type=options.AnyPath(allow_dash=True),
    required=True,
    metavar="PATH",
    section=_OUT,
    help="Folder to write, or its URL as s3://...; - streams all copies as one tar to stdout.",
)
@option(
    "--copies",
    type=click.IntRange(1, 100_000),
    default=1,
    section=_OUT,
    help="Augmented copies of each picture; one folder a copy. For more than four epochs a copy,"
    " bake with --no-flip and --crop center or none, and flip and crop in training.",
)
@option(
    "--plain",
    type=click.IntRange(0, 100_000),
    default=0,
    section=_OUT,
    metavar="N",
    help="Also N copies without PixMix, with the crops and flips of the first N, as a control.",
)
@option(
    "--format",
    type=options.NameIn(FORMATS),
    default="webdataset",
    section=_OUT,
    help="Layout of the output.",
)
@options.image_format_option
@options.quality_option
@option(
    "--shard-size",
    type=options.ShardSize(),
    section=_OUT,
    show_default="100 to 1000",
    help="Samples a shard, or bytes, as 256MB: then a few samples are baked to see how many fit.",
)
@option(
    "--pad",
    is_flag=True,
    section=_OUT,
    help="Fill the last shard, and those with skipped pictures, with samples once more.",
)
@option(
    "--drop-last",
    is_flag=True,
    section=_OUT,
    help="Leave the samples out that fill no whole shard.",
)
@option(
    "--dali-index",
    is_flag=True,
    section=_OUT,
    help="webdataset: the .idx that NVIDIA DALI's reader wants beside each tar.",
)
@option(
    "--shuffle/--no-shuffle",
    default=True,
    section=_OUT,
    help="webdataset, parquet: spread the classes over the shards, by the seed.",
)
@option(
    "--draws-json/--no-draws-json",
    default=True,
    section=_OUT,
    help="webdataset, parquet: each sample's draws, in a .json member or a column.",
)
@options.seed_option
@option(
    "--on-error",
    type=options.OneOf(["fail", "skip"]),
    default="skip",
    section=_RUN,
    help="A picture that cannot be read: stop, or leave it out, list it, exit 3.",
)
@option(
    "--max-errors",
    type=click.IntRange(0),
    metavar="N",
    section=_RUN,
    show_default="any number",
    help="Stop when more than N pictures are left out.",
)
@option(
    "--max-pixels",
    type=click.IntRange(1, 1 << 31),
    default=MAX_PIXELS,
    metavar="N",
    section=_RUN,
    help="Larger pictures cannot be read, of SOURCE and mixing sets alike. Each pixel stands for "
    "7.5 bytes of a worker's memory.",
)
@options.workers_option
@option(
    "--mixing-cache",
    type=options.LocalPath(),
    section=_RUN,
    metavar="FOLDER|none",
    show_default="pixmix in the user's cache folder",
    help="Where decoded mixing pictures are kept for other workers and later runs.",
)
@options.existing_options
@options.part_option
@options.engine_options
@options.dry_run_option
@options.terminal_options
def command(
    source: Path | Url,
    mixing_set: tuple[str, ...],
    preset: str,
    all_ops: bool,
    crop: str,
    flip: bool,
    size: int | None,
    k: int | None,
    beta: float | None,
    severity: float | None,
    operations: str | None,
    workers: int | None,
    engine: str,
    ray_address: str | None,
    mixing_cache: Path | None,
    dry_run: bool,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
    resume: bool,
    overwrite: bool,
    part: str | None,
    shard_size: Bytes | int | None,
    pad: bool,
    drop_last: bool,
    **settings: Any,
) -> int:
    """Write PixMix-augmented copies of SOURCE, for offline training.

    SOURCE is an ImageFolder, WebDataset tars (a folder, one tar, or a quoted pattern), CIFAR-10 or
    CIFAR-100 as downloaded (torchvision:cifar10 and torchvision:cifar100 download them), .npz or
    .npy arrays, Parquet or a saved Hugging Face dataset, a .csv, .tsv or .jsonl list of path and
    label, or - for stdin: a tar, or a list of paths that end with newline or NUL, whose folder is
    the class, or path TAB label. Any of them may be a URL (s3://, gs://, hf://, https://).
    """
    from pixmix_cli.mixing.config import PRESETS
    from pixmix_cli.pipelines.bake.describe import describe_bake
    from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs, Running
    from pixmix_cli.pipelines.bake.plan import plan_bake
    from pixmix_cli.pipelines.bake.run import run_bake, stream_bake
    from pixmix_cli.sources.mixing_set import weighted_paths
    from pixmix_cli.sources.picture_cache import default_folder

    if pad and drop_last:
        raise click.UsageError("--pad and --drop-last exclude each other")
    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    given: dict[str, Any] = {"size": size, "k": k, "beta": beta, "severity": severity}
    if operations is not None:
        given["operations"] = tuple(name.strip() for name in operations.split(","))
    chosen = {name: value for name, value in given.items() if value is not None}
    with check_config():
        config = replace(PRESETS[preset], all_ops=all_ops, crop=crop, flip=flip, **chosen)
    mixing_sets, mixing_weights = weighted_paths(mixing_set)
    output = settings.pop("output")
    cache = None if str(mixing_cache) == "none" else mixing_cache or default_folder()

    def of(group: type[Any]) -> dict[str, Any]:
        """The options that are fields of a part of the job, by their names."""
        return {f.name: settings.pop(f.name) for f in fields(group) if f.name in settings}

    with options.job_settings(
        output, source, *mixing_sets,
        workers=workers, resume=resume, overwrite=overwrite, part=part, engine=engine,
        ray_address=ray_address,
    ) as shared:  # fmt: skip
        job = BakeJob(
            inputs=Inputs(source, mixing_sets, mixing_weights=mixing_weights, **of(Inputs)),
            destination=shared["destination"],
            config=config,
            files=Files(
                shard_size=shard_size,
                equal="pad" if pad else "drop-last" if drop_last else None,
                **of(Files),
            ),
            running=Running(shared["workers"], shared["engine"], mixing_cache=cache, **of(Running)),
            **settings,
        )
        plan = plan_bake(job, terminal.warn, write=not dry_run)
        if dry_run:
            return show_plan(terminal, lambda: describe_bake(plan))
        if job.destination.is_stream:
            steps = stream_bake(plan, StdoutSink(), terminal.warn)
            return follow(terminal, None, steps, plan.own, plan.remaining, kernels="mixing")
        if plan.advice:
            terminal.advise(plan.advice)
        shards = sum(len(copies) for _, copies in plan.pending)
        return follow(
            terminal, output, run_bake(plan), plan.own, plan.remaining, shards, kernels="mixing"
        )
