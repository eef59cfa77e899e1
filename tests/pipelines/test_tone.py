"""How strong a mixing picture is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pixmix_cli.pipelines.mixing_sets.tone import toned


def noise(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def test_a_picture_is_left_as_it_is_by_one_and_one() -> None:
    picture = noise(0)
    assert toned(picture, 1, 1) is picture


@pytest.mark.parametrize(
    ("contrast", "saturation"), [(0.5, 1.5), (0, 1), (1, 0), (2, 0.3), (10, 10)]
)
def test_brightness_and_colour_stand_as_far_from_grey_as_was_asked(
    contrast: float, saturation: float
) -> None:
    picture = noise(1)
    x = picture.astype(float)
    grey = x.mean(2, keepdims=True)
    exact = np.clip(127.5 + contrast * (grey - 127.5) + saturation * (x - grey), 0, 255)
    found = toned(picture, contrast, saturation)
    assert found.dtype == np.uint8
    assert np.abs(found - exact).max() < 0.501
    assert (picture == noise(1)).all()
