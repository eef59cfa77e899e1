"""Kernels: compiled, as plain Python, and against slow oracles."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fractals import flame, ifs
from fractals.rendering import new_bench
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


NOW = np.empty(0, np.uint32), np.empty(0, np.int32)  # no heaps: points are added at once
NO_TRACE = np.empty((3, 0), F)


def _heaps(width: int) -> tuple[np.ndarray, np.ndarray]:
    tiles = (width * width >> kernels.TILE_BITS) + 1
    return np.empty(tiles << kernels.HEAP_BITS, np.uint32), np.zeros(tiles, np.int32)


def _affine_case() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    layer = ifs.draw_ifs(np.random.default_rng(11))
    frame = np.array([9.0, 3.0, 18.0, -3.0, 9.0, 16.0])
    return ifs.pack_ifs(layer, frame)


def test_compiled_affine_kernel_equals_plain_python_to_the_bit(both: Both) -> None:
    maps, colors, table = _affine_case()
    fast, slow = np.zeros(34 * 34, np.uint64), np.zeros(34 * 34, np.uint64)
    for iterate, histogram in zip(both("iterate_affine"), (fast, slow), strict=True):
        iterate(maps, colors, table, np.uint64(5), 1000, 34, histogram, *NOW)
    assert (fast == slow).all()
    assert int((fast >> np.uint64(40)).sum()) == 1000


def test_compiled_orbit_equals_plain_python_to_the_bit(both: Both) -> None:
    maps, colors, table = _affine_case()
    fast, slow = np.empty((3, 300), F), np.empty((3, 300), F)
    for orbit, trace in zip(both("affine_orbit"), (fast, slow), strict=True):
        orbit(maps, colors, table, np.uint64(5), trace)
    assert (fast == slow).all()


def test_points_that_explode_or_are_not_numbers_stay_in_the_histogram() -> None:
    table = ifs.choice_table([1.0])
    for bad in (3.0, np.inf, np.nan):
        maps = np.array([[bad, 0.0, 1.0, 0.0, bad, 1.0]])
        histogram = np.zeros(10 * 10, np.uint64)
        kernels.iterate_affine(
            maps, np.full(1, kernels.COUNT_ONE), table, np.uint64(1), 400, 10, histogram, *NOW
        )
        assert int((histogram >> np.uint64(40)).sum()) == 400


def _flame(iterate: Callable[..., Any], seed: int, points: list[int]) -> tuple[np.ndarray, ...]:
    # plotted in pieces: only the first one warms up
    layer = flame.draw_flame(np.random.default_rng(seed))
    frame = np.array([9, 3, 18, -3, 9, 16], F)
    histogram, trace = np.zeros(34 * 34, np.uint64), np.empty((3, 96), F)
    work, cells = np.zeros((12, 128), F), np.zeros((2, 128), np.int32)
    for k, amount in enumerate(points):
        iterate(
            *flame.pack_flame(layer), frame, np.uint64(9 + k), amount, 0 if k else 21, 34, work,
            cells, histogram, *NOW, trace,
        )  # fmt: skip
    return histogram, trace


@pytest.mark.parametrize("seed", [0, 1])
def test_compiled_flame_kernel_equals_plain_python_to_the_bit(both: Both, seed: int) -> None:
    fast, slow = (_flame(iterate, seed, [256, 128]) for iterate in both("iterate_flame"))
    assert (fast[0] == slow[0]).all()
    assert (fast[1] == slow[1]).all()
    assert int((fast[0] >> np.uint64(40)).sum()) == 384


def test_a_flame_that_goes_on_samples_what_one_in_one_piece_does() -> None:
    counts = [
        (_flame(kernels.iterate_flame, 1, pieces)[0] >> np.uint64(40)).astype(float)
        for pieces in ([300_000], [1024, 299_008], [300_000])
    ]
    assert naive.total_variation(counts[0], counts[1]) < 0.04
    assert (counts[0] == counts[2]).all()


@pytest.mark.parametrize("kind", ["affine", "flame"])
def test_points_that_wait_on_heaps_end_where_they_would_at_once(kind: str) -> None:
    width, points = 602, 200_000  # six tiles, some of whose heaps are added on the way
    seen = []
    for heaps in (NOW, _heaps(width)):
        histogram = np.zeros(width * width, np.uint64)
        if kind == "affine":
            packed = ifs.pack_ifs(
                ifs.draw_ifs(np.random.default_rng(11)), np.array([160.0, 0, 300, 0, 160, 300])
            )
            kernels.iterate_affine(*packed, np.uint64(5), points, width, histogram, *heaps)
        else:
            layer = flame.draw_flame(np.random.default_rng(3))
            kernels.iterate_flame(
                *flame.pack_flame(layer), np.array([90, 0, 300, 0, 90, 300], F), np.uint64(5),
                points, 20, width, np.zeros((12, 512), F), np.zeros((2, 512), np.int32), histogram,
                *heaps, NO_TRACE,
            )  # fmt: skip
        assert not heaps[1].any()
        seen.append(histogram)
    assert (seen[0] == seen[1]).all()
    assert int((seen[0] >> np.uint64(40)).max()) > 10


def test_a_cell_that_could_overflow_is_halved_and_keeps_its_colour() -> None:
    width = 10
    maps = np.zeros((1, 6))
    maps[0, 2] = maps[0, 5] = 5.5  # every point falls into one cell
    colors = np.full(1, int(kernels.COUNT_ONE) + 16384, np.uint64)
    histogram, heaps = np.zeros(width * width, np.uint64), _heaps(width)
    packed = maps, colors, ifs.choice_table([1.0])
    kernels.iterate_affine(*packed, np.uint64(1), 20_000_000, width, histogram, *heaps)
    cell = int(histogram[5 * width + 5])
    count, color = cell >> 40, (cell & ((1 << 40) - 1)) / (cell >> 40)
    assert 1 << 21 < count < 1 << 23
    assert color == pytest.approx(16384, abs=1)
    assert np.count_nonzero(histogram) == 1


def test_frames_of_a_trace_are_measured_as_the_oracle_does(both: Both) -> None:
    rng = np.random.default_rng(0)
    trace = rng.normal(size=(3, 2000)).astype(F)
    trace[2] = rng.random(2000)
    frames = np.array([[5, 1, 9, -1, 5, 8], [3, 0, 9, 0, 3, 9]], F)
    for measure in both("measure_frames"):
        results = np.empty((2, 5))
        places, histogram = np.empty(2000, np.int32), np.empty(18 * 18, np.uint64)
        measure(trace, frames, 18, places, histogram, results)
        for frame, result in zip(frames, results, strict=True):
            x, y = trace[0].astype(float), trace[1].astype(float)
            counts = naive.histogram(x, y, frame.astype(float), 18).reshape(18, 18)
            # a point on the edge between cells may round either way
            assert result == pytest.approx(naive.measure_spread(counts), rel=0.01)


def test_points_just_seeded_count_as_outside() -> None:
    trace = np.zeros((3, 10), F)
    trace[2, :4] = -1.0
    histogram = np.empty(36, np.uint64)
    kernels.bin_trace(trace, np.array([1, 0, 3, 0, 1, 3], F), 6, np.empty(10, np.int32), histogram)
    counts = (histogram >> np.uint64(40)).reshape(6, 6)
    assert (counts[0, 0], counts[3, 3], counts.sum()) == (4, 6, 10)


def _packed(seed: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # a histogram with its border, and the counts and sums of colours inside
    rng = np.random.default_rng(seed)
    counts = rng.poisson(rng.gamma(0.7, 9.0, (side + 2, side + 2)))
    colors = (counts * 65535 * rng.random((side + 2, side + 2))).astype(np.int64)
    packed = (counts.astype(np.uint64) << np.uint64(40)) + colors.astype(np.uint64)
    return packed.reshape(-1), counts[1:-1, 1:-1].astype(float), colors[1:-1, 1:-1] / 65535.0


@pytest.mark.parametrize("fold", [1, 2])
def test_rows_of_a_histogram_are_read_without_its_border(both: Both, fold: int) -> None:
    packed, counts, sums = _packed(0, 6 * fold)
    for read in both("read_row"):
        n, s = np.empty(6, F), np.empty(6, F)
        for i in range(6):
            read(packed, i, fold, n, s)
            assert n == pytest.approx(naive.shrink_sums(counts, 6)[i])
            assert s == pytest.approx(naive.shrink_sums(sums, 6)[i], rel=1e-6)


def test_the_largest_sum_of_colours_is_read_whole(both: Both) -> None:
    cell = (((1 << 24) - 1) << 40) + ((1 << 40) - 1)
    for count_of, sum_of in zip(both("count_of"), both("sum_of"), strict=True):
        assert float(count_of(np.uint64(cell))) == (1 << 24) - 1
        assert float(sum_of(np.uint64(cell))) == pytest.approx(((1 << 40) - 1) / 65535.0)


@pytest.mark.parametrize("side", [4, 5, 13])
def test_coarse_sums_equal_the_oracle(both: Both, side: int) -> None:
    packed, counts, sums = _packed(0, 13)
    for add_up in both("add_up"):
        coarse, coarse_sums = np.empty((side, side)), np.empty((side, side))
        add_up(packed, 13, np.empty((2, 13), np.uint64), coarse, coarse_sums)
        assert coarse == pytest.approx(naive.shrink_sums(counts, side))
        assert coarse_sums == pytest.approx(naive.shrink_sums(sums, side))


def test_exposure_is_that_of_sorted_cells(both: Both) -> None:
    for seed in range(4):
        coarse = np.random.default_rng(seed).gamma(0.5, 40.0, (20, 20)).round()
        lit = np.sort(coarse[coarse > 0])
        running = lit.cumsum() / lit.sum()
        low, white = (lit[np.searchsorted(running, share)] for share in (0.06, 0.90))
        for expose in both("expose"):
            found = expose(coarse, np.empty((2, kernels.BUCKETS)))
            assert found == pytest.approx((low, max(white, 1.5 * low)), rel=0.03)
    assert kernels.expose(np.zeros((4, 4)), np.empty((2, kernels.BUCKETS))) == (1.0, 2.0)


@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
def test_spread_palette_equals_the_oracle(both: Both, share: float) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.poisson(20.0, (9, 9)).astype(float)
    sums = coarse * rng.beta(2.0, 5.0, (9, 9))
    base = rng.random((3, 128)).astype(F)
    for spread in both("spread_palette"):
        table = np.empty_like(base)
        bins = np.empty((2, kernels.SPREAD_BINS + 2))
        spread(base, coarse, sums, 6.0, share, bins, np.empty(9, np.int32), table)
        expected = naive.spread_palette(base, coarse, sums, 6.0, share)
        # a coordinate in the middle between two entries may go to either
        assert (table != expected).any(axis=0).mean() < 0.02


@pytest.mark.parametrize(("near", "far"), [(0.25, 0.0), (0.25, 0.0625)])
def test_blurring_equals_the_oracle(both: Both, near: float, far: float) -> None:
    values = np.random.default_rng(0).random((7, 7)).astype(F)
    expected = values.astype(float)
    for _ in range(4):
        expected = naive.blur(expected, near, far)
    for blur in both("blur"):
        out = values.reshape(-1).copy()
        blur(out, 7, 2, F(near), F(far), np.empty(49, F))
        assert out.reshape(7, 7) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("side", [4, 7, 16])
def test_a_ground_enlarged_row_by_row_equals_the_oracle(both: Both, side: int) -> None:
    small = np.random.default_rng(0).random((4, 4, 3)).astype(F)
    expected = naive.upsample(small.astype(float), side)
    planes = np.ascontiguousarray(small.transpose(2, 0, 1))
    for ground_row in both("ground_row"):
        wide, out = np.empty((2, 3, side), F), np.empty((3, side), F)
        for i in range(side):
            ground_row(planes, i, wide, out)
            assert pytest.approx(expected[i], abs=1e-5) == out.T


@pytest.mark.parametrize(("fold", "screen", "first"), [(1, False, True), (2, True, False)])
def test_a_layer_laid_in_one_pass_equals_its_steps(
    both: Both, fold: int, screen: bool, first: bool
) -> None:
    side, grid = 12, 4
    packed, fine, fine_sums = _packed(3, side * fold)
    rng = np.random.default_rng(0)
    base = rng.random((3, 64)).astype(F)
    look = np.array([1.5, 0.2, 0.8, 0.9], F)
    ground = rng.random((grid, grid, 3)).astype(F)
    before = rng.integers(0, 65536, (side, 3, side)).astype(np.uint16)

    counts, sums = naive.shrink_sums(fine, side), naive.shrink_sums(fine_sums, side)
    coarse, coarse_sums = naive.shrink_sums(fine, grid), naive.shrink_sums(fine_sums, grid)
    low, white = kernels.expose(coarse, np.empty((2, kernels.BUCKETS)))
    palette = naive.spread_palette(base, coarse, coarse_sums, low, 0.7).T
    light, _ = naive.smooth_sparse(counts, counts, 9.0, 1)
    light, _ = naive.smooth_sparse(light, light, 3.0, 1)
    weights, colors = counts, sums
    for step in (1, 2, 4):
        weights, colors = naive.smooth_sparse(weights, colors, 16.0, step)
    start = (
        naive.upsample(ground.astype(float), side) if first else before.transpose(0, 2, 1) / 65535.0
    )
    tone = np.array([(side / grid) ** 2 / low, 1.0 / math.log2(1 + white / low), *look])
    expected = naive.compose(light, weights, colors, tone, palette, screen, start)
    for lay in both("lay_layer"):
        picture = before.copy()
        planes = np.ascontiguousarray(ground.transpose(2, 0, 1))
        bench = kernels.Bench(*new_bench(side, side * fold, grid, 64))
        lay(packed, fold, base, 0.7, look, screen, first, planes, bench, picture)
        seen = picture.transpose(0, 2, 1) / 65535.0
        # a coordinate in the middle between two entries of the palette may go to either
        assert np.median(np.abs(seen - expected)) < 1e-4
        assert (np.abs(seen - expected).max(axis=2) > 1e-3).mean() < 0.03


def test_veil_and_glow_are_a_blurred_layer_over_the_ground(both: Both) -> None:
    side = 8
    packed, counts, sums = _packed(5, side)
    base = np.random.default_rng(0).random((3, 64)).astype(F)
    look = np.array([1.3, 0.2, 0.0, 0.7], F)
    low, white = kernels.expose(counts, np.empty((2, kernels.BUCKETS)))
    palette = naive.spread_palette(base, counts, sums, low, 0.5).T
    tone = np.array([1.0 / low, 1.0 / math.log2(1 + white / low), *look])
    for name, passes, far in (("lay_veil", 2, 0.0), ("lay_glow", 8, 1 / 16)):
        n, s = counts, sums
        for _ in range(passes):
            n, s = naive.blur(n, 0.25, far), naive.blur(s, 0.25, far)
        start = np.full((side, side, 3), 0.4)
        expected = naive.compose(n, n, s, tone, palette, False, start)
        for lay in both(name):
            ground = np.full((3, side, side), 0.4, F)
            bench = kernels.Bench(*new_bench(side, side, side, 64))
            if name == "lay_veil":
                lay(packed, base, 0.5, look, bench, ground)
            else:
                lay(packed, side, base, 0.5, F(0.7), bench, ground)
            apart = np.abs(ground.transpose(1, 2, 0) - expected).max(axis=2)
            assert np.median(apart) < 1e-4
            assert (apart > 1e-3).mean() < 0.05


def _picture(seed: int, side: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (side, 3, side)).astype(np.uint16)


@pytest.mark.parametrize(("side", "grid"), [(6, 3), (7, 3)])
def test_box_means_are_the_means_of_their_boxes(both: Both, side: int, grid: int) -> None:
    picture = _picture(0, side)
    for means in both("box_means"):
        small = np.empty((3, grid, grid), F)
        means(picture, np.empty(side, np.int32), small)
        edges = [k * side // grid for k in range(grid + 1)]
        for k, i, j in np.ndindex(3, grid, grid):
            box = picture[edges[i] : edges[i + 1], k, edges[j] : edges[j + 1]]
            assert small[k, i, j] == pytest.approx(box.mean() / 65535.0, rel=1e-6)


@pytest.mark.parametrize(("side", "small_side"), [(8, 4), (8, 7), (8, 3), (8, 1), (5, 5)])
def test_areas_are_weighted_by_what_a_pixel_covers(both: Both, side: int, small_side: int) -> None:
    picture = _picture(1, side)
    # each cell as small_side squared ones: then every pixel covers whole ones
    fine = picture.transpose(0, 2, 1).repeat(small_side, axis=0).repeat(small_side, axis=1)
    expected = fine.reshape(small_side, side, small_side, side, 3).mean(axis=(1, 3))
    for shrink in both("shrink_area"):
        small = np.empty((small_side, 3, small_side), np.uint16)
        shrink(picture, np.empty((3, side), np.int32), small)
        assert small.transpose(0, 2, 1) == pytest.approx(expected, abs=0.5001)


def test_bytes_are_stretched_held_and_rounded(both: Both) -> None:
    picture = np.array([0, 16384, 32768], np.uint16).reshape(1, 3, 1)
    low, gain = np.array([0.1, 0.25, 0], F), np.array([1, 2, 1], F)
    for to_bytes in both("to_bytes"):
        out = np.empty(3, np.uint8)
        to_bytes(picture, low, gain, np.empty((3, 1), np.uint8), out)
        assert out.tolist() == [0, 0, 128]
        full = np.full((1, 3, 1), 65535, np.uint16)
        to_bytes(full, low, np.full(3, 2.0, F), np.empty((3, 1), np.uint8), out)
        assert out.tolist() == [255, 255, 255]


def test_bytes_may_take_the_place_of_the_picture() -> None:
    picture = _picture(2, 33)
    low, gain, rows = np.zeros(3, F), np.ones(3, F), np.empty((3, 33), np.uint8)
    apart = np.empty(33 * 33 * 3, np.uint8)
    kernels.to_bytes(picture, low, gain, rows, apart)
    inside = picture.reshape(-1).view(np.uint8)[: apart.size]
    kernels.to_bytes(picture, low, gain, rows, inside)
    assert (inside == apart).all()


def test_spread_of_an_orbit_equals_the_oracle(both: Both) -> None:
    counts = np.random.default_rng(0).poisson(3.0, (12, 12))
    histogram = (counts.astype(np.uint64) << np.uint64(40)).reshape(-1)
    for measure in both("measure_spread"):
        result = np.empty(5)
        measure(histogram, 12, result)
        assert result.tolist() == pytest.approx(
            naive.measure_spread(counts.astype(float)), rel=1e-4
        )
