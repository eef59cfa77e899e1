"""Weights out of files.

Checkpoints are read as tensors and nothing else (`weights_only=True`, or safetensors), so a file
cannot run code; the class count, the auxiliary heads and a vision transformer's picture size are
read from the tensors' names and shapes.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from safetensors.torch import load_file
from torch import Tensor, nn

from featvis.architectures import AUXILIARY, build, skeleton
from featvis.errors import CheckpointError, one_line, some

# Keys under which training scripts put the state dict beside the optimizer's.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params",
    "weights",
    "state_dict_ema",
    "model_ema",
    "ema",
)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pt, .pth or .safetensors file, unwrapped, on the CPU.

    Only tensors and plain containers are read; nothing in the file is executed.

    raises   CheckpointError if the file is missing or damaged, or holds anything else
    """
    _check_regular(path)
    try:
        if path.suffix == ".safetensors":
            loaded: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file does to the readers of torch and zip
        if "TorchScript" in str(error):
            raise _refused(path, "TorchScript") from error
        raise CheckpointError(
            f"{path} is damaged, cut short, or no checkpoint ({one_line(error)}).",
            hint="copy or download it again and compare its hash",
        ) from error
    state = _unwrap(loaded)
    if state is None:
        raise CheckpointError(
            f"{path} holds no state dict: found {_describe(loaded)}.",
            hint="torch.save(model.state_dict(), FILE) and --weights FILE",
        )
    odd = [
        key
        for key, value in state.items()
        if value.layout != torch.strided or value.is_meta or value.is_complex()
    ]
    if odd:
        raise CheckpointError(
            f"{path} holds tensors that are sparse, complex or without data: {some(odd)}.",
            hint="torch.save(model.state_dict(), FILE) of the plain network",
        )
    return state


def _check_regular(path: Path) -> None:
    """Raise CheckpointError for what is missing, unreadable, or a pipe that may never end."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path} cannot be read: it is no regular file.", hint="--weights FILE"
            )
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read: {error.strerror or error}.",
        hint="--weights FILE, DEFAULT or random",
    )


def _refused(path: Path, text: str) -> CheckpointError:
    """The error for a pickle that holds more than tensors, or that is not even a pickle."""
    found = re.search(r"(?:GLOBAL |<class ')([\w.]+)", text)
    if "TorchScript" in text:
        what = "is a TorchScript archive, which is a program"
    elif found is not None:
        what = f"holds pickled objects ({found[1]}) that could run code"
    else:
        return CheckpointError(
            f"{path} is damaged, cut short, or no checkpoint ({one_line(text)}).",
            hint="copy or download it again and compare its hash",
        )
    return CheckpointError(
        f"{path} {what}; it was refused unread.",
        hint="save only tensors: torch.save(model.state_dict(), FILE), or safetensors",
    )


def _unwrap(loaded: object, depth: int = 3) -> dict[str, Tensor] | None:
    """The state dict inside what was loaded, looking through the usual wrappers."""
    if not isinstance(loaded, Mapping):
        return None
    tensors = {k: v for k, v in loaded.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if depth > 0:
        for key in _WRAPPERS:
            inner = _unwrap(loaded[key], depth - 1) if key in loaded else None
            if inner and len(inner) > len(tensors):
                return inner
    return tensors or None


def load_into(name: str, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Architecture `name` with the tensors of `state`, sized as they ask.

    raises   CheckpointError that says which keys are missing, unexpected or of another shape
    """
    mark = AUXILIARY.get(name)
    plain = skeleton(name)
    state = _without_prefix(state, plain.state_dict())
    auxiliary = mark is not None and any(key.startswith(mark) for key in state)
    classes = _classes_in(name, state)
    size = _image_size_in(plain, state)
    shapes = skeleton(name, classes, size, auxiliary=auxiliary).state_dict()
    _compare(name, state, shapes, path)
    # The maker's own draws are thrown away, but must not move torch's global generator.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        model = build(name, classes, size, auxiliary=auxiliary)
    converted = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    model.load_state_dict({k: v for k, v in converted.items() if k in shapes}, strict=False)
    return model


def _without_prefix(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without what wrappers put before every name: "module.", "_orig_mod.", "model." …

    The prefix is the one under which most of the expected names are found. Tensors outside it
    (of a loss, a teacher, an average of the weights) are left out.
    """
    votes: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                votes["".join(f"{part}." for part in parts[:start])] += 1
    if not votes:
        return state
    prefix = max(votes, key=lambda p: (votes[p], -len(p)))
    if not prefix:
        return state
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


@lru_cache(maxsize=8)
def _head_keys(name: str) -> tuple[str, ...]:
    """Names of the tensors whose first axis is the number of classes."""
    one = skeleton(name, 1000).state_dict()
    other = skeleton(name, 1001).state_dict()
    return tuple(key for key in one if one[key].shape != other[key].shape)


def _classes_in(name: str, state: Mapping[str, Tensor]) -> int | None:
    for key in _head_keys(name):
        if key in state and state[key].ndim > 0:
            return int(state[key].shape[0]) or None
    return None


def _image_size_in(plain: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """A vision transformer's picture side, from the number of its position embeddings."""
    positions = state.get("encoder.pos_embedding")
    if not isinstance(plain, torchvision.models.VisionTransformer) or positions is None:
        return None
    if positions.ndim != 3:
        return None
    side = round(max(0, int(positions.shape[1]) - 1) ** 0.5)
    return side * int(plain.patch_size) or None


def _compare(
    name: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> None:
    """Raise CheckpointError unless every tensor of the architecture is there, finite, in shape."""
    # Checkpoints from before torch 0.4.1 have no batch counters; eval mode never reads them.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    reshaped = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} keys missing ({some(missing)})")
    if unexpected:
        complaints.append(f"{len(unexpected)} unexpected ({some(unexpected)})")
    if reshaped:
        shown = [
            f"{k} {tuple(state[k].shape)} instead of {tuple(expected[k].shape)}" for k in reshaped
        ]
        complaints.append(f"{len(reshaped)} of another shape ({some(shown)})")
    if complaints:
        raise CheckpointError(
            f"{path} is no checkpoint of {name}: {'; '.join(complaints)}.",
            hint="the --model that the checkpoint was trained with",
        )
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path} holds numbers that are not finite: {len(broken)} tensors ({some(broken)}).",
            hint="a checkpoint from before the training diverged",
        )


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    raises  CheckpointError if it cannot be read
    """
    digest = hashlib.sha256()
    _check_regular(path)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _describe(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"a dictionary of {some([str(k) for k in loaded]) or 'nothing'}"
    return f"a {type(loaded).__name__}"
