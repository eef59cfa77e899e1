"""The pictures of the README and the docs, from what `make demo` made.

python docs/make_pictures.py DEMO DOCS
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import numpy as np

from pixmix_cli.pipelines.preview import Sheet, draw, open_set, sheet_of
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.storage.images import decode_rgb, encode

CELL, COLUMNS, ROWS = 96, 6, 7


def block(folder: Path, count: int) -> np.ndarray:
    """The first pictures of a mixing set, COLUMNS in a row."""
    refs = find_pictures(folder, print)[:count]
    cells = (decode_rgb(ref.read(), ref.name) for ref in refs)
    return draw(Sheet(cells, len(refs), COLUMNS, False), CELL)


def main() -> None:
    """Write DOCS/hero.jpg: fractals, feature visualizations, baked photographs."""
    demo, docs = Path(sys.argv[1]), Path(sys.argv[2])
    left = np.vstack(
        [block(demo / "mixing" / "fractals", 24), block(demo / "mixing" / "featvis", 18)]
    )
    with contextlib.ExitStack() as files:
        baked = open_set(demo / "baked", ROWS, print)
        right = draw(sheet_of(baked, 1, CELL, files, print), CELL)
    height = max(left.shape[0], right.shape[0])
    paper = np.full((height, left.shape[1] + right.shape[1] + 16, 3), 255, np.uint8)
    paper[: left.shape[0], : left.shape[1]] = left
    paper[: right.shape[0], left.shape[1] + 16 :] = right
    (docs / "hero.jpg").write_bytes(encode(paper, "jpeg", quality=88))


if __name__ == "__main__":
    main()
