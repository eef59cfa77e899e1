"""Options that several commands share.

terminal_options     every command: --json --progress --quiet --verbose --debug --config
workers_option       every one but preview and doctor
paths_argument       inspect, preview, report
existing_options     generate-fractals, render-featvis, bake: --resume --overwrite
part_option          the same three: --shard
engine_options       the same three: --engine --ray-address
dry_run_option       the same three
mixing_set_options   generate-fractals, render-featvis: --output --format --image-format
                     --quality --contrast --saturation --shard-size --seed
image_format_option, quality_option, seed_option    these two and bake
"""

from __future__ import annotations

import click

from pixmix_cli.options.config_file import load_config
from pixmix_cli.options.help_page import compose, option
from pixmix_cli.options.types import AnyPath, Factor, LocalPath, NameIn, OneOf
from pixmix_cli.pipelines.mixing_sets.registry import SET_FORMATS
from pixmix_cli.units import MAX_TONE

MAX_COUNT = 100_000_000  # pictures of a set; beyond it is surely a slip
_RUNNING = "Running"

paths_argument = click.argument(
    "paths", type=LocalPath(), nargs=-1, required=True, metavar="PATH..."
)

seed_option = option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    section="Output",
    help="Same seed, same bytes, for any number of workers.",
)
image_format_option = option(
    "--image-format",
    type=OneOf(["jpeg", "png", "webp"]),
    default="jpeg",
    section="Output",
    help="jpeg is 4:4:4; png and webp are lossless.",
)
quality_option = option(
    "--quality", type=click.IntRange(1, 100), default=95, section="Output", help="JPEG quality."
)
existing_options = compose(
    option(
        "--resume",
        is_flag=True,
        section=_RUNNING,
        help="Go on with an unfinished output, or grow a finished one.",
    ),
    option(
        "--overwrite",
        is_flag=True,
        section=_RUNNING,
        help="Remove what pixmix wrote at the output, then begin.",
    ),
)
part_option = option(
    "--shard",
    "part",
    metavar="I/N|auto",
    section=_RUNNING,
    show_default="all of it",
    help="Make part I (from 0) of N of the output, beside runs that make the others, here or on "
    "other machines that see the same folder; goes on with what is there. The last to end writes "
    "the manifest. auto: from SLURM_ARRAY_TASK_ID and _COUNT, or RANK and WORLD_SIZE.",
)
engine_options = compose(
    option(
        "--engine",
        type=OneOf(["local", "ray"]),
        default="local",
        section=_RUNNING,
        help="Who runs the workers: this process, or Ray (pip install 'pixmix[ray]').",
    ),
    option(
        "--ray-address",
        metavar="ADDRESS",
        section=_RUNNING,
        show_default="a Ray of its own on this machine",
        help="A Ray cluster, as auto or ray://head:10001; its nodes must see the same paths.",
    ),
)
dry_run_option = option(
    "--dry-run", is_flag=True, section=_RUNNING, help="Print the plan and write nothing."
)
workers_option = option(
    "-j",
    "--workers",
    type=click.IntRange(1),
    default=None,
    section=_RUNNING,
    show_default="all cores",
    help="Worker processes; never changes a byte.",
)


terminal_options = compose(
    option(
        "--json",
        "as_json",
        is_flag=True,
        section=_RUNNING,
        help="One JSON record an artefact on stdout instead of its path.",
    ),
    option(
        "--progress",
        type=OneOf(["auto", "bar", "json", "none"]),
        default="auto",
        section=_RUNNING,
        help="Progress on stderr; auto: a bar on a terminal.",
    ),
    option(
        "-q",
        "--quiet",
        count=True,
        section=_RUNNING,
        show_default=False,
        help="No progress bar; -qq: errors only.",
    ),
    option(
        "-v",
        "--verbose",
        count=True,
        section=_RUNNING,
        show_default=False,
        help="More messages.",
    ),
    option(
        "--debug",
        is_flag=True,
        allow_from_autoenv=False,
        show_envvar=False,
        section=_RUNNING,
        expose_value=False,
        help="Show Python tracebacks.",
    ),
    option(
        "--config",
        type=LocalPath(),
        is_eager=True,
        expose_value=False,
        callback=load_config,
        section=_RUNNING,
        metavar="FILE",
        help="TOML file of defaults: a [COMMAND] table of option names.",
    ),
)


mixing_set_options = compose(
    option(
        "-o",
        "--output",
        type=AnyPath(allow_dash=True),
        metavar="PATH",
        section="Output",
        help="Folder to write, or its URL as s3://...; - streams a tar to stdout.",
    ),
    option(
        "--format",
        type=NameIn(SET_FORMATS),
        default="folder",
        section="Output",
        help="Loose files, 1,000 a folder, or tar shards.",
    ),
    image_format_option,
    quality_option,
    option(
        "--contrast",
        type=Factor(0, MAX_TONE),
        default=1.0,
        section="Output",
        help="How far brightness stands from middle grey, beside the picture as it is made.",
    ),
    option(
        "--saturation",
        type=Factor(0, MAX_TONE),
        default=1.0,
        section="Output",
        help="How far colour stands from grey. Weaker pictures with strong colours suit small "
        "ones for training: docs/settings.md.",
    ),
    option(
        "--shard-size",
        type=click.IntRange(1),
        default=1000,
        section="Output",
        help="webdataset: pictures a shard.",
    ),
    seed_option,
)
