"""Pictures of a comparison. They need matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.safety.report import (
    FIVE,
    HIGHER_IS_BETTER,
    Arms,
    against,
    by_arm,
    copies_of,
    most_of,
    spread,
    values,
)

CENTRE = 0.15  # where the worst arm is drawn, so that its lines can be told apart
ACROSS = 4  # pentagons in a row, at most
OURS, GREY = "#2f6fde", "0.45"


def normalised(arms: Arms) -> dict[str, list[tuple[float, float, float]]]:
    """For each arm and measure its place, and the places of its mean less and more the deviation.

    On every axis 0 is the worst and 1 the best that any arm's mean, less or more its deviation,
    reaches; so a difference that seeds alone could make looks as small as it is.
    """
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in arms}
    for measure in FIVE.values():
        sign = 1 if measure.startswith(HIGHER_IS_BETTER) else -1
        bands = {}
        for name in arms:
            mean, deviation = spread(list(values(arms, name, measure).values()))
            deviation = 0.0 if math.isnan(deviation) else deviation
            bands[name] = tuple(sign * mean + step * deviation for step in (0, -1, 1))
        every = [value for band in bands.values() for value in band]
        low, length = min(every), max(every) - min(every)
        for name, band in bands.items():
            mean, worse, better = ((v - low) / length if length else 1.0 for v in band)
            found[name].append((mean, worse, better))
    return found


def _with_all_five(runs: Sequence[dict[str, Any]]) -> Arms:
    return by_arm([run for run in runs if set(FIVE.values()) <= set(run["measures"])])


def draw(runs: Sequence[dict[str, Any]], path: Path, reference: str = "plain") -> bool:
    """A pentagon an arm, each over the reference's; outwards is safer.

    returns  whether any was drawn: runs that lack one of the five measures are left out
    """
    from matplotlib.figure import Figure

    arms = _with_all_five(runs)
    if not arms:
        return False
    places = normalised(arms)
    shown = [name for name in arms if name != reference] or list(arms)
    down = -(-len(shown) // ACROSS)
    across = -(-len(shown) // down)  # rows as full as each other
    figure = Figure(figsize=(3.6 * across, 2.3 * down + 0.4))
    angles = [2 * math.pi * i / len(FIVE) for i in range(len(FIVE) + 1)]
    for number, name in enumerate(shown):
        axes: Any = figure.add_subplot(down, across, number + 1, projection="polar")
        for arm, colour in ((reference, GREY), (name, OURS)):
            if arm not in places:
                continue
            mean, worse, better = (
                [CENTRE + (1 - CENTRE) * place[k] for place in (*places[arm], places[arm][0])]
                for k in range(3)
            )
            axes.plot(angles, mean, color=colour, lw=1.6)
            axes.fill_between(angles, worse, better, color=colour, alpha=0.18, lw=0)
        axes.set_theta_offset(math.pi / 2)
        axes.set_theta_direction(-1)
        axes.set_xticks(angles[:-1], list(FIVE), fontsize=7.5)
        axes.tick_params(axis="x", pad=-1)
        for label, angle in zip(axes.get_xticklabels(), angles):
            side = math.sin(angle)
            label.set_ha("center" if abs(side) < 0.1 else "left" if side > 0 else "right")
        axes.set_yticks([CENTRE, 1], [])
        axes.set_ylim(0, 1.03)
        axes.set_title(name, fontsize=10, color=OURS, pad=9)
    counts = sorted({len(seeds) for seeds in arms.values()})
    seeds = "1 seed" if counts == [1] else f"{'-'.join(map(str, counts))} seeds"
    figure.text(
        0.5,
        0.01,
        f"Outwards is safer: from the worst to the best of all arms, mean and deviation over "
        f"{seeds}; grey: {reference}.",
        ha="center",
        fontsize=8,
    )
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=120)
    return True


def draw_copies(runs: Sequence[dict[str, Any]], path: Path, beside: str = "plain") -> bool:
    """What few copies lose: a panel a measure, a line a recipe, minus the most copies of it.

    Those that are cropped in training have a dotted line of their own. A dashed line is the arm
    `beside`: what there is to lose. What has no seed in common with the most is left out.

    returns  whether there was anything to draw
    """
    from matplotlib.figure import Figure

    arms = _with_all_five(runs)
    curves = {
        recipe: [one for one in some if one.arm in arms] for recipe, some in copies_of(runs).items()
    }
    curves = {recipe: some for recipe, some in curves.items() if len(some) > 1}
    if not curves:
        return False
    numbers = sorted({(one.number, one.count) for some in curves.values() for one in some})
    places = {count: place for place, (_, count) in enumerate(numbers)}
    figure = Figure(figsize=(2.5 * len(FIVE), 2.7))
    for number, (name, measure) in enumerate(FIVE.items()):
        axes: Any = figure.add_subplot(1, len(FIVE), number + 1)
        for place, (recipe, some) in enumerate(curves.items()):
            most = most_of(some).arm
            for whole in (False, True):
                found = [
                    (places[one.count] + 0.15 * whole, *against(arms, one.arm, most, measure)[:2])
                    for one in some
                    if one.whole == whole
                ]
                found = [point for point in found if not math.isnan(point[1])]
                if not found:
                    continue
                at, means, halves = zip(*found)
                axes.errorbar(
                    at,
                    means,
                    yerr=[half if math.isfinite(half) else 0.0 for half in halves],
                    color=f"C{place}",
                    ls=":" if whole else "-",
                    marker="o",
                    mfc="white" if whole else None,
                    ms=4,
                    capsize=2.5,
                    label=f"{recipe} + crop" if whole else recipe,
                )
            if beside in arms:
                gap = against(arms, beside, most, measure)[0]
                label = None if place else beside
                colour = GREY if len(curves) == 1 else f"C{place}"
                axes.axhline(gap, color=colour, lw=1.2, ls="--", label=label)
        axes.set_xticks(range(len(places)), list(places), fontsize=7.5)
        better = "higher" if measure.startswith(HIGHER_IS_BETTER) else "lower"
        axes.set_title(f"{name}\n({measure}, {better} is better)", fontsize=8)
        axes.axhline(0, color=GREY, lw=0.8)
        axes.tick_params(labelsize=7.5)
    figure.axes[0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    return True
