"""Architectures by name, and their skeletons."""

from __future__ import annotations

import pytest

from featvis.architectures import model_names, skeleton

pytestmark = pytest.mark.torch


def test_model_names_are_classification_networks() -> None:
    names = model_names()
    assert {"resnet50", "vit_b_16", "convnext_tiny", "maxvit_t", "regnet_y_400mf"} <= set(names)
    assert not any("segmentation" in name or "rcnn" in name or "raft" in name for name in names)


def test_skeletons_take_no_memory() -> None:
    assert {p.device.type for p in skeleton("regnet_y_400mf").parameters()} == {"meta"}
