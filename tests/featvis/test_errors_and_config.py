"""Settings are checked when made, and cheap to import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from featvis.config import FeatVisConfig
from featvis.errors import CheckpointError, FeatVisError

pytestmark = pytest.mark.torch


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("size", 0),
        ("size", 5000),
        ("size", 64.0),
        ("size", True),
        ("steps", 0),
        ("batch_size", 0),
        ("network_size", 0),
        ("precision", "float16"),
        ("parametrization", "wavelet"),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("decay", -1.0),
        ("zoom_max", 0.5),
        ("rotation", 181.0),
        ("jitter", float("inf")),
        ("revive_steps", -1),
        ("max_restarts", -1),
    ],
)
def test_bad_setting_is_refused_by_name(setting: str, value: object) -> None:
    with pytest.raises(FeatVisError, match=setting) as caught:
        FeatVisConfig(**{setting: value})  # type: ignore[arg-type]
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_errors_are_value_errors_with_a_hint() -> None:
    error = CheckpointError("x.pt is damaged.", hint="another file")
    assert isinstance(error, FeatVisError)
    assert isinstance(error, ValueError)
    assert (str(error), error.hint) == ("x.pt is damaged.", "another file")


def test_settings_and_errors_import_no_torch() -> None:
    code = (
        "import sys, featvis, featvis.config, featvis.errors\n"
        "featvis.FeatVisConfig(size=64)\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "featvis.Target\n"
        "assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_every_exported_name_exists() -> None:
    import featvis

    assert {"FeatVisConfig", "Network", "Target", "load_network"} <= set(dir(featvis))
    for name in dir(featvis):
        assert getattr(featvis, name) is not None
    with pytest.raises(AttributeError, match="colour"):
        _ = featvis.colour  # type: ignore[attr-defined]
