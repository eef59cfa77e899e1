"""Sizes and times as people read them."""

import pytest

from pixmix_cli.units import size_text, time_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"), (512, "512 bytes"), (999.7, "1 kB"), (58_675_200, "58.7 MB"),
        (999_600, "1 MB"), (394e9, "394 GB"), (4.43e12, "4.43 TB"), (7e18, "7e+03 PB"),
    ],
)  # fmt: skip
def test_a_size_has_three_digits_and_a_unit(count: float, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.04 s"), (2.04, "2 s"), (45, "45 s"), (99.6, "2 min"), (600, "10 min"),
        (7_200, "2 h"), (12_000, "3 h 20 min"), (180_000, "2 days 2 h"), (172_800, "2 days"),
    ],
)  # fmt: skip
def test_a_time_has_the_unit_that_people_would_choose(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
