"""What --precision auto means where."""

from __future__ import annotations

import pytest

from featvis import precision
from featvis.precision import choose


@pytest.mark.parametrize(
    ("wanted", "device", "bfloat16"),
    [
        ("auto", "cpu", False),
        ("auto", "mps", False),
        ("auto", "cuda", True),
        ("auto", "cuda:1", True),
        ("float32", "cuda", False),
        ("bfloat16", "cpu", True),
    ],
)
def test_auto_keeps_the_bytes_of_a_cpu_and_hurries_on_cuda(
    wanted: str, device: str, bfloat16: bool
) -> None:
    assert choose(wanted, device).bfloat16 == bfloat16


@pytest.mark.parametrize("unit", ["AMX", "AVX-512 BF16", ""])
def test_auto_on_a_cpu_says_what_would_be_faster_on_this_one(
    monkeypatch: pytest.MonkeyPatch, unit: str
) -> None:
    monkeypatch.setattr(precision, "fast_bfloat16", lambda: unit)
    found = choose("auto", "cpu")
    assert not found.bfloat16
    assert found.saves == bool(unit)
    assert ("--precision bfloat16" in str(found)) == bool(unit)
    assert unit in str(found)
    assert "\n" not in str(found)
