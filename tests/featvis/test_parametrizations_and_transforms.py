"""Pictures decode the same at every size, and views are what was drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from featvis.config import PARAMETRIZATIONS, FeatVisConfig
from featvis.parametrizations import frequencies, make_parametrization, synthesize
from featvis.transforms import draw_views, view

pytestmark = pytest.mark.torch


def _rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng([3, i]) for i in range(count)]


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
@pytest.mark.parametrize("side", [1, 2, 7, 32])
def test_start_decodes_to_pictures_in_range(name: str, side: int) -> None:
    config = FeatVisConfig(parametrization=name)
    pictures = make_parametrization(config, side, _rngs(2), "cpu").decode()
    assert pictures.shape == (2, 3, side, side)
    assert pictures.dtype == torch.float32
    assert 0 <= float(pictures.detach().min()) <= float(pictures.detach().max()) <= 1


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_start_of_a_picture_ignores_its_companions(name: str) -> None:
    config = FeatVisConfig(parametrization=name)
    alone = make_parametrization(config, 16, [_rngs(3)[2]], "cpu").decode()
    beside = make_parametrization(config, 16, _rngs(3), "cpu").decode()
    assert torch.equal(alone[0], beside[2])
    assert not torch.equal(beside[0], beside[2])


@pytest.mark.parametrize("name", ["fourier", "pixel"])
@pytest.mark.parametrize("side", [15, 16])
def test_a_given_picture_is_where_it_starts(name: str, side: int) -> None:
    given = np.random.default_rng(1).uniform(0.02, 0.98, (2, 3, side, side)).astype(np.float32)
    config = FeatVisConfig(parametrization=name)
    made = make_parametrization(config, side, _rngs(2), "cpu", given)
    assert np.abs(made.decode().detach().numpy() - given).max() < 0.05
    assert made.parameter.requires_grad


def test_maco_starts_with_the_phases_of_a_given_picture() -> None:
    given = np.random.default_rng(1).uniform(0.02, 0.98, (2, 3, 16, 16)).astype(np.float32)
    made = make_parametrization(FeatVisConfig(parametrization="maco"), 16, _rngs(2), "cpu", given)
    decoded = made.decode().detach().numpy()
    for one, other in zip(decoded, given):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.5
    flat = np.full((1, 3, 16, 16), 0.5, np.float32)
    made = make_parametrization(FeatVisConfig(parametrization="maco"), 16, _rngs(1), "cpu", flat)
    assert float(made.parameter.detach().std()) > 1  # no picture, so random phases


def test_a_given_picture_is_resized() -> None:
    given = np.zeros((1, 3, 40, 40), np.float32)
    given[..., 20:] = 1
    made = make_parametrization(FeatVisConfig(), 10, _rngs(1), "cpu", given)
    decoded = made.decode().detach()
    assert float(decoded[..., :4].max()) < 0.1
    assert float(decoded[..., 6:].min()) > 0.9


@pytest.mark.parametrize("own", [5, 8])
@pytest.mark.parametrize("side", [5, 8, 11, 16])
def test_synthesis_at_another_side_samples_the_same_waves(own: int, side: int) -> None:
    """Oracle: the sum of cosines, one by one."""
    rng = np.random.default_rng(0)
    spectrum = np.zeros((own, own // 2 + 1), complex)
    waves = [(0, 0), (1, 0), (0, 1), (-1, 1), (2, 1), (-2, 2)]
    for down, across in waves:
        spectrum[down, across] = rng.standard_normal() + 1j * rng.standard_normal()
    spectrum[0, 0] = spectrum[0, 0].real
    spectrum[-1, 0] = np.conj(spectrum[1, 0])  # a real picture's column of no waves across
    places = np.arange(side) / side
    expected = np.zeros((side, side))
    for down, across in [*waves, (-1, 0)]:
        angle = 2 * np.pi * (down * places[:, None] + across * places[None, :])
        wave = (spectrum[down, across] * np.exp(1j * angle)).real
        expected += wave * (1 if across == 0 else 2)
    tensor = torch.from_numpy(spectrum.astype(np.complex64))[None, None]
    assert np.allclose(synthesize(tensor, side)[0, 0].numpy(), expected, atol=1e-4)


def test_frequencies_are_cycles_a_side() -> None:
    table = frequencies(8)
    assert table.shape == (8, 5)
    assert table[0].tolist() == [0, 1, 2, 3, 4]
    assert table[-1, 0] == 1
    assert table[3, 4] == 5


def test_views_have_the_drawn_zoom_turn_and_shift() -> None:
    config = FeatVisConfig(steps=500, zoom_min=0.5, zoom_max=2.0, rotation=30.0)
    maps = draw_views(config, 0.25, _rngs(4))
    assert maps.shape == (500, 4, 2, 3)
    zoom = 1 / np.sqrt(np.linalg.det(maps[..., :2]))
    angle = np.degrees(np.arctan2(maps[..., 1, 0], maps[..., 0, 0]))
    assert 0.5 <= zoom.min() < 0.52
    assert 1.92 < zoom.max() <= 2.0
    assert np.median(zoom) == pytest.approx(1.0, abs=0.06)  # log-uniform
    assert -30 <= angle.min() < -29
    assert 29 < angle.max() <= 30
    assert 0.49 < np.abs(maps[..., 2]).max() <= 0.5  # [-1, 1] is two sides long


def test_views_of_a_picture_ignore_its_companions() -> None:
    config = FeatVisConfig(steps=5)
    assert np.array_equal(
        draw_views(config, 0.1, [_rngs(3)[2]])[:, 0], draw_views(config, 0.1, _rngs(3))[:, 2]
    )


def _map(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor([rows], dtype=torch.float32)


def test_view_without_change_is_the_picture() -> None:
    picture = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    same = view(picture, _map([[1, 0, 0], [0, 1, 0]]), 9, wrap=True)
    assert torch.allclose(same, picture, atol=1e-5)


def test_view_turns_by_a_quarter() -> None:
    picture = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    turned = view(picture, _map([[0, -1, 0], [1, 0, 0]]), 8, wrap=False)
    assert torch.allclose(turned, torch.rot90(picture, 1, (2, 3)), atol=1e-5)


def test_wrapped_view_rolls_and_mirrored_view_reflects() -> None:
    picture = torch.arange(8.0).view(1, 1, 1, 8).expand(1, 3, 8, 8).contiguous()
    half = _map([[1, 0, 1], [0, 1, 0]])  # half a side to the right
    wrapped = view(picture, half, 8, wrap=True)[0, 0, 0]
    mirrored = view(picture, half, 8, wrap=False)[0, 0, 0]
    assert wrapped.tolist() == pytest.approx([4, 5, 6, 7, 0, 1, 2, 3], abs=1e-4)
    assert mirrored.tolist() == pytest.approx([4, 5, 6, 7, 7, 6, 5, 4], abs=1e-4)


def test_shrinking_view_averages_instead_of_skipping() -> None:
    checks = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).repeat(16, 16).expand(1, 3, 32, 32)
    small = view(checks.contiguous(), _map([[1, 0, 0], [0, 1, 0]]), 8, wrap=True)
    assert torch.allclose(small, torch.full_like(small, 0.5), atol=1e-5)
