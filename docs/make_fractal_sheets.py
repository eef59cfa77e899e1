"""The first 100 fractals of seed 0, in order and not picked, as they are and as seen at 32 px.

python docs/make_fractal_sheets.py SET DOCS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pixmix_cli.pipelines.inspect.measures import shrink
from pixmix_cli.pipelines.preview import Sheet, draw
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.storage.images import decode_rgb, encode

COUNT, COLUMNS = 100, 10
CELL = 112  # pixels: a sheet of 1,164 fits a page, and 600 KB
SMALL, ENLARGED = 32, 3  # the size at which CIFAR users see them, drawn threefold
LIMIT = 600_000  # bytes


def main() -> None:
    """Write DOCS/fractals.jpg and DOCS/fractals-32.jpg."""
    refs = find_pictures(Path(sys.argv[1]), print)[:COUNT]
    if len(refs) < COUNT:
        raise SystemExit(f"{sys.argv[1]} has {len(refs)} pictures, {COUNT} are wanted")
    pictures = [decode_rgb(ref.read(), ref.name) for ref in refs]
    small = [np.rint(shrink(pixels, SMALL)).astype(np.uint8) for pixels in pictures]
    for name, cells, side in (
        ("fractals.jpg", pictures, CELL),
        ("fractals-32.jpg", small, SMALL * ENLARGED),
    ):
        sheet = draw(Sheet(cells, len(cells), COLUMNS, False), side)
        data = next(d for q in range(90, 20, -5) if len(d := encode(sheet, "jpeg", q)) < LIMIT)
        (Path(sys.argv[2]) / name).write_bytes(data)


if __name__ == "__main__":
    main()
