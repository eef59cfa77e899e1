"""Where networks run: the CPU, a CUDA GPU, or a Metal GPU."""

from __future__ import annotations

import re

import torch

from featvis.errors import DeviceError


def resolve_device(name: str) -> str:
    """The device that `name` means here.

    name     auto | cpu | cuda | cuda:N | mps; auto takes cuda, then mps, then cpu
    returns  cpu | cuda | cuda:N | mps
    raises   DeviceError if the asked-for device is missing
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        if torch.backends.mps.is_available():
            return name
        raise DeviceError("No Metal GPU (mps) is available here.", hint="--device auto or cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"Unknown device {name!r}.", hint="auto, cpu, cuda, cuda:N or mps")
    if not torch.cuda.is_available():
        why = "" if torch.version.cuda else f" (torch {torch.__version__} is built without CUDA)"
        raise DeviceError(f"No CUDA GPU is available here{why}.", hint="--device auto or cpu")
    count = torch.cuda.device_count()
    if match[1] is not None and int(match[1]) >= count:
        raise DeviceError(
            f"There is no {name}: this machine has {count} CUDA device(s), cuda:0 to "
            f"cuda:{count - 1}.",
            hint="--device cuda",
        )
    return name


def gpu_count(device: str) -> int:
    """How many GPUs a resolved device stands for: "cuda" for all there are, anything else one."""
    return torch.cuda.device_count() if device == "cuda" else 1
