"""Draw docs/safety.png and docs/copies.png from recorded runs of the safety benchmark.

export PYTHONPATH=.
python docs/make_safety_figure.py five docs/lab/2026-11-29-safety-50000.json docs/safety.png
python docs/make_safety_figure.py copies docs/lab/2026-11-29-copies.json docs/copies.png
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.safety import figures

NAMES = {  # of the arms: what the figure calls them
    "plain": "crop and flip",
    "cutout": "Cutout",
    "mixup": "Mixup",
    "cutmix": "CutMix",
    "noise": "PixMix, coloured noise",
    "ours": "PixMix, ours",
    "soft": "PixMix, ours, weak",
}


def main(arguments: list[str]) -> None:
    """Read the runs and write the picture: arguments are what to draw and the two paths."""
    what, source, target = arguments
    runs: list[dict[str, Any]] = json.loads(Path(source).read_text("utf-8"))["runs"]
    if what == "five":
        named = [{**run, "arm": NAMES[run["arm"]]} for run in runs]
        figures.draw(named, Path(target), NAMES["plain"])
    else:
        named = [
            {**run, "recipe": NAMES["ours"]} if run["copies"] else {**run, "arm": NAMES["plain"]}
            for run in runs
        ]
        figures.draw_copies(named, Path(target), NAMES["plain"])


if __name__ == "__main__":
    main(sys.argv[1:])
