"""Feature visualizations: pictures that excite one channel of a classification network.

Settings and errors load at once; everything that needs torch loads when first touched.
`render` is both a module and its function: `from featvis.render import render`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from featvis.config import FeatVisConfig
from featvis.errors import (
    ChannelRangeError,
    CheckpointError,
    DeviceError,
    FeatVisError,
    UnknownLayerError,
    UnknownModelError,
    WeightsUnavailableError,
)

if TYPE_CHECKING:
    from featvis.architectures import model_names
    from featvis.devices import gpu_count, resolve_device
    from featvis.layers import (
        Layer,
        Layers,
        layers_of,
        list_layers,
        select_layers,
    )
    from featvis.models import Network, load_network
    from featvis.objectives import (
        Channel,
        DeepDream,
        Direction,
        Diverse,
        Neuron,
        Objective,
    )
    from featvis.render import Rendered
    from featvis.targets import Target, objective_of, plan_mixes, plan_targets, plan_wholes

_HOME = {
    "Layer": "layers",
    "Layers": "layers",
    "layers_of": "layers",
    "list_layers": "layers",
    "select_layers": "layers",
    "Network": "models",
    "gpu_count": "devices",
    "load_network": "models",
    "model_names": "architectures",
    "resolve_device": "devices",
    "Channel": "objectives",
    "DeepDream": "objectives",
    "Direction": "objectives",
    "Diverse": "objectives",
    "Neuron": "objectives",
    "Objective": "objectives",
    "Rendered": "render",
    "Target": "targets",
    "objective_of": "targets",
    "plan_mixes": "targets",
    "plan_targets": "targets",
    "plan_wholes": "targets",
}

__all__ = [
    "Channel",
    "ChannelRangeError",
    "CheckpointError",
    "DeepDream",
    "DeviceError",
    "Direction",
    "Diverse",
    "FeatVisConfig",
    "FeatVisError",
    "Layer",
    "Layers",
    "Network",
    "Neuron",
    "Objective",
    "Rendered",
    "Target",
    "UnknownLayerError",
    "UnknownModelError",
    "WeightsUnavailableError",
    "gpu_count",
    "layers_of",
    "list_layers",
    "load_network",
    "model_names",
    "objective_of",
    "plan_mixes",
    "plan_targets",
    "plan_wholes",
    "resolve_device",
    "select_layers",
]


def __getattr__(name: str) -> Any:
    """Import the module that holds `name` on first use (PEP 562)."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(_HOME))
