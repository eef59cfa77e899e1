"""pixmix report: one page that shows a set and whether it is right."""

from __future__ import annotations

from pathlib import Path

import click

from pixmix_cli import options
from pixmix_cli.options import option

EXAMPLES = """
pixmix report mixing/fractals mixing/featvis baked -o report.html
pixmix report mixing someone/elses.tar -o compared.html
"""


@click.command("report", cls=options.Command, examples=EXAMPLES)
@options.paths_argument
@option(
    "-o",
    "--output",
    type=options.LocalPath(),
    required=True,
    metavar="REPORT.html",
    help="Page to write.",
)
@option(
    "--pictures",
    type=click.IntRange(1, 600),
    default=120,
    help="Pictures of a mixing set, evenly spaced.",
)
@option("--samples", type=click.IntRange(1, 100), default=12, help="Originals of a baked set.")
@option("--overwrite", is_flag=True, help="Replace the page.")
@options.workers_option
@options.terminal_options
def command(
    paths: tuple[Path, ...],
    output: Path,
    pictures: int,
    samples: int,
    overwrite: bool,
    workers: int | None,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
) -> int:
    """Write one self-contained HTML page about each PATH: a folder, a .tar, a baked set.

    Of a mixing set, pixmix's or anyone's: a gallery to filter, and the measures of `pixmix
    inspect` beside the ranges of other generators. Of a baked set: originals beside their copies
    with the draws in words, the draws against what the recipe prescribes, classes and errors. Of an
    output of the safety benchmark: its figure and tables.

    The page holds its pictures, at most 256 px of the longer side. A larger one is shown whole as
    long as its file lies where it lay, seen from the page.
    """
    from pixmix_cli.commands.common import check_new_file
    from pixmix_cli.pipelines.engines.local import default_workers
    from pixmix_cli.pipelines.report import sections
    from pixmix_cli.pipelines.report.page import page_of
    from pixmix_cli.pipelines.report.sections import MOST_PICTURES
    from pixmix_cli.storage.files import write_whole
    from pixmix_cli.storage.missing import missing

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    check_new_file(output, overwrite)
    for path in paths:
        if not path.exists():
            raise missing("", path)
    most = min(pictures, MOST_PICTURES // len(paths))
    opened = [sections.look(path, most, samples, terminal.warn) for path in paths]
    measured = sum(len(one.refs) for one in opened if one.refs is not None)
    # pictures are measured, then compared; what there is to gather has its own counts
    total = sum(one.work for one in opened) + 2 * measured
    side = sections.side_of(opened)
    with terminal.meter(total, " steps") as meter:
        found = [sections.gather(one, side, meter.update) for one in opened]
        for done in sections.measure(found, opened, workers or default_workers()):
            meter.update(done)
        sections.compare(found, meter.update)
        meter.update(sum(one.unread for one in found))  # could not be compared
    page = page_of(found, output.parent)
    write_whole(output, page)
    terminal.emit({"path": str(output), "bytes": len(page)})
    return 0
