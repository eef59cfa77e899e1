"""Palettes and grounds."""

from __future__ import annotations

import numpy as np

from fractals import color


def _srgb_by_the_book(lab: np.ndarray) -> np.ndarray:
    to_lms = np.array(
        [
            [1, 0.3963377774, 0.2158037573],
            [1, -0.1055613458, -0.0638541728],
            [1, -0.0894841775, -1.2914855480],
        ]
    )
    to_rgb = np.array(
        [
            [4.0767416621, -3.3077115913, 0.2309699292],
            [-1.2684380046, 2.6097574011, -0.3413193965],
            [-0.0041960863, -0.7034186147, 1.7076147010],
        ]
    )
    linear = np.clip((lab @ to_lms.T) ** 3 @ to_rgb.T, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _colors(lab: np.ndarray) -> np.ndarray:
    # each OKLab colour by itself: the two ends of a palette of it alone
    tables = [color.palette_planes([list(map(float, p)), list(map(float, p))], 2) for p in lab]
    return np.array([table[:, 0] for table in tables])


def test_oklab_becomes_srgb_as_the_formulas_say() -> None:
    rng = np.random.default_rng(0)
    lab = np.column_stack(
        [rng.random(500), rng.uniform(-0.3, 0.3, 500), rng.uniform(-0.3, 0.3, 500)]
    )
    assert np.abs(_colors(lab) - _srgb_by_the_book(lab)).max() < 2e-4


def test_white_and_black_are_the_ends_of_the_range() -> None:
    ends = _colors(np.array([[0.0, 0, 0], [1.0, 0, 0]]))
    assert ends[0].max() == 0.0
    assert ends[1].min() > 0.999


def test_every_palette_alternates_light_and_dark_and_is_saturated() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        points = np.array(color.draw_palette(rng, rng.random()))
        assert 4 <= len(points) <= 7
        assert (np.abs(np.diff(points[:, 0])) > 0.1).all()
        assert np.hypot(points[:, 1], points[:, 2]).min() > 0.05


def test_drawn_colours_are_inside_srgb() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        for lightness, a, b in color.draw_palette(rng, rng.random()):
            # rounding to four digits may step outside by as much
            point = np.array([[lightness, 0.99 * a, 0.99 * b]])
            inside = _srgb_by_the_book(point)
            assert 0.0 < inside.min() <= inside.max() < 1.0


def test_a_palette_passes_its_colours_by_smooth_steps() -> None:
    points = color.draw_palette(np.random.default_rng(2), 0.1)
    table = color.palette_planes(points, 100)
    assert (table.shape, table.dtype) == ((3, 100), np.float32)
    place = np.linspace(0, len(points) - 1, 100)
    left = np.minimum(place.astype(int), len(points) - 2)
    t = (place - left)[:, None]
    lab = np.array(points)
    mixed = lab[left] + t * t * (3 - 2 * t) * (lab[left + 1] - lab[left])
    assert np.abs(table.T - _srgb_by_the_book(mixed)).max() < 2e-4


def test_every_shape_of_ground_is_drawn_in_range() -> None:
    for shape in color.GROUND_SHAPES:
        ground = color.draw_ground(np.random.default_rng(5), 0.3)
        ground["shape"] = shape
        picture = color.ground_planes(ground)
        assert picture.shape == (3, color.GROUND_SIZE, color.GROUND_SIZE)
        assert picture.min() >= 0.0
        assert picture.max() <= 1.0
        # a centre and an edge differ for every shape with more than one colour
        assert len(ground["colors"]) == 1 or float(np.ptp(picture)) > 0.05
