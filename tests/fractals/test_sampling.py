"""The kernels sample the same measure as the chaos game played by the book."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fractals import flame, generate, ifs, rendering
from tests.compiled import fractal_kernels as kernels
from tests.naive import fractals_oracles as naive

POINTS = 200_000
SIDE = 24


def _layer(kind: str, seed: int) -> dict[str, Any]:
    attractor, frame, _ = generate._draw_framed(np.random.default_rng(seed), kind)
    return {**attractor, "frame": frame}


def _by_kernel(layer: Any, seed: int) -> tuple[np.ndarray, np.ndarray]:
    matrix = rendering.frame_matrix(layer["frame"], SIDE)
    width = SIDE + 2
    histogram = np.zeros(width * width, np.uint64)
    if layer["kind"] == "affine":
        kernels.iterate_affine(
            *ifs.pack_ifs(layer, matrix),
            np.uint64(seed),
            POINTS,
            width,
            histogram,
            *rendering.AT_ONCE,
        )
    else:
        kernels.iterate_flame(
            *flame.pack_flame(layer),
            matrix.astype(np.float32),
            np.uint64(seed),
            POINTS,
            rendering.WARMING,
            width,
            *rendering.flame_work(rendering.TOGETHER),
            histogram,
            *rendering.AT_ONCE,
            rendering.NO_TRACE,
        )
    counts = (histogram >> np.uint64(40)).astype(float)
    return counts, (histogram & np.uint64((1 << 40) - 1)).astype(float) / 65535.0


def _by_the_book(layer: dict[str, Any], seed: int) -> tuple[np.ndarray, np.ndarray]:
    x, y, c = naive.chaos_game(layer, POINTS, np.random.default_rng(seed))
    matrix = rendering.frame_matrix(layer["frame"], SIDE)
    counts = naive.histogram(x, y, matrix, SIDE + 2)
    colors = np.zeros_like(counts)
    width = SIDE + 2
    u = np.clip(np.nan_to_num(matrix[0] * x + matrix[1] * y + matrix[2]), 0, width - 0.5)
    v = np.clip(np.nan_to_num(matrix[3] * x + matrix[4] * y + matrix[5]), 0, width - 0.5)
    np.add.at(colors, v.astype(int) * width + u.astype(int), c)
    return counts, colors


def _inside(cells: np.ndarray) -> np.ndarray:
    # the border also holds points without a place, which the two count in different cells
    return cells.reshape(SIDE + 2, SIDE + 2)[1:-1, 1:-1].reshape(-1)


@pytest.mark.parametrize(
    ("kind", "seed"),
    [("affine", 0), ("affine", 1), *(("flame", k) for k in range(6))],
)
def test_kernel_and_chaos_game_differ_by_no_more_than_two_seeds(kind: str, seed: int) -> None:
    layer = _layer(kind, seed)
    first, first_colors = (_inside(v) for v in _by_the_book(layer, 1))
    second, _ = (_inside(v) for v in _by_the_book(layer, 2))
    kernel, kernel_colors = (_inside(v) for v in _by_kernel(layer, 3))
    noise = naive.total_variation(first, second)
    # points of one orbit are not independent: the noise itself varies by a fifth
    assert naive.total_variation(first, kernel) < 1.3 * noise + 0.002
    dense = (first > 300) & (kernel > 300)
    difference = first_colors[dense] / first[dense] - kernel_colors[dense] / kernel[dense]
    assert np.abs(difference).mean() < 0.02


def test_another_genome_differs_by_far_more() -> None:
    noise_like = _inside(_by_kernel(_layer("flame", 0), 1)[0])
    other = _inside(_by_kernel(_layer("flame", 1), 1)[0])
    assert naive.total_variation(noise_like, other) > 0.2
