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
    "AUROC, all": "AUROC",
}
HIGHER_IS_BETTER = ("AUROC", "anomalies")
AXES = {  # of the figure: measure
    "Corruption error": "corruption error",
    "Adversarial error": "adversarial error",
    "Flip rate": "flip rate",
    "Calibration error": "calibration, corrupted",
    "Anomalies, AUROC": "AUROC, structured",
}
CONTROLS = ("plain", "noise")
CENTRE = 0.15  # where the worst arm is drawn, so that its lines can be told apart
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


def normalised(
    arms: dict[str, dict[int, dict[str, float]]],
) -> dict[str, list[tuple[float, float, float]]]:
    """For each arm and axis its place, and the places of its mean minus and plus the deviation.

    On every axis 0 is the worst and 1 the best that any arm's mean, less or more its deviation,
    reaches; so a difference that seeds alone could make looks as small as it is.
    """
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arms}
    for measure in AXES.values():
        sign = 1 if measure.startswith(HIGHER_IS_BETTER) else -1
        bands = {}
        for name, seeds in arms.items():
            mean, deviation = spread([m[measure] for m in seeds.values()])
            deviation = 0.0 if math.isnan(deviation) else deviation
            bands[name] = tuple(sign * mean + step * deviation for step in (0, -1, 1))
        every = [value for band in bands.values() for value in band]
        low, length = min(every), max(every) - min(every)
        for name, band in bands.items():
            mean, worse, better = ((v - low) / length if length else 1.0 for v in band)
            found[name].append((mean, worse, better))
    return found


def _range(arms: dict[str, dict[int, dict[str, float]]], measure: str) -> str:
    """The worst and the best mean of any arm."""
    means = [spread([m[measure] for m in seeds.values()])[0] for seeds in arms.values()]
    ordered = sorted(means, reverse=not measure.startswith(HIGHER_IS_BETTER))
    return f"{_short(ordered[0])} to {_short(ordered[-1])}"


def draw(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """The picture: five axes, one line an arm, its seeds' spread as a band. Needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    arms = by_arm(runs)
    figure = plt.figure(figsize=(6.8, 5.8))
    axes: Any = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * i / len(AXES) for i in range(len(AXES) + 1)]
    colours = plt.get_cmap("tab10")
    number = 0
    for name, places in normalised(arms).items():
        style: dict[str, Any] = {"color": "0.35", "ls": "--" if name == "plain" else ":"}
        if name not in CONTROLS:
            style = {"color": colours(number % 10)}
            number += 1
        mean, worse, better = (
            [CENTRE + (1 - CENTRE) * place[k] for place in (*places, places[0])] for k in range(3)
        )
        axes.plot(angles, mean, lw=1.8, label=name, **style)
        axes.fill_between(angles, worse, better, color=style["color"], alpha=0.12, lw=0)
    axes.set_theta_offset(math.pi / 2)
    axes.set_theta_direction(-1)
    labels = [f"{name}\n{_range(arms, measure)}" for name, measure in AXES.items()]
    axes.set_xticks(angles[:-1], labels)
    axes.tick_params(axis="x", pad=40)
    axes.set_yticks([CENTRE, 1], [])
    axes.set_ylim(0, 1.03)
    axes.legend(loc="upper left", bbox_to_anchor=(1.34, 1.12), frameon=False)
    counts = sorted({len(seeds) for seeds in arms.values()})
    seeds = "1 seed" if counts == [1] else f"{'-'.join(map(str, counts))} seeds"
    figure.text(
        0.5,
        -0.04,
        f"Outwards is safer: each axis runs from the worst to the best arm, {seeds} each,\n"
        "mean and standard deviation; below each name the worst and the best mean.",
        ha="center",
        fontsize=8.5,
    )
    figure.savefig(path, dpi=130, bbox_inches="tight")
    plt.close(figure)


def _short(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.3f}".removeprefix("0")
