"""Draw docs/safety.png from the table of a recorded run: five measures, mean and spread.

python docs/make_safety_figure.py docs/lab/2026-11-26-safety-cifar10.md docs/safety.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

ARMS = {  # of the table: what the figure calls it
    "plain": "crop and flip only",
    "noise": "PixMix, coloured noise (control)",
    "current": "PixMix, fractals",
    "own": "PixMix, feature visualizations\n(shipped network)",
    "imagenet": "PixMix, feature visualizations\n(ImageNet network)",
}
MEASURES = {  # column of the table: heading
    "corruption error": "corruption error",
    "calibration, corrupted": "calibration error,\ncorrupted pictures",
    "adversarial error": "adversarial error",
    "flip rate": "flip rate",
    "AUROC, structured": "AUROC of structured\nanomalies",
}
COLOURS = {"plain": "0.35", "noise": "0.6"}  # the two controls are grey
OURS = "#2f6fde"


def read_table(page: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Arm -> column -> (mean, standard deviation), of the page's first table by arm and seeds."""
    lines = page.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| arm | seeds |"))
    columns = [cell.strip() for cell in lines[start].strip("|").split("|")]
    table = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        cells = dict(zip(columns, (cell.strip() for cell in line.strip("|").split("|"))))
        pairs = {name: cells[name].split(" ± ") for name in columns[2:]}
        table[cells["arm"]] = {name: (float(m), float(d)) for name, (m, d) in pairs.items()}
    return table


def main(arguments: list[str]) -> None:
    """Read the page and write the picture: arguments are the two paths."""
    table = read_table(Path(arguments[0]).read_text("utf-8"))
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(11, 2.8), sharey=True)
    places = list(range(len(ARMS), 0, -1))
    for panel, (column, heading) in zip(panels, MEASURES.items()):
        for place, arm in zip(places, ARMS):
            mean, deviation = table[arm][column]
            colour = COLOURS.get(arm, OURS)
            panel.errorbar(mean, place, xerr=deviation, fmt="o", color=colour, ms=5, capsize=2.5)
        better = "higher" if column.startswith("AUROC") else "lower"
        panel.set_title(f"{heading}\n({better} is better)", fontsize=8.5)
        panel.set_ylim(0.4, len(ARMS) + 0.6)
        panel.grid(axis="x", lw=0.4)
        panel.locator_params(axis="x", nbins=4)
        panel.tick_params(labelsize=8)
        for side in ("top", "right", "left"):
            panel.spines[side].set_visible(False)
        panel.tick_params(axis="y", length=0)
    panels[0].set_yticks(places, list(ARMS.values()), fontsize=8.5)
    figure.tight_layout(w_pad=1.2)
    figure.savefig(arguments[1], dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
