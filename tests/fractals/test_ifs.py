"""Affine systems: what is drawn, and how it is packed."""

from __future__ import annotations

import numpy as np
import pytest

from fractals import ifs
from fractals.elementary import PI
from fractals.recipe import largest_singular_value


def test_every_map_drawn_is_contractive() -> None:
    for seed in range(200):
        system = ifs.draw_ifs(np.random.default_rng(seed))
        for one in system["maps"]:
            a, b, _, d, e, _ = one["affine"]
            top = np.linalg.svd(np.array([[a, b], [d, e]]), compute_uv=False)[0]
            assert top < ifs.MAX_SINGULAR_VALUE + 1e-5


def test_largest_singular_value_agrees_with_lapack() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        m = rng.normal(size=(2, 2))
        expected = np.linalg.svd(m, compute_uv=False)[0]
        assert largest_singular_value(*m.ravel()) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("maps", [2, 4, 8])
def test_singular_values_have_the_sum_that_anderson_and_farrell_recommend(maps: int) -> None:
    rng = np.random.default_rng(maps)
    for _ in range(100):
        pairs = ifs.draw_singular_values(rng, maps)
        total = sum(s1 + 2 * s2 for s1, s2 in pairs)
        # the cap may take a little off the top
        capped = any(s1 == ifs.MAX_SINGULAR_VALUE for s1, _ in pairs)
        assert total <= 0.5 * (6 + maps) + 1e-9
        assert capped or total >= 0.5 * (5 + maps) - 1e-9
        assert all(0 <= s2 <= s1 <= ifs.MAX_SINGULAR_VALUE for s1, s2 in pairs)


def test_probabilities_follow_the_areas_above_a_floor() -> None:
    for seed in range(50):
        maps = ifs.draw_ifs(np.random.default_rng(seed))["maps"]
        affine = np.array([one["affine"] for one in maps])
        areas = np.abs(affine[:, 0] * affine[:, 4] - affine[:, 1] * affine[:, 3])
        expected = np.maximum(areas, ifs.MIN_PROBABILITY * areas.sum())
        weights = np.array([one["weight"] for one in maps])
        assert weights == pytest.approx(expected / expected.sum(), abs=1e-4)


def test_choice_table_holds_every_map_in_proportion() -> None:
    weights = [0.5, 0.3, 0.19999, 1e-9]
    counts = np.bincount(ifs.choice_table(weights), minlength=4)
    assert counts.sum() == ifs.TABLE_SIZE
    assert counts[3] >= 1
    assert counts[:3] / ifs.TABLE_SIZE == pytest.approx(weights[:3], abs=1e-3)


def test_conjugated_map_moves_pixels_as_the_map_moves_points() -> None:
    rng = np.random.default_rng(1)
    affine = rng.normal(size=6)
    frame = np.array([30.0, -12.0, 7.0, 12.0, 30.0, 99.0])

    def move(m: np.ndarray, p: np.ndarray) -> np.ndarray:
        return m.reshape(2, 3)[:, :2] @ p + m.reshape(2, 3)[:, 2]

    point = rng.normal(size=2)
    expected = move(frame, move(affine, point))
    assert move(ifs.conjugate(affine, frame), move(frame, point)) == pytest.approx(expected)


@pytest.mark.parametrize(("order", "mirror"), [(1, False), (2, True), (5, False), (6, True)])
def test_symmetries_form_the_cyclic_or_dihedral_group(order: int, mirror: bool) -> None:
    group = [np.array(m).reshape(2, 2) for m in ifs.symmetries(order, mirror)]
    assert len(group) == order * (2 if mirror else 1)
    for a in group:
        assert a @ a.T == pytest.approx(np.eye(2), abs=1e-9)
        for b in group:
            assert any(np.allclose(a @ b, c, atol=1e-9) for c in group)
    assert group[order - 1][0, 0] == pytest.approx(np.cos(2 * PI * (order - 1) / order))


def test_packed_system_has_each_map_once_for_each_symmetry() -> None:
    layer = ifs.draw_ifs(np.random.default_rng(3))
    layer["symmetry"] = {"order": 3, "mirror": True}
    maps, colors, table = ifs.pack_ifs(layer, np.array([1.0, 0, 0, 0, 1.0, 0]))
    assert len(maps) == len(colors) == 6 * len(layer["maps"])
    assert set(table.tolist()) == set(range(len(maps)))
    assert maps[0].tolist() == pytest.approx(layer["maps"][0]["affine"])
