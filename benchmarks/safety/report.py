"""From runs to a table and a picture: means and spreads over seeds, and paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = {  # heading: measure in a run's record
    "clean error": "clean error",
    "corruption error": "corruption error",
    "calibration, clean": "calibration, clean",
    "calibration, corrupted": "calibration, corrupted",
    "adversarial error": "adversarial error",
    "flip rate": "flip rate",
    "AUROC, structured": "AUROC, structured",
    "AUROC, noise": "AUROC, noise",
}
HIGHER_IS_BETTER = ("AUROC", "anomalies")
AXES = {  # of the figure: measure
    "Corruptions": "corruption error",
    "Adversaries": "adversarial error",
    "Consistency": "flip rate",
    "Calibration": "calibration, corrupted",
    "Anomaly\ndetection": "AUROC",
}
# two-sided 95 % quantiles of Student's t by degrees of freedom
STUDENT = (math.inf, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (n - 1; nan for a single value)."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, math.nan
    return mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1))


def difference(ours: dict[int, float], theirs: dict[int, float]) -> tuple[float, float, int]:
    """Mean of the paired differences over common seeds, half its 95 % interval, and how many.

    ours, theirs  measure by seed
    """
    seeds = sorted(set(ours) & set(theirs))
    mean, deviation = spread([ours[s] - theirs[s] for s in seeds])
    freedom = len(seeds) - 1
    quantile = STUDENT[freedom] if freedom < len(STUDENT) else 1.96 + 2.5 / freedom
    return mean, quantile * deviation / math.sqrt(len(seeds)), len(seeds)


def by_arm(runs: Sequence[dict[str, Any]]) -> dict[str, dict[int, dict[str, float]]]:
    """Measures by arm, in the order of the runs, and seed."""
    arms: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        arms.setdefault(run["arm"], {})[run["seed"]] = run["measures"]
    return arms


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean ± standard deviation of every column, then paired differences."""
    arms = by_arm(runs)
    lines = ["| arm | seeds | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, seeds in arms.items():
        cells = []
        for measure in COLUMNS.values():
            mean, deviation = spread([m[measure] for m in seeds.values()])
            cells.append(f"{_short(mean)} ± {_short(deviation)}")
        lines.append(f"| {name} | {len(seeds)} | " + " | ".join(cells) + " |")
    for reference in ("plain", "noise"):
        others = [name for name in arms if name != reference]
        if reference in arms and others and len(arms[reference]) > 1:
            lines += ["", *_differences(arms, reference, others)]
    return "\n".join(lines) + "\n"


def _differences(
    arms: dict[str, dict[int, dict[str, float]]], reference: str, others: Sequence[str]
) -> list[str]:
    lines = [
        f"Minus {reference}, the same seeds paired: mean ± half of the 95 % interval; "
        "bold where the interval leaves out 0.",
        "",
        "| arm | " + " | ".join(COLUMNS) + " |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for name in others:
        cells = []
        for measure in COLUMNS.values():
            mean, half, _ = difference(
                {seed: m[measure] for seed, m in arms[name].items()},
                {seed: m[measure] for seed, m in arms[reference].items()},
            )
            text = f"{mean:+.3f} ± {half:.3f}"
            cells.append(f"**{text}**" if abs(mean) > half else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def detail(runs: Sequence[dict[str, Any]], prefix: str) -> str:
    """Markdown: the parts of a mean, as `corruption: ` or `anomalies: `, one row a part."""
    arms = by_arm(runs)
    first = next(iter(next(iter(arms.values())).values()))
    parts = [name for name in first if name.startswith(prefix)]
    lines = [
        f"| {prefix.rstrip(': ')} | " + " | ".join(arms) + " |",
        "|---" * (len(arms) + 1) + "|",
    ]
    for part in parts:
        means = [spread([m[part] for m in seeds.values()])[0] for seeds in arms.values()]
        row = " | ".join(_short(mean) for mean in means)
        lines.append(f"| {part.removeprefix(prefix)} | {row} |")
    return "\n".join(lines) + "\n"


def normalised(arms: dict[str, dict[int, dict[str, float]]], reference: str) -> dict[str, list]:
    """For each arm its position on the five axes: the reference's error divided by the arm's.

    Above 1 is better than the reference. AUROC counts as the error 1 - AUROC.
    """

    def error(seeds: dict[int, dict[str, float]], measure: str) -> float:
        mean = spread([m[measure] for m in seeds.values()])[0]
        return 1 - mean if measure.startswith(HIGHER_IS_BETTER) else mean

    return {
        name: [
            error(arms[reference], measure) / max(error(seeds, measure), 1e-9)
            for measure in AXES.values()
        ]
        for name, seeds in arms.items()
    }


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """The picture: five axes, one line an arm. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    arms = by_arm(runs)
    reference = "plain" if "plain" in arms else next(iter(arms))
    figure, axes = plt.subplots(figsize=(6.4, 5.6), subplot_kw={"projection": "polar"})
    angles = [2 * math.pi * i / len(AXES) for i in range(len(AXES))]
    for number, (name, values) in enumerate(normalised(arms, reference).items()):
        style = {"color": f"C{number % 10}", "lw": 1.8, "label": name}
        if name == reference:
            style |= {"color": "0.5", "ls": "--"}
        axes.plot([*angles, angles[0]], [*values, values[0]], **style)
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    axes.set_xticks(angles, list(AXES))
    axes.tick_params(axis="x", pad=14)
    axes.set_ylim(bottom=0)
    axes.set_title(f"error of {reference} / error of the arm\n(outwards is safer)", fontsize=10)
    axes.legend(loc="upper left", bbox_to_anchor=(1.08, 1.05), frameon=False)
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def _short(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.3f}".removeprefix("0")
