"""pixmix generate-fractals: the fractal half of a mixing set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from pixmix_cli import options
from pixmix_cli.commands.common import check_config, make_set
from pixmix_cli.options import option

EXAMPLES = """
pixmix generate-fractals -n 14230 --size 512 -o mixing/fractals
pixmix generate-fractals -n 2000 --size 256 -o - > fractals.tar
pixmix generate-fractals --from mixing/fractals/000/000012.jpg --size 2048 -o poster
"""


@click.command("generate-fractals", cls=options.Command, examples=EXAMPLES)
@option(
    "-n",
    "--count",
    type=click.IntRange(1, options.MAX_COUNT),
    default=None,
    section="Pictures",
    help="Number of pictures; with --resume a larger one grows the set.",
)
@option(
    "--from",
    "recipes",
    type=options.LocalPath(),
    multiple=True,
    metavar="PATH",
    section="Pictures",
    help="Render recipes again instead of drawing new ones: of a picture or a set that pixmix "
    "made, of its manifest, or a recipe as a .json file. Contrast and saturation are the recipe's, "
    "too, unless they are given.",
)
@option(
    "--size",
    type=int,
    default=None,
    show_default="512; with --from, the recipe's",
    section="Pictures",
    help="Side in pixels.",
)
@option(
    "--kind",
    type=options.OneOf(["mixed", "affine", "flame"]),
    default=None,
    show_default="mixed",
    section="Pictures",
    help="Affine systems, fractal flames, or both.",
)
@option(
    "--points-per-pixel",
    type=float,
    default=None,
    show_default="8; with --from, the recipe's",
    section="Pictures",
    help="Samples of the attractor; fewer are faster and grainier.",
)
@options.mixing_set_options
@options.workers_option
@options.existing_options
@options.part_option
@options.engine_options
@options.dry_run_option
@options.terminal_options
@click.pass_context
def command(
    context: click.Context,
    count: int | None,
    recipes: tuple[Path, ...],
    size: int | None,
    kind: str | None,
    points_per_pixel: float | None,
    dry_run: bool,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
    **storage: Any,
) -> int:
    """Generate colourful fractals: affine iterated function systems and fractal flames.

    Each picture carries its recipe, from which --from renders it again, at any size.
    """
    from fractals.config import FractalConfig, check_points, check_size
    from pixmix_cli.pipelines.mixing_sets.fractals import describe_fractals, plan_fractals
    from pixmix_cli.pipelines.mixing_sets.fractals_again import Again, plan_fractals_again

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    with options.mixing_set_job(**storage) as job:
        if recipes:
            _refuse_with_from(context)
            with check_config():
                if size is not None:
                    check_size(size)
                if points_per_pixel is not None:
                    check_points(points_per_pixel, size or 1)
            tone = {name: _given(context, name) for name in ("contrast", "saturation")}
            again = Again(size, points_per_pixel, **tone)
            plan = plan_fractals_again(recipes, again, job, terminal.warn)
        else:
            if count is None:
                raise click.UsageError("Missing option '-n' / '--count'.")
            default = FractalConfig()
            with check_config():
                config = FractalConfig(
                    kind=kind or default.kind,
                    size=default.size if size is None else size,
                    points_per_pixel=default.points_per_pixel
                    if points_per_pixel is None
                    else points_per_pixel,
                )
            plan = plan_fractals(config, count, job)
        return make_set(terminal, plan, dry_run, lambda: describe_fractals(plan), "fractals")


def _given(context: click.Context, name: str) -> float | None:
    """The value of an option that was given, in whatever way; None: the default."""
    if context.get_parameter_source(name) is ParameterSource.DEFAULT:
        return None
    value: float = context.params[name]
    return value


def _refuse_with_from(context: click.Context) -> None:
    """Options that mean nothing where recipes say all."""
    for name in ("count", "kind", "seed"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--{name} and --from exclude each other")
