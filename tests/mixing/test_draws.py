"""The decisions against the distributions that the paper and the published code state.

Seeds are fixed, so each test passes always or never; a p-value under 1e-4 counts as a failure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike, NDArray
from torchvision.transforms import RandomResizedCrop

from pixmix_cli.mixing.config import OPERATIONS, PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import (
    CHOICES,
    Augmentation,
    Draws,
    draw,
    draw_augmentation,
    draw_resized_crop,
    draw_weights,
)
from pixmix_cli.seeding import Stream, rng_for

N = 20_000
MIXING_COUNT = 37
LEAST_P = 1e-4
IMAGENET, CIFAR = PRESETS["imagenet"], PRESETS["cifar"]
NINE = [
    "autocontrast",
    "equalize",
    "posterize",
    "rotate",
    "solarize",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
]
THIRTEEN = [*NINE, "color", "contrast", "brightness", "sharpness"]


def _p_of_counts(observed: ArrayLike, expected: Sequence[float]) -> float:
    """Pearson's chi-square test, by Wilson and Hilferty's cube root."""
    o, e = np.array(observed, float), np.array(expected, float)
    assert o.sum() == pytest.approx(e.sum())
    assert e.min() >= 5
    freedom = len(o) - 1
    statistic = float(((o - e) ** 2 / e).sum())
    spread = 2 / (9 * freedom)
    z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))


def _p_of_distance(distance: float, n: float) -> float:
    """Kolmogorov's tail with Stephens' correction; conservative where values are tied."""
    x = (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n)) * distance
    if x < 0.3:
        return 1.0
    return 2 * sum((-1) ** (j - 1) * math.exp(-2 * j * j * x * x) for j in range(1, 50))


def _p_of_cdf(
    values: ArrayLike, cdf: Callable[[NDArray[np.float64]], NDArray[np.float64]]
) -> float:
    """Kolmogorov-Smirnov, one sample against a distribution function."""
    ordered = np.sort(np.asarray(values, np.float64))
    n = len(ordered)
    at = cdf(ordered)
    steps = np.arange(n + 1) / n
    return _p_of_distance(float(max((at - steps[:-1]).max(), (steps[1:] - at).max())), n)


def _p_of_two(first: ArrayLike, second: ArrayLike) -> float:
    """Kolmogorov-Smirnov, two samples."""
    a, b = np.sort(np.asarray(first, float)), np.sort(np.asarray(second, float))
    every = np.concatenate([a, b])
    distance = np.abs(
        np.searchsorted(a, every, "right") / len(a) - np.searchsorted(b, every, "right") / len(b)
    ).max()
    return _p_of_distance(float(distance), len(a) * len(b) / (len(a) + len(b)))


def _uniform(low: float, high: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    return lambda x: np.clip((x - low) / (high - low), 0, 1)


def _assert_even(values: Iterable[object], possible: Iterable[object]) -> None:
    """Every possible value, no other, equally often."""
    possible = list(possible)
    seen = Counter(values)
    assert set(seen) == set(possible)
    share = seen.total() / len(possible)
    assert _p_of_counts([seen[v] for v in possible], [share] * len(possible)) > LEAST_P


@pytest.fixture(scope="module", params=["imagenet", "cifar"])
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def samples(preset: str) -> list[Draws]:
    rng = np.random.Generator(np.random.Philox(key=2022))
    size = (300, 400) if preset == "imagenet" else (32, 32)
    return [draw(PRESETS[preset], rng, size, MIXING_COUNT) for _ in range(N)]


def test_a_fair_die_passes_and_a_loaded_one_fails_these_tests() -> None:
    rng = np.random.default_rng(1)
    assert _p_of_counts(np.bincount(rng.integers(0, 6, N)), [N / 6] * 6) > 0.01
    assert _p_of_counts(np.bincount(rng.integers(0, 6, N) | 1, minlength=6), [N / 6] * 6) < LEAST_P
    assert _p_of_cdf(rng.random(N), _uniform(0, 1)) > 0.01
    assert _p_of_cdf(rng.random(N) ** 1.1, _uniform(0, 1)) < LEAST_P
    assert _p_of_two(rng.random(N), rng.random(N)) > 0.01
    assert _p_of_two(rng.random(N), rng.random(N) ** 1.1) < LEAST_P


def test_the_presets_are_the_published_recipes() -> None:
    assert PixMixConfig() == IMAGENET == PixMixConfig(224, 4, 4.0, 1.0, True, "imagenet")
    assert PixMixConfig(32, 4, 3.0, 3.0, True, "cifar") == CIFAR


def test_rounds_are_uniform_from_none_to_k(samples: list[Draws]) -> None:
    _assert_even((len(d.rounds) for d in samples), range(5))


@pytest.mark.parametrize("k", [0, 1, 7])
def test_k_is_the_largest_number_of_rounds(k: int) -> None:
    rng = rng_for(0, Stream.BAKE, k)
    config = replace(CIFAR, k=k)
    counts = Counter(len(draw(config, rng, (32, 32), 1).rounds) for _ in range(2000))
    assert set(counts) == set(range(k + 1))


def test_every_coin_is_fair(samples: list[Draws]) -> None:
    rounds = [r for d in samples for r in d.rounds]
    _assert_even((d.flip for d in samples), [False, True])
    _assert_even((d.start is None for d in samples), [False, True])
    _assert_even((r.augmentation is None for r in rounds), [False, True])
    _assert_even((r.operation for r in rounds), ["add", "multiply"])
    _assert_even((r.b < 0 for r in rounds), [False, True])


def test_the_coins_of_a_sample_do_not_depend_on_each_other(samples: list[Draws]) -> None:
    four = [d for d in samples if len(d.rounds) == 4]
    coins = [
        (
            d.flip,
            d.start is None,
            d.mixing_offset[0] < 0.5,
            d.mixing_offset[1] < 0.5,
            d.rounds[0].augmentation is None,
            d.rounds[0].operation == "add",
            d.rounds[0].b < 0,
            d.rounds[1].augmentation is None,
            d.rounds[1].operation == "add",
            d.rounds[1].b < 0,
        )
        for d in four
    ]
    for first in range(10):
        for second in range(first):
            pairs = ((c[first], c[second]) for c in coins)
            _assert_even(pairs, [(x, y) for x in (False, True) for y in (False, True)])


def test_a_tenth_of_the_samples_is_the_plain_crop_and_a_tenth_only_augmented(
    samples: list[Draws],
) -> None:
    bare = [d for d in samples if not d.rounds]
    plain = sum(d.start is None for d in bare)
    observed = [plain, len(bare) - plain, N - len(bare)]
    assert _p_of_counts(observed, [N * 0.1, N * 0.1, N * 0.8]) > LEAST_P


def test_the_mixing_picture_is_used_in_61_percent_of_the_samples(samples: list[Draws]) -> None:
    # 1 minus the mean over 0..4 rounds of (1/2)**rounds
    share = 1 - (1 + 1 / 2 + 1 / 4 + 1 / 8 + 1 / 16) / 5
    used = sum(d.uses_mixing for d in samples)
    assert _p_of_counts([used, N - used], [N * share, N * (1 - share)]) > LEAST_P


def test_the_mixing_picture_is_uniform_over_the_set(samples: list[Draws]) -> None:
    _assert_even((d.mixing for d in samples), range(MIXING_COUNT))


def test_the_mixing_crop_is_uniform_over_the_free_room(samples: list[Draws]) -> None:
    offsets = np.array([d.mixing_offset for d in samples])
    assert offsets.min() >= 0
    assert offsets.max() < 1
    assert _p_of_cdf(offsets[:, 0], _uniform(0, 1)) > LEAST_P
    assert _p_of_cdf(offsets[:, 1], _uniform(0, 1)) > LEAST_P
    cells = (np.floor(offsets * 5) @ [5, 1]).astype(int)
    _assert_even(cells.tolist(), range(25))


def test_cifar_crops_are_uniform_over_the_padding() -> None:
    rng = rng_for(4, Stream.BAKE)
    crops = [draw(CIFAR, rng, (32, 32), 1).crop for _ in range(N)]
    assert {crop[2:] for crop in crops} == {(32, 32)}
    corners = [(top, left) for top in range(-4, 5) for left in range(-4, 5)]
    _assert_even((crop[:2] for crop in crops), corners)


@pytest.mark.parametrize(("all_ops", "names"), [(False, NINE), (True, THIRTEEN)])
def test_augmentations_are_uniform_over_the_recipes_list(all_ops: bool, names: list[str]) -> None:
    rng = rng_for(5, Stream.BAKE, int(all_ops))
    config = replace(CIFAR, all_ops=all_ops)
    _assert_even((draw_augmentation(config, rng).name for _ in range(N)), names)


def test_rounds_and_starts_take_their_augmentations_from_the_same_list(
    samples: list[Draws],
) -> None:
    _assert_even((d.start.name for d in samples if d.start), THIRTEEN)
    copies = (r.augmentation for d in samples for r in d.rounds)
    _assert_even((copy.name for copy in copies if copy), THIRTEEN)


@pytest.fixture(scope="module", params=[(32, 1.0), (32, 3.0), (224, 1.0), (224, 3.0), (64, 10.0)])
def levels(request: pytest.FixtureRequest) -> tuple[int, float, dict[str, list[Augmentation]]]:
    size, severity = request.param
    rng = rng_for(6, Stream.BAKE, size, int(severity))
    config = PixMixConfig(size=size, severity=severity)
    drawn: dict[str, list[Augmentation]] = {name: [] for name in THIRTEEN}
    for _ in range(3 * N):
        augmentation = draw_augmentation(config, rng)
        drawn[augmentation.name].append(augmentation)
    return size, severity, drawn


Levels = tuple[int, float, dict[str, list[Augmentation]]]


def _shares_of_whole_levels(largest: float, severity: float) -> dict[int, float]:
    """How often int(level * largest / 10) is 0, 1, 2, ... for level ~ U(0.1, severity)."""
    step = 10 / largest
    shares = {}
    for whole in range(int(severity / step) + 1):
        overlap = min(severity, (whole + 1) * step) - max(0.1, whole * step)
        if overlap > 1e-9:
            shares[whole] = overlap / (severity - 0.1)
    return shares


def _assert_shares(values: Sequence[object], shares: Mapping[Any, float]) -> None:
    """Values in these shares, and no value besides; those expected under 5 times are pooled."""
    seen, n = Counter(values), len(values)
    assert set(seen) <= set(shares)
    often = [v for v in shares if shares[v] * n >= 10]
    observed, expected = [seen[v] for v in often], [shares[v] * n for v in often]
    if len(often) < len(shares):
        observed[0] += n - sum(observed)
        expected[0] += n - sum(expected)
    if len(often) == 1:
        assert observed[0] == n
    else:
        assert _p_of_counts(observed, expected) > LEAST_P


def test_autocontrast_and_equalize_draw_no_level(levels: Levels) -> None:
    _, _, drawn = levels
    assert set(drawn["autocontrast"]) == {Augmentation("autocontrast")}
    assert set(drawn["equalize"]) == {Augmentation("equalize")}


def test_posterize_keeps_four_bits_less_the_whole_level(levels: Levels) -> None:
    _, severity, drawn = levels
    shares = {4 - v: share for v, share in _shares_of_whole_levels(4, severity).items()}
    _assert_shares([a.value for a in drawn["posterize"]], shares)


def test_solarize_lowers_its_threshold_from_256_by_the_whole_level(levels: Levels) -> None:
    _, severity, drawn = levels
    shares = {256 - v: share for v, share in _shares_of_whole_levels(256, severity).items()}
    _assert_shares([a.value for a in drawn["solarize"]], shares)


@pytest.mark.parametrize("name", ["rotate", "translate_x", "translate_y"])
def test_rotate_and_translate_go_a_whole_level_to_either_side(levels: Levels, name: str) -> None:
    size, severity, drawn = levels
    largest = 30 if name == "rotate" else size / 3
    shares: dict[int, float] = {}
    for v, share in _shares_of_whole_levels(largest, severity).items():
        for signed in (v, -v):
            shares[signed] = shares.get(signed, 0) + share / 2
    values = [a.value for a in drawn[name]]
    assert {type(v) for v in values} == {int}
    _assert_shares(values, shares)


@pytest.mark.parametrize("name", ["shear_x", "shear_y"])
def test_shears_are_uniform_to_either_side(levels: Levels, name: str) -> None:
    _, severity, drawn = levels
    values = np.array([a.value for a in drawn[name]])
    _assert_even((values < 0).tolist(), [False, True])
    for side in (values[values < 0], values[values > 0]):
        assert _p_of_cdf(np.abs(side), _uniform(0.003, 0.03 * severity)) > LEAST_P
        assert np.abs(side).min() >= 0.003
        assert np.abs(side).max() <= 0.03 * severity


@pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
def test_enhancers_are_uniform_from_a_little_over_a_tenth(levels: Levels, name: str) -> None:
    _, severity, drawn = levels
    values = np.array([a.value for a in drawn[name]])
    low, high = 0.18 * 0.1 + 0.1, 0.18 * severity + 0.1
    assert _p_of_cdf(values, _uniform(low, high)) > LEAST_P
    assert values.min() >= low
    assert values.max() <= high


def test_severity_one_has_exactly_these_values() -> None:
    rng = rng_for(6, Stream.BAKE)
    seen: dict[str, set[object]] = {name: set() for name in THIRTEEN}
    for _ in range(3 * N):
        augmentation = draw_augmentation(IMAGENET, rng)
        seen[augmentation.name].add(augmentation.value)
    assert seen["posterize"] == {4}
    assert seen["rotate"] == set(range(-2, 3))
    assert seen["solarize"] == set(range(231, 255))
    assert seen["translate_x"] == seen["translate_y"] == set(range(-7, 8))


def test_severity_three_at_32_pixels_has_exactly_these_values() -> None:
    rng = rng_for(6, Stream.BAKE)
    seen: dict[str, set[object]] = {name: set() for name in THIRTEEN}
    for _ in range(3 * N):
        augmentation = draw_augmentation(CIFAR, rng)
        seen[augmentation.name].add(augmentation.value)
    assert seen["posterize"] == {3, 4}
    assert seen["rotate"] == set(range(-8, 9))
    assert seen["solarize"] == set(range(180, 255))
    assert seen["translate_x"] == seen["translate_y"] == set(range(-3, 4))


@pytest.mark.parametrize("beta", [0.5, 1.0, 3.0, 4.0, 20.0])
def test_weights_follow_their_beta_distributions_in_both_branches(beta: float) -> None:
    rng = rng_for(8, Stream.BAKE, str(beta))
    a, b = np.array([draw_weights(beta, rng) for _ in range(N)]).T
    inside = b >= 0
    _assert_even(inside.tolist(), [False, True])

    def beta_1(x: NDArray[np.float64]) -> NDArray[np.float64]:  # of Beta(beta, 1)
        return np.clip(x, 0, 1) ** beta

    def one_beta(x: NDArray[np.float64]) -> NDArray[np.float64]:  # of Beta(1, beta)
        return 1 - (1 - np.clip(x, 0, 1)) ** beta

    assert _p_of_cdf(a[inside], beta_1) > LEAST_P
    assert _p_of_cdf(b[inside], one_beta) > LEAST_P
    assert _p_of_cdf(a[~inside] - 1, one_beta) > LEAST_P
    assert _p_of_cdf(-b[~inside], one_beta) > LEAST_P


def test_the_two_weights_of_a_round_are_independent() -> None:
    rng = rng_for(9, Stream.BAKE)
    a, b = np.array([draw_weights(4.0, rng) for _ in range(N)]).T
    for branch in (b >= 0, b < 0):
        ranks = [np.argsort(np.argsort(w[branch])) for w in (a, b)]
        assert abs(np.corrcoef(ranks[0], ranks[1])[0, 1]) < 4 / math.sqrt(branch.sum())


def test_samples_take_their_weights_from_the_recipes_beta(
    preset: str, samples: list[Draws]
) -> None:
    beta = 4.0 if preset == "imagenet" else 3.0
    a = [r.a for d in samples for r in d.rounds if r.b >= 0]
    assert _p_of_cdf(a, lambda x: x**beta) > LEAST_P


def test_weights_are_float32_values(samples: list[Draws]) -> None:
    for step in (r for d in samples for r in d.rounds):
        assert float(np.float32(step.a)) == step.a
        assert float(np.float32(step.b)) == step.b


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (3, 2), (32, 32), (40, 500), (500, 40), (97, 89)])
def test_imagenet_crops_lie_inside_the_picture(size: tuple[int, int]) -> None:
    rng = rng_for(10, Stream.BAKE, *size)
    for _ in range(2000):
        top, left, height, width = draw_resized_crop(size, rng)
        assert 0 <= top <= top + height - 1 < size[0]
        assert 0 <= left <= left + width - 1 < size[1]


@pytest.mark.parametrize("size", [(300, 400), (32, 32), (130, 300), (300, 130), (9, 11)])
def test_imagenet_crops_are_distributed_as_torchvisions(size: tuple[int, int]) -> None:
    rng = rng_for(12, Stream.BAKE)
    ours = np.array([draw_resized_crop(size, rng) for _ in range(N)], float)
    torch.manual_seed(12)
    blank = torch.empty(3, *size)
    theirs = np.array(
        [RandomResizedCrop.get_params(blank, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(3000)],
        float,
    )
    for feature in (
        lambda box: box[:, 2] * box[:, 3],  # area
        lambda box: box[:, 3] / box[:, 2],  # ratio
        lambda box: box[:, 0],
        lambda box: box[:, 1],
        lambda box: box[:, 0] / np.maximum(1, size[0] - box[:, 2]),
        lambda box: box[:, 1] / np.maximum(1, size[1] - box[:, 3]),
    ):
        assert _p_of_two(feature(ours), feature(theirs)) > LEAST_P


@pytest.mark.parametrize("size", [(10, 1000), (1000, 10), (7, 400), (400, 7), (1, 99), (1, 1)])
def test_where_no_try_fits_the_crop_is_torchvisions_central_box(size: tuple[int, int]) -> None:
    box = draw_resized_crop(size, rng_for(13, Stream.BAKE))
    want = RandomResizedCrop.get_params(torch.empty(3, *size), [0.08, 1.0], [3 / 4, 4 / 3])
    assert box == tuple(want)


def test_samples_take_resized_crops_in_the_imagenet_geometry() -> None:
    rng = rng_for(14, Stream.BAKE)
    boxes = np.array([draw(IMAGENET, rng, (300, 400), 1).crop for _ in range(5000)], float)
    direct = np.array([draw_resized_crop((300, 400), rng) for _ in range(5000)], float)
    for side in range(4):
        assert _p_of_two(boxes[:, side], direct[:, side]) > LEAST_P


def test_asked_for_operations_and_their_choices_are_equally_likely() -> None:
    config = replace(CIFAR, operations=OPERATIONS, k=8)
    rng = np.random.Generator(np.random.Philox(key=5))
    rounds = [r for _ in range(2000) for r in draw(config, rng, (32, 32), 9).rounds]
    _assert_even((r.operation for r in rounds), OPERATIONS)
    for name, count in CHOICES.items():
        _assert_even((r.choice for r in rounds if r.operation == name), range(count))
    overlays = [r for r in rounds if r.operation == "overlay"]
    _assert_even((r.b < 0 for r in overlays), [False, True])
    _assert_even((r.screen_b < 0 for r in overlays), [False, True])


def test_the_order_in_which_operations_are_named_changes_no_draw() -> None:
    one, other = (replace(CIFAR, operations=ops) for ops in (OPERATIONS, OPERATIONS[::-1]))
    assert one == other


@pytest.mark.parametrize(("names", "says"), [((), "at least one"), (("add", "divide"), "divide")])
def test_no_operation_or_an_unknown_one_is_refused(names: tuple[str, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        PixMixConfig(operations=names)
