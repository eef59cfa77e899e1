"""pixmix inspect: is a mixing set any good?"""

from __future__ import annotations

from pathlib import Path

import click

from pixmix_cli import options
from pixmix_cli.options import option

EXAMPLES = """
pixmix inspect mixing/fractals
pixmix inspect mixing/fractals someone/elses.tar --plot sets.png
pixmix inspect mixing --json | jq '.near_duplicates.closest'
"""


@click.command("inspect", cls=options.Command, examples=EXAMPLES)
@options.paths_argument
@option(
    "--plot",
    type=options.LocalPath(),
    metavar="PLOT.png",
    help="Also draw the measures of every picture: .png, .jpg or .webp.",
)
@option("--overwrite", is_flag=True, help="Replace the plot.")
@options.workers_option
@options.terminal_options
def command(
    paths: tuple[Path, ...],
    plot: Path | None,
    overwrite: bool,
    workers: int | None,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
) -> int:
    """Measure each PATH, a folder or .tar of pictures, pixmix's or anyone's, side by side.

    Shows the median [10%, 90%] over the pictures of: the entropy of grey levels; the share of 8x8
    blocks that have structure; colourfulness and the entropy of hues; the slope of the spectrum
    (2 in photographs); the box-counting dimension of edges; the contrast after shrinking to 32 px.
    All but the last after shrinking twofold, so that grain does not count. Then the mean distance
    between two pictures at 32 px, near-duplicates, and blank pictures. --json has the names. An
    exclamation mark stands behind what misses a goal that we have for our own sets.

    Pictures that cannot be read are named on stderr, and the exit code is 3.
    """
    from pixmix_cli.commands.common import EXIT_SKIPPED, picture_output
    from pixmix_cli.errors import InputError
    from pixmix_cli.pipelines.engines.local import default_workers
    from pixmix_cli.pipelines.inspect.summary import (
        Summary,
        details_of,
        find_sets,
        measure_sets,
        record_of,
        table_of,
    )

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    plot_format = None if plot is None else picture_output(plot, overwrite)
    sets = find_sets(paths, terminal.warn)
    summaries = [Summary(one.path) for one in sets]
    with terminal.meter(sum(len(one.refs) for one in sets), "pic") as meter:
        for done in measure_sets(sets, summaries, workers or default_workers()):
            meter.update(done)
    for summary in summaries:
        for item in summary.broken:
            terminal.warn(f"{summary.path}: {item['error']}")
        if not summary.names:
            raise InputError(f"{summary.path} holds no picture that can be read")
    with terminal.meter(sum(len(one.names) for one in summaries), " compared") as meter:
        records = [record_of(summary, meter.update) for summary in summaries]
    if as_json:
        for record in records:
            terminal.emit(record)
    else:
        details = (line for record in records for line in details_of(record))
        for line in (*table_of(records), *details):
            terminal.line(line)
    if plot is not None and plot_format is not None:
        from pixmix_cli.pipelines.inspect.plot import draw
        from pixmix_cli.storage import images
        from pixmix_cli.storage.files import write_whole

        write_whole(plot, images.encode(draw(summaries, records), plot_format))
    return EXIT_SKIPPED if any(summary.broken for summary in summaries) else 0
