"""Kernels: compiled, as plain Python, and against slow oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractals import flame, ifs
from tests.compiled import fractal_kernels as kernels
from tests.naive import fractals_oracles as naive

F = np.float32


Both = Callable[[str], list[Callable[..., Any]]]


@pytest.mark.parametrize("x", np.linspace(-40, 40, 81).tolist())
def test_polynomial_sine_and_cosine_are_close(both: Both, x: float) -> None:
    for sin32 in both("sin32"):
        assert float(sin32(F(x))) == pytest.approx(math.sin(F(x)), abs=2e-6)
    assert float(kernels.cos32(F(x))) == pytest.approx(math.cos(F(x)), abs=5e-6)


@pytest.mark.parametrize("x", np.linspace(-40, 40, 161).tolist())
def test_sine_and_cosine_together_are_those_apart(both: Both, x: float) -> None:
    for sincos32 in both("sincos32"):
        sine, cosine = sincos32(F(x))
        assert float(sine) == pytest.approx(math.sin(F(x)), abs=2e-6)
        assert float(cosine) == pytest.approx(math.cos(F(x)), abs=2e-6)


def test_sine_of_anything_finite_stays_in_range() -> None:
    for x in (1e7, -3e9, 1e20, -3e38):
        assert abs(float(kernels.sin32(F(x)))) <= 1.0001
        assert max(abs(float(v)) for v in kernels.sincos32(F(x))) <= 1.0001


def test_arctangent_is_close_in_every_octant_and_defined_at_the_origin(both: Both) -> None:
    for k in range(64):
        angle = -math.pi + (k + 0.5) * math.pi / 32
        y, x = 3 * math.sin(angle), 3 * math.cos(angle)
        for atan2_32 in both("atan2_32"):
            assert float(atan2_32(F(y), F(x))) == pytest.approx(angle, abs=1e-5)
    assert float(kernels.atan2_32(F(0), F(0))) == 0.0


def test_powers_of_two_and_their_logarithms_are_close(both: Both) -> None:
    for x in np.linspace(-30, 30, 121):
        for exp2_32 in both("exp2_32"):
            assert float(exp2_32(F(x))) == pytest.approx(2.0 ** float(F(x)), rel=2e-6)
        value = 2.0 ** float(x)
        for log2_32 in both("log2_32"):
            assert float(log2_32(F(value))) == pytest.approx(math.log2(F(value)), abs=4e-6)


def test_floor_agrees_with_the_library() -> None:
    for x in (-2.5, -2.0, -0.1, 0.0, 0.4, 0.5, 0.999, 1.0, 7.5, 1000.25):
        assert float(kernels.floor32(F(x))) == math.floor(x)


def test_hash_is_uniform_and_depends_on_both_arguments() -> None:
    draws = [float(kernels.unit32(kernels.hash32(i, np.uint32(7)))) for i in range(4000)]
    counts, _ = np.histogram(draws, 10, (0, 1))
    # chi squared, 9 degrees of freedom: 27.9 is the 0.1% point
    assert ((counts - 400.0) ** 2 / 400.0).sum() < 27.9
    again = [float(kernels.unit32(kernels.hash32(i, np.uint32(8)))) for i in range(4000)]
    assert abs(np.corrcoef(draws, again)[0, 1]) < 0.06


def test_splitmix_gives_the_published_sequence() -> None:
    # Steele, Lea & Flood's generator from seed 1234567, as its reference code prints it
    drawn = [
        int(kernels.splitmix(np.uint64((1234567 + k * int(kernels.SPLITMIX_STEP)) % 2**64)))
        for k in (1, 2, 3)
    ]
    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def _affine_case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layer = ifs.draw_ifs(np.random.default_rng(11))
    frame = np.array([9.0, 3.0, 18.0, -3.0, 9.0, 16.0])
    return ifs.pack_ifs(layer, frame)


def test_compiled_affine_kernel_equals_plain_python_to_the_bit(both: Both) -> None:
    maps, colors, table = _affine_case()
    fast, slow = np.zeros(34 * 34, np.uint64), np.zeros(34 * 34, np.uint64)
    for iterate, histogram in zip(both("iterate_affine"), (fast, slow), strict=True):
        iterate(maps, colors, table, np.uint64(5), 1000, 34, histogram)
    assert (fast == slow).all()
    assert int((fast >> np.uint64(40)).sum()) == 1000


def test_compiled_orbit_equals_plain_python_to_the_bit(both: Both) -> None:
    maps, colors, table = _affine_case()
    fast, slow = np.empty((300, 3), F), np.empty((300, 3), F)
    for orbit, trace in zip(both("affine_orbit"), (fast, slow), strict=True):
        orbit(maps, colors, table, np.uint64(5), trace)
    assert (fast == slow).all()


def test_points_that_explode_or_are_not_numbers_stay_in_the_histogram() -> None:
    table = ifs.choice_table([1.0])
    for bad in (3.0, np.inf, np.nan):
        maps = np.array([[bad, 0.0, 1.0, 0.0, bad, 1.0]])
        histogram = np.zeros(10 * 10, np.uint64)
        kernels.iterate_affine(
            maps, np.full(1, kernels.COUNT_ONE), table, np.uint64(1), 400, 10, histogram
        )
        assert int((histogram >> np.uint64(40)).sum()) == 400


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_compiled_flame_kernel_equals_plain_python_to_the_bit(both: Both, seed: int) -> None:
    layer = flame.draw_flame(np.random.default_rng(seed))
    packed = flame.pack_flame(layer)
    frame = np.array([9, 3, 18, -3, 9, 16], F)
    results = []
    for iterate in both("iterate_flame"):
        histogram = np.zeros(34 * 34, np.uint64)
        trace = np.empty((100, 3), F)
        work, cells = np.zeros((12, 128), F), np.zeros((2, 128), np.int32)
        iterate(*packed, frame, np.uint64(9), 256, 34, work, cells, histogram, trace[:96])
        results.append((histogram, trace[:96]))
    assert (results[0][0] == results[1][0]).all()
    assert (results[0][1] == results[1][1]).all()
    assert int((results[0][0] >> np.uint64(40)).sum()) == 256


def test_bins_of_a_trace_equal_the_oracle() -> None:
    rng = np.random.default_rng(0)
    trace = rng.normal(size=(2000, 3)).astype(F)
    trace[:, 2] = rng.random(2000)
    frame = np.array([5, 1, 9, -1, 5, 8], F)
    histogram = np.zeros(18 * 18, np.uint64)
    kernels.bin_trace(trace, frame, 18, histogram)
    expected = naive.histogram(
        trace[:, 0].astype(float), trace[:, 1].astype(float), frame.astype(float), 18
    )
    # a point on the edge between cells may round either way
    assert np.abs((histogram >> np.uint64(40)).astype(float) - expected).sum() <= 4


def test_unpack_adds_the_inside_and_clears_the_histogram(both: Both) -> None:
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 1000, (6, 6))
    colors = rng.integers(0, 65536, (6, 6)) * counts
    packed = ((counts.astype(np.uint64) << np.uint64(40)) + colors.astype(np.uint64)).reshape(-1)
    for unpack in both("unpack"):
        histogram = packed.copy()
        n, s = np.ones((4, 4), F), np.zeros((4, 4), F)
        unpack(histogram, n, s)
        assert (n == counts[1:-1, 1:-1] + 1).all()
        assert s == pytest.approx(colors[1:-1, 1:-1] / 65535.0, rel=1e-6)
        assert not histogram.any()


@pytest.mark.parametrize("side", [4, 5, 13])
def test_shrunk_sums_equal_the_oracle(both: Both, side: int) -> None:
    values = np.random.default_rng(0).random((13, 13)).astype(F)
    expected = naive.shrink_sums(values.astype(float), side)
    for shrink in both("shrink_sums"):
        coarse = np.empty((side, side))
        shrink(values, np.empty(13), coarse)
        assert coarse == pytest.approx(expected)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_smoothing_equals_the_oracle_and_leaves_dense_cells_sharp(both: Both, step: int) -> None:
    rng = np.random.default_rng(0)
    counts = (rng.random((9, 9)) * 12).astype(F)
    counts[4, 4] = 1000.0
    sums = (counts * rng.random((9, 9))).astype(F)
    expected_n, expected_s = naive.smooth_sparse(
        counts.astype(float), sums.astype(float), 6.0, step
    )
    for smooth in both("smooth_sparse"):
        n, s = np.empty((9, 9), F), np.empty((9, 9), F)
        smooth(counts, sums, F(6.0), step, n, s)
        assert n == pytest.approx(expected_n, rel=1e-5, abs=1e-5)
        assert s == pytest.approx(expected_s, rel=1e-5, abs=1e-5)
        assert n[4, 4] == 1000.0


def _planes(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _pixels(planes: np.ndarray) -> np.ndarray:
    return planes.transpose(1, 2, 0)


def test_smoothing_counts_alone_gives_the_counts_of_smoothing_both(both: Both) -> None:
    counts = (np.random.default_rng(0).random((9, 9)) * 12).astype(F)
    n, s, alone = np.empty((9, 9), F), np.empty((9, 9), F), np.empty((9, 9), F)
    kernels.smooth_sparse(counts, counts, F(6.0), 2, n, s)
    for smooth in both("smooth_counts"):
        smooth(counts, F(6.0), 2, alone)
        assert (alone == n).all()


@pytest.mark.parametrize("side", [4, 7, 16])
def test_upsampling_equals_the_oracle(both: Both, side: int) -> None:
    small = np.random.default_rng(0).random((4, 4, 3)).astype(F)
    for upsample in both("upsample"):
        out = np.empty((3, side, side), F)
        upsample(_planes(small), np.empty((4, side), F), out)
        assert _pixels(out) == pytest.approx(naive.upsample(small.astype(float), side), abs=1e-5)


@pytest.mark.parametrize("screen", [False, True])
def test_composing_equals_the_oracle(both: Both, screen: bool) -> None:
    rng = np.random.default_rng(0)
    counts = np.where(rng.random((8, 8)) < 0.3, 0, rng.exponential(20, (8, 8))).astype(F)
    weights = rng.uniform(1, 9, (8, 8)).astype(F)
    sums = (weights * rng.random((8, 8))).astype(F)
    palette = rng.random((64, 3)).astype(F)
    tone = np.array([0.5, 0.2, 1.5, 0.2, 0.8, 0.9], F)
    start = rng.random((8, 8, 3)).astype(F)
    expected = naive.compose(
        counts.astype(float),
        weights.astype(float),
        sums.astype(float),
        tone.astype(float),
        palette.astype(float),
        screen,
        start.astype(float),
    )
    for compose in both("compose"):
        out = _planes(start)
        rows, row_color = np.empty((4, 8), F), np.empty(8, np.int32)
        table = np.ascontiguousarray(palette.T)
        compose(counts, weights, sums, tone, table, screen, rows, row_color, out)
        assert _pixels(out) == pytest.approx(expected, abs=1e-5)


def test_shrunk_picture_is_the_mean_of_its_boxes(both: Both) -> None:
    picture = np.random.default_rng(0).random((6, 6, 3)).astype(F)
    for shrink in both("shrink_picture"):
        small = np.empty((3, 3, 3), F)
        shrink(_planes(picture), np.empty(6), small)
        assert _pixels(small) == pytest.approx(
            picture.reshape(3, 2, 3, 2, 3).mean(axis=(1, 3)), abs=1e-6
        )


def test_bytes_are_stretched_held_and_rounded(both: Both) -> None:
    picture = np.array([-1.0, 0.25, 0.5], F).reshape(3, 1, 1)
    low, gain = np.array([0, 0.25, 0], F), np.array([1, 2, 1], F)
    for to_bytes in both("to_bytes"):
        out = np.empty(3, np.uint8)
        to_bytes(picture, low, gain, np.empty((3, 1), np.uint8), out)
        assert out.tolist() == [0, 0, 128]
        to_bytes(np.full((3, 1, 1), 9.0, F), low, gain, np.empty((3, 1), np.uint8), out)
        assert out.tolist() == [255, 255, 255]


def test_spread_of_an_orbit_equals_the_oracle(both: Both) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (12, 12))
    histogram = (counts.astype(np.uint64) << np.uint64(40)).reshape(-1)
    for measure in both("measure_spread"):
        result = np.empty(5)
        measure(histogram, 12, result)
        assert result.tolist() == pytest.approx(
            naive.measure_spread(counts.astype(float)), rel=1e-4
        )
