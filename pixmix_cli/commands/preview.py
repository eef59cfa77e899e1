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
    from pixmix_cli.commands.common import picture_output
    from pixmix_cli.errors import InputError
    from pixmix_cli.pipelines import preview
    from pixmix_cli.storage import images
    from pixmix_cli.storage.files import write_whole

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    image_format = picture_output(output, overwrite)
    for path in paths:
        if not path.exists():
            raise InputError(f"{path} does not exist")
    sheet = preview.stack(
        [preview.sheet_of(path, count, columns, cell, terminal.warn) for path in paths]
    )
    limit = MAX_SIDE.get(image_format)
    if limit is not None and max(sheet.shape) > limit:
        raise InputError(
            f"a sheet of {sheet.shape[1]} x {sheet.shape[0]} pixels does not fit {image_format}",
            "a smaller --count or --cell, or a name that ends in .png",
        )
    data = images.encode(sheet, image_format)
    write_whole(output, data)
    terminal.emit({"path": str(output), "width": sheet.shape[1], "height": sheet.shape[0]})
    return 0
