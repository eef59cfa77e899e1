"""The pictures of the README and the docs, from what `make demo` made.

python docs/make_pictures.py DEMO DOCS
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from pixmix_cli.pipelines.preview import Sheet, draw, sheet_of
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.storage.images import decode_rgb, encode

CELL, COLUMNS, ROWS = 96, 6, 7


def block(folder: Path, count: int) -> np.ndarray:
    """The first pictures of a mixing set, COLUMNS in a row."""
    refs = find_pictures(folder, print)[:count]
    return draw(Sheet(tuple(decode_rgb(r.read(), r.name) for r in refs), COLUMNS, False), CELL)


def main() -> None:
    """Write DOCS/hero.jpg: fractals, feature visualizations, baked photographs."""
    demo, docs = Path(sys.argv[1]), Path(sys.argv[2])
    left = np.vstack(
        [block(demo / "mixing" / "fractals", 24), block(demo / "mixing" / "featvis", 18)]
    )
    right = sheet_of(demo / "baked", ROWS, 1, CELL, print)
    height = max(left.shape[0], right.shape[0])
    paper = np.full((height, left.shape[1] + right.shape[1] + 16, 3), 255, np.uint8)
    paper[: left.shape[0], : left.shape[1]] = left
    paper[: right.shape[0], left.shape[1] + 16 :] = right
    (docs / "hero.jpg").write_bytes(encode(paper, "jpeg", quality=88))


if __name__ == "__main__":
    main()
