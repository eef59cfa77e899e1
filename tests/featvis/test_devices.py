"""A device that is not there is said to be missing, with what to ask for instead."""

from __future__ import annotations

import pytest
import torch

from featvis.devices import resolve_device
from featvis.errors import DeviceError

pytestmark = pytest.mark.torch


def test_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(DeviceError, match="available here") as caught:
            resolve_device(name)
        assert "cpu" in (caught.value.hint or "")


def test_missing_second_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == "cuda:0"
    with pytest.raises(DeviceError, match="no cuda:1"):
        resolve_device("cuda:1")
    with pytest.raises(DeviceError, match="'gpu'"):
        resolve_device("gpu")
