"""pixmix generate-fractals: the fractal half of a mixing set."""

from __future__ import annotations

from typing import Any

import click

from pixmix_cli import options
from pixmix_cli.commands.common import check_config, make_set
from pixmix_cli.options import option

EXAMPLES = """
pixmix generate-fractals -n 14230 --size 512 -o mixing/fractals
pixmix generate-fractals -n 2000 --size 256 -o - > fractals.tar
"""


@click.command("generate-fractals", cls=options.Command, examples=EXAMPLES)
@option(
    "-n",
    "--count",
    type=click.IntRange(1, options.MAX_COUNT),
    required=True,
    section="Pictures",
    help="Number of pictures; with --resume a larger one grows the set.",
)
@option("--size", type=int, default=512, section="Pictures", help="Side in pixels.")
@option(
    "--kind",
    type=click.Choice(["mixed", "affine", "flame"]),
    default="mixed",
    section="Pictures",
    help="Affine systems, fractal flames, or both.",
)
@option(
    "--points-per-pixel",
    type=float,
    default=8.0,
    section="Pictures",
    help="Samples of the attractor; fewer are faster and grainier.",
)
@options.mixing_set_options
@options.workers_option
@options.existing_options
@options.dry_run_option
@options.terminal_options
def command(
    count: int,
    size: int,
    kind: str,
    points_per_pixel: float,
    dry_run: bool,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
    **storage: Any,
) -> int:
    """Generate colourful fractals: affine iterated function systems and fractal flames."""
    from fractals.config import FractalConfig
    from pixmix_cli.pipelines import fractal_set

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    job = options.mixing_set_job(**storage)
    with check_config():
        config = FractalConfig(kind=kind, size=size, points_per_pixel=points_per_pixel)
    plan = fractal_set.plan(config, count, job)
    return make_set(terminal, plan, dry_run, lambda: fractal_set.describe(plan, config))
