"""Settings, errors and what importing costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fractals.config import FractalConfig
from fractals.errors import FractalError


def test_defaults_are_those_documented() -> None:
    config = FractalConfig()
    assert (config.kind, config.size, config.points_per_pixel) == ("mixed", 512, 8.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "julia"}, "mixed, affine, flame"),
        ({"size": 0}, "1 to 8192"),
        ({"size": 20000}, "1 to 8192"),
        ({"size": 7.5}, "whole number"),
        ({"size": True}, "whole number"),
        ({"points_per_pixel": float("nan")}, "0.1 to 1000"),
        ({"points_per_pixel": 0}, "0.1 to 1000"),
        ({"points_per_pixel": 1e6}, "0.1 to 1000"),
        ({"points_per_pixel": "8"}, "number"),
        ({"size": 8192, "points_per_pixel": 100}, "points"),
    ],
)
def test_a_bad_setting_gives_one_line_that_names_the_limits(
    settings: dict[str, object], said: str
) -> None:
    with pytest.raises(FractalError, match=said) as caught:
        FractalConfig(**settings)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_errors_are_value_errors() -> None:
    assert issubclass(FractalError, ValueError)


@pytest.mark.process
@pytest.mark.parametrize("module", ["fractals", "fractals.config"])
def test_importing_needs_neither_numba_nor_torch_nor_pillow(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print([m for m in ('numba', 'torch', 'PIL', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import fractals

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fractals.nothing
    assert "generate_fractal" in dir(fractals)
