"""From runs to tables: means and spreads over seeds, and paired differences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
FIVE = {  # of the paper's Table 1: measure
    "Corruptions": "corruption error",
    "Adversaries": "adversarial error",
    "Consistency": "flip rate",
    "Calibration": "calibration, corrupted",
    "Anomalies": "AUROC, structured",
}
CONTROLS = ("plain", "noise", "self")
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
    return mean, student(len(seeds) - 1) * deviation / math.sqrt(len(seeds)), len(seeds)


def student(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t; beyond 10 degrees of freedom by its expansion."""
    if freedom < len(STUDENT):
        return STUDENT[freedom]
    return 1.96 + 2.372 / freedom + 2.82 / freedom**2


def by_arm(runs: Sequence[dict[str, Any]]) -> dict[str, dict[int, dict[str, float]]]:
    """Measures by arm, in the order of the runs, and seed."""
    arms: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        arms.setdefault(run["arm"], {})[run["seed"]] = run["measures"]
    return arms


# settings that are the same for all runs of a table
EXAM = ("test", "exam", "exam version", "photographs", "frost")
SAME = (*EXAM, "training", "train", "version", "arithmetic", "device")
# settings that are the same for all seeds of an arm
OWN = ("recipe", "online", "mixing", "copies", "whole", "baked", "weights", "normalise")


def alike(
    runs: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]] = ()
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Runs that can stand in one table, and the others.

    The table is that of the last trained run, or of the last run where none was trained here; an
    arm is what its last run of that table was.

    runs   records, the newest last
    asked  settings of the runs that were asked for: they count as newer than any other
    """
    known = [*runs, *asked]
    if not known:
        return [], []
    last = next((run for run in reversed(known) if "training" in run), known[-1])
    newest = {run["arm"]: run for run in known if _fits(run, last)}
    same: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for run in runs:
        fits = _fits(run, last) and _equal(run, newest[run["arm"]], OWN)
        (same if fits else others).append(run)
    return same, others


def _fits(run: dict[str, Any], last: dict[str, Any]) -> bool:
    """Whether a run fits a table: a trained one in full, any other in exams that both sat."""
    ours, theirs = _published(run), _published(last)
    if any(ours[name] != theirs[name] for name in set(ours) & set(theirs)):
        return False
    if "training" in run:
        return _equal(run, last, SAME)
    if run.get("test") is None or last.get("test") is None:
        return True
    return _equal(run, last, [name for name in EXAM if name in run and name in last])


def _equal(run: dict[str, Any], other: dict[str, Any], names: Sequence[str]) -> bool:
    return all(run.get(name) == other.get(name) for name in names)


def _published(run: dict[str, Any]) -> dict[str, str]:
    """Digest of each published set by name: of a set that only one run has, there is a gap."""
    return dict(text.rpartition(" ")[::2] for text in run.get("published", ()))


Arms = dict[str, dict[int, dict[str, float]]]  # measures by arm and seed


def columns(arms: Arms) -> dict[str, str]:
    """Heading: measure, of what any run has: ours first, then those of published sets."""
    found = {name: None for seeds in arms.values() for m in seeds.values() for name in m}
    known = {heading: name for heading, name in COLUMNS.items() if name in found}
    others = [name for name in found if ": " not in name and name not in COLUMNS.values()]
    return known | {name: name for name in others}


def values(arms: Arms, arm: str, measure: str) -> dict[int, float]:
    """A measure of an arm by seed, without the runs that do not have it."""
    return {seed: m[measure] for seed, m in arms[arm].items() if measure in m}


def against(arms: Arms, arm: str, reference: str, measure: str) -> tuple[float, float, int]:
    """As `difference`; nan where no seed has both."""
    ours, theirs = values(arms, arm, measure), values(arms, reference, measure)
    return difference(ours, theirs) if set(ours) & set(theirs) else (math.nan, math.nan, 0)


def is_better(measure: str, change: float) -> bool:
    """Whether a change of that sign is one for the better."""
    return (change > 0) == measure.startswith(HIGHER_IS_BETTER)


def five(runs: Sequence[dict[str, Any]], reference: str = "plain") -> str:
    """Markdown: an arm a row, clean error and the five measures a column each, and what holds.

    In brackets the difference from the reference, the same seeds paired, ± half of the 95 %
    interval; bold where it is better beyond the interval, struck out where it is worse. Means are
    over these seeds too; an arm without any has its own mean and no difference. The last column
    counts the five measures only, where there is an interval.
    """
    arms = by_arm(runs)
    shown = [m for m in FIVE.values() if any(values(arms, arm, m) for arm in arms)]
    if not shown:
        return ""
    headings = [_arrow(measure) for measure in ("clean error", *shown)]
    has_intervals = reference in arms and len(arms[reference]) > 1
    how = f"; {_compared(reference)}" if reference in arms else "."
    lines = [
        f"The five measures{how}",
        "",
        "| arm | seeds | " + " | ".join(headings) + (" | beyond it |" if has_intervals else " |"),
        "|---" * (len(headings) + 2 + has_intervals) + "|",
    ]
    for arm in arms:
        row = [arm, str(len(_seeds(arms, arm, reference)))]
        row += [_cell(arms, arm, reference, measure) for measure in ("clean error", *shown)]
        if has_intervals:
            row.append(_verdict(arms, arm, reference))
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def _arrow(measure: str) -> str:
    """A measure, and which way is better."""
    return f"{measure} {'↑' if measure.startswith(HIGHER_IS_BETTER) else '↓'}"


def _compared(reference: str) -> str:
    """What the brackets and the marks of a table mean."""
    return (
        f"in brackets minus {reference}, the same seeds paired, ± half of the 95 % interval; "
        "bold: better beyond it, struck out: worse beyond it."
    )


def _seeds(arms: Arms, arm: str, reference: str) -> set[int]:
    """The seeds that the reference has too, or else the arm's own."""
    return set(arms[arm]) & set(arms.get(reference, ())) or set(arms[arm])


def _cell(arms: Arms, arm: str, reference: str, measure: str) -> str:
    """A mean with its difference from the reference, marked where that is beyond chance."""
    found = values(arms, arm, measure)
    if not found:
        return "—"
    theirs = values(arms, reference, measure) if reference in arms else {}
    common = [value for seed, value in found.items() if seed in theirs]
    text = _short(spread(common or list(found.values()))[0])
    if arm == reference or not common:
        return text
    change, half, _ = difference(found, theirs)
    text += f" ({change:+.3f} ± {_short(half)})" if math.isfinite(half) else f" ({change:+.3f})"
    if not abs(change) > half:
        return text
    return f"**{text}**" if is_better(measure, change) else f"~~{text}~~"


def _verdict(arms: Arms, arm: str, reference: str) -> str:
    """How many of the five measures are better, and worse, beyond their interval."""
    found = [(m, *against(arms, arm, reference, m)[:2]) for m in FIVE.values()]
    if arm == reference or not any(math.isfinite(half) for _, _, half in found):
        return ""
    beyond = [is_better(measure, change) for measure, change, half in found if abs(change) > half]
    return f"{beyond.count(True)} better, {beyond.count(False)} worse"


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: mean ± standard deviation of every column, then paired differences."""
    arms = by_arm(runs)
    shown = columns(arms)
    lines = ["| arm | seeds | " + " | ".join(shown) + " |", "|---" * (len(shown) + 2) + "|"]
    for name, seeds in arms.items():
        cells = []
        for measure in shown.values():
            found = list(values(arms, name, measure).values())
            mean, deviation = spread(found) if found else (math.nan, math.nan)
            cells.append(f"{_short(mean)} ± {_short(deviation)}" if found else "—")
        lines.append(f"| {name} | {len(seeds)} | " + " | ".join(cells) + " |")
    for reference in CONTROLS:
        others = [name for name in arms if name != reference]
        if reference in arms and others and len(arms[reference]) > 1:
            lines += ["", *_differences(arms, reference, others)]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Copies:
    """An arm that shows so many copies in turn.

    number  infinite where pictures are mixed anew in every epoch
    whole   whether they are baked whole, and flipped and cropped in training
    """

    number: float
    whole: bool
    arm: str

    @property
    def count(self) -> str:
        """The number as it is printed."""
        return "online" if math.isinf(self.number) else f"{self.number:.0f}"

    @property
    def label(self) -> str:
        """The number, and whether they are cropped in training."""
        return f"{self.count} + crop" if self.whole else self.count


def copies_of(runs: Sequence[dict[str, Any]]) -> dict[str, list[Copies]]:
    """Recipe: its arms by their number of copies, online last, where there is more than one.

    A recipe whose mixing set was another one for some arms is as many recipes.
    """
    found: dict[tuple[str, str | None], set[Copies]] = {}
    for run in runs:
        if run.get("copies") is None:
            continue
        online = run["online"] and run["copies"] >= run["training"]["epochs"]
        number = math.inf if online else run["copies"]
        arm = Copies(number, run.get("whole", False), run["arm"])
        found.setdefault((run["recipe"], run.get("mixing")), set()).add(arm)
    times = Counter(recipe for recipe, _ in found)
    return {
        recipe if times[recipe] == 1 else f"{recipe} ({str(mixing)[:8]})": sorted(
            some, key=lambda arm: (arm.number, arm.whole, arm.arm)
        )
        for (recipe, mixing), some in found.items()
        if len(some) > 1
    }


def most_of(some: Sequence[Copies]) -> Copies:
    """What the others are compared with: the most copies, of those baked cropped."""
    return max(some, key=lambda arm: (not arm.whole, arm.number))


def copies(runs: Sequence[dict[str, Any]], beside: str = "plain") -> str:
    """Markdown: each measure by the number of copies, minus the most of the recipe's.

    Marked as in `five`. The last row is the arm `beside`: what there is to lose.
    """
    arms = by_arm(runs)
    shown = ("clean error", *FIVE.values())
    lines: list[str] = []
    for recipe, some in copies_of(runs).items():
        times = Counter(arm.label for arm in some)
        rows = {
            arm.arm: arm.label if times[arm.label] == 1 else f"{arm.label} ({arm.arm})"
            for arm in some
        }
        reference = most_of(some).arm
        lines += [
            f"Copies of {recipe}; {_compared(rows[reference])}",
            "",
            "| copies | seeds | " + " | ".join(map(_arrow, shown)) + " |",
            "|---" * (len(shown) + 2) + "|",
        ]
        if beside in arms:
            rows[beside] = beside
        for arm, label in rows.items():
            cells = [_cell(arms, arm, reference, measure) for measure in shown]
            count = len(_seeds(arms, arm, reference))
            lines.append(f"| {label} | {count} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _differences(arms: Arms, reference: str, others: Sequence[str]) -> list[str]:
    shown = columns(arms)
    lines = [
        f"Minus {reference}, the same seeds paired: mean ± half of the 95 % interval; "
        "bold where the interval leaves out 0.",
        "",
        "| arm | " + " | ".join(shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for name in others:
        cells = []
        for measure in shown.values():
            mean, half, _ = against(arms, name, reference, measure)
            text = "—" if math.isnan(mean) else f"{mean:+.3f}"
            if math.isfinite(half):
                text += f" ± {half:.3f}"
            cells.append(f"**{text}**" if abs(mean) > half else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def parts(runs: Sequence[dict[str, Any]]) -> list[str]:
    """What has parts, such as `corruption` with `corruption: fog`; in order."""
    names = [name for run in runs for name in run["measures"] if ": " in name]
    return list(dict.fromkeys(name.partition(": ")[0] for name in names))


def detail(runs: Sequence[dict[str, Any]], whole: str) -> str:
    """Markdown: the parts of a mean, as of `corruption` or `anomalies`, one row a part."""
    arms = by_arm(runs)
    prefix = f"{whole}: "
    names = dict.fromkeys(n for run in runs for n in run["measures"] if n.startswith(prefix))
    lines = [f"| {whole} | " + " | ".join(arms) + " |", "|---" * (len(arms) + 1) + "|"]
    for name in names:
        found = [list(values(arms, arm, name).values()) for arm in arms]
        row = " | ".join(_short(spread(v)[0]) if v else "—" for v in found)
        lines.append(f"| {name.removeprefix(prefix)} | {row} |")
    return "\n".join(lines) + "\n"


def _short(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.3f}".removeprefix("0")
