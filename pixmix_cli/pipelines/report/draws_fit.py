"""Do the draws of a baked set look as the recipe prescribes? Counts, expectations, p-values."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pixmix_cli.mixing.draws import ALL_OPS, BASE_OPS, DrawsJson

BINS = 20  # of a weight, each prescribed to hold the same share
DOUBTFUL = 0.001  # p-value: one test in a thousand of a right set falls below it
FEWEST = 5.0  # expected counts below which chi-square is no test any more


@dataclass(frozen=True, slots=True)
class Fit:
    """One distribution: what was found beside what is prescribed.

    names     of the outcomes
    counts    found
    expected  prescribed share of each outcome, summing to 1
    p         of Pearson's chi-square test; None when there are too few to test
    """

    title: str
    names: tuple[str, ...]
    counts: tuple[int, ...]
    expected: tuple[float, ...]
    p: float | None

    @property
    def verdict(self) -> str:
        """In words."""
        if self.p is None:
            return "too few to test"
        return "differs from the recipe" if self.p < DOUBTFUL else "as prescribed"


def fits_of(draws: Iterable[DrawsJson], options: Mapping[str, Any]) -> list[Fit]:
    """Every decision of a recipe that its draws should follow.

    draws    records as `Draws.to_json` gives them
    options  of the manifest: k, beta, all-ops, operations
    source   PixMix (2022), figure 4; weights: docs/pixmix.md
    """
    k, beta = int(options["k"]), float(options["beta"])
    operations = tuple(options.get("operations") or ("add", "multiply"))
    ops = ALL_OPS if options["all-ops"] else BASE_OPS
    rounds: Counter[str] = Counter()
    starts: Counter[str] = Counter()
    mixed_in: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    names: Counter[str] = Counter()
    places: dict[str, Counter[int]] = {"a": Counter(), "b": Counter()}
    signs: Counter[str] = Counter()
    for record in draws:
        rounds[str(len(record["rounds"]))] += 1
        augmentations = [record["start"]]
        starts["the picture" if record["start"] is None else "augmented"] += 1
        for step in record["rounds"]:
            other = None if isinstance(step["with"], str) else step["with"]
            mixed_in["mixing picture" if other is None else "augmented"] += 1
            augmentations.append(other)
            kinds[step["operation"]] += 1
            if "a" not in step or "b" not in step:  # an operation without weights
                continue
            signs["b > 0" if step["b"] > 0 else "b < 0"] += 1
            for name, value in _uniform(step["a"], step["b"], beta).items():
                places[name][min(BINS - 1, max(0, int(value * BINS)))] += 1
        names.update(one["name"] for one in augmentations if one is not None)
    even = ("the picture", "augmented")
    found = [
        _fit("rounds", rounds, [str(n) for n in range(k + 1)]),
        _fit("starts from", starts, even),
        _fit("mixes in", mixed_in, ("mixing picture", "augmented")),
        _fit("operation", kinds, operations),
        _fit("sign of the second weight", signs, ("b > 0", "b < 0")),
    ]
    for name, counter in places.items():
        texts = Counter({_bin(i): n for i, n in counter.items()})
        title = f"weight {name}, as a quantile of its Beta distribution"
        found.append(_fit(title, texts, [_bin(i) for i in range(BINS)]))
    found.append(_fit("augmentation", names, ops))
    return found


def _bin(number: int) -> str:
    return f"{number / BINS:.2f}".removeprefix("0")


def _uniform(a: float, b: float, beta: float) -> dict[str, float]:
    """The weights' values of their distribution functions: uniform on [0, 1] by the recipe.

    b > 0: a ~ Beta(beta, 1) and b ~ Beta(1, beta); else a - 1 and -b ~ Beta(1, beta).
    """
    if b > 0:
        return {"a": _clipped(a) ** beta, "b": 1 - _clipped(1 - b) ** beta}
    return {"a": 1 - _clipped(2 - a) ** beta, "b": 1 - _clipped(1 + b) ** beta}


def _clipped(x: float) -> float:
    """0 to 1, where a weight that was not drawn could lie anywhere."""
    return min(1.0, max(0.0, x))


def _fit(title: str, counter: Counter[str], names: Sequence[str]) -> Fit:
    """Against equal shares of all `names`; outcomes beyond them count as impossible."""
    strange = sorted(set(counter) - set(names))
    counts = tuple(counter[name] for name in (*names, *strange))
    expected = (1 / len(names),) * len(names) + (0.0,) * len(strange)
    p = 0.0 if strange else _p_value(counts, expected)
    return Fit(title, (*names, *strange), counts, expected, p)


def _p_value(counts: Sequence[int], expected: Sequence[float]) -> float | None:
    total = sum(counts)
    if total * min(expected) < FEWEST:
        return None
    if len(counts) < 2:
        return 1.0
    statistic = sum(
        (count - total * share) ** 2 / (total * share) for count, share in zip(counts, expected)
    )
    return chi_square_tail(statistic, len(counts) - 1)


def chi_square_tail(statistic: float, freedom: int) -> float:
    """Probability that a chi-square variable exceeds `statistic`.

    By the recursion of the regularised incomplete gamma function, Q(s + 1, x) = Q(s, x) +
    x^s e^-x / Gamma(s + 1), from Q(1/2, x) = erfc(sqrt x) or Q(1, x) = e^-x: exact for whole
    degrees of freedom, and nothing to install or import.
    """
    x = statistic / 2
    if x <= 0:
        return 1.0
    s = 0.5 if freedom % 2 else 1.0
    tail = math.erfc(math.sqrt(x)) if freedom % 2 else math.exp(-x)
    while s < freedom / 2:
        tail += math.exp(s * math.log(x) - x - math.lgamma(s + 1))
        s += 1
    return min(1.0, tail)
