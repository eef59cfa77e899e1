"""Draw docs/safety.png from recorded runs of the safety benchmark.

PYTHONPATH=. python docs/make_safety_figure.py docs/lab/2026-11-29-safety-50000.json docs/safety.png
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
    """Read the runs and write the picture: arguments are the two paths."""
    runs: list[dict[str, Any]] = json.loads(Path(arguments[0]).read_text("utf-8"))["runs"]
    named = [{**run, "arm": NAMES[run["arm"]]} for run in runs]
    figures.draw(named, Path(arguments[1]), NAMES["plain"])


if __name__ == "__main__":
    main(sys.argv[1:])
