"""pixmix preview: a contact sheet."""

from __future__ import annotations

from pathlib import Path

import click

from pixmix_cli import options
from pixmix_cli.options import option

EXAMPLES = """
pixmix preview mixing/fractals -o fractals.png
pixmix preview mixing/fractals mixing/featvis baked -o sheet.png
pixmix preview baked -o baked.png --count 12
"""


MAX_SIDE = {"jpeg": 65_500, "webp": 16_383}  # pixels that the formats can hold


@click.command("preview", cls=options.Command, examples=EXAMPLES)
@options.paths_argument
@option(
    "-o",
    "--output",
    type=options.LocalPath(),
    required=True,
    metavar="SHEET.png",
    help="Picture to write: .png, .jpg or .webp.",
)
@option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=None,
    show_default="60, baked 10",
    help="Pictures; of a baked set samples, each with its original.",
)
@option("--columns", type=click.IntRange(1, 1000), default=10, help="Pictures a row.")
@option("--cell", type=click.IntRange(8, 2048), default=128, help="Side of a cell, pixels.")
@option("--overwrite", is_flag=True, help="Replace the sheet.")
@options.terminal_options
def command(
    paths: tuple[Path, ...],
    output: Path,
    count: int | None,
    columns: int,
    cell: int,
    overwrite: bool,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
) -> int:
    """Draw a contact sheet of each PATH: a folder, a .tar, a mixing set or a baked set.

    The pictures are the first ones, not picked; of a baked set, whose samples are taken evenly
    spaced where it is not shuffled, each row shows an original and its copies. Several PATHs are
    drawn one below the other.
    """
    import contextlib

    import numpy as np

    from pixmix_cli.commands.common import picture_output
    from pixmix_cli.errors import InputError
    from pixmix_cli.pipelines import preview
    from pixmix_cli.storage import images
    from pixmix_cli.storage.files import partial_files, write_whole
    from pixmix_cli.storage.missing import missing
    from pixmix_cli.storage.png import encode_strips

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    image_format = picture_output(output, overwrite)
    for path in paths:
        if not path.exists():
            raise missing("", path)
    opened = [preview.open_set(path, count, terminal.warn) for path in paths]
    left = sum(one.work for one in opened)
    with contextlib.ExitStack() as files, terminal.meter(left, "pic") as meter:

        def done(number: int) -> None:
            nonlocal left
            number = min(number, left)
            left -= number
            meter.update(number)

        sheets = [
            preview.sheet_of(one, columns, cell, files, terminal.warn, done) for one in opened
        ]
        shapes = [sheet.shape(cell) for sheet in sheets]
        height, width = sum(shape[0] for shape in shapes), max(shape[1] for shape in shapes)
        limit = MAX_SIDE.get(image_format)
        if limit is not None and max(height, width) > limit:
            raise InputError(
                f"a sheet of {width} x {height} pixels does not fit {image_format}",
                "a smaller --count or --cell, or a name that ends in .png",
            )
        strips = (strip for sheet in sheets for strip in preview.strips(sheet, cell, width))
        if image_format == "png":  # of any height, in the memory of a row of cells
            with partial_files([output], output.parent) as (file,):
                for piece in encode_strips(width, height, strips):
                    file.write(piece)
        else:
            write_whole(output, images.encode(np.concatenate(list(strips)), image_format))
        done(left)  # a baked set may have fewer samples than were asked for
    terminal.emit({"path": str(output), "width": width, "height": height})
    return 0
