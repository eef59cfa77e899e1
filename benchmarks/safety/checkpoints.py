"""Networks that somebody else trained, examined without training.

[NAME=]MODEL:FILE     a torchvision name and a file of its weights; pictures are normalised by
                      ImageNet's mean and deviation, or by .5 as in a training with the cifar preset
[NAME=]wrn-D-W:FILE   the benchmark's own network, as OUT/weights keeps it
[NAME=]MODULE:NAME    a function of yours without arguments that gives a torch.nn.Module, which
                      takes (n, 3, h, w) float32 in [0, 1] and gives logits
"""

from __future__ import annotations

import importlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from torch import nn

from benchmarks.safety.network import WideResNet
from featvis.checkpoints import load_into, read_checkpoint, sha256
from featvis.errors import FeatVisError, some
from featvis.models import IMAGENET_MEAN, IMAGENET_STD
from pixmix_cli.errors import InputError

WRN = re.compile(r"wrn-([0-9]+)-([0-9]+)")
NORMALISE = {  # mean and deviation of each channel
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "cifar": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
HINT = "resnet50:FILE, wrn-40-4:FILE or package.module:function"


class Normalised(nn.Module):
    """A network that takes pictures in [0, 1]."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(
        self, model: nn.Module, mean: tuple[float, ...], deviation: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.model((x - self.mean) / self.deviation)
        return logits


@dataclass(frozen=True)
class Checkpoint:
    """A name for the table, and what it means.

    normalise  a key of NORMALISE; None where the network does it by itself
    """

    name: str
    text: str
    normalise: str | None = None

    @property
    def digest(self) -> str | None:
        """SHA-256 of its file; None for a function."""
        file = Path(self.text.partition(":")[2])
        return sha256(file) if file.is_file() else None


def parse(text: str, normalise: str = "imagenet") -> Checkpoint:
    """[NAME=]WHAT, and how pictures of a torchvision network are normalised. Raises InputError."""
    name, _, what = text.rpartition("=")
    before, colon, after = what.partition(":")
    if not colon or not before or not after:
        raise InputError(f"--checkpoint {text} is no checkpoint", HINT)
    name = name or before
    if "/" in name:
        raise InputError(f"--checkpoint {text}: it needs a plain name", f"NAME={what}")
    known = before in torchvision.models.list_models(module=torchvision.models)
    return Checkpoint(name, what, normalise if known else None)


def load(checkpoint: Checkpoint) -> nn.Module:
    """The network, in evaluation mode: pictures in [0, 1] to logits.

    raises  InputError, one line, for a file that does not fit, or whatever a function did
    """
    what, _, where = checkpoint.text.partition(":")
    try:
        if match := WRN.fullmatch(what):
            return _wide(int(match[1]), int(match[2]), Path(where)).eval()
        if checkpoint.normalise is not None:
            loaded = load_into(what, read_checkpoint(Path(where)), Path(where))
            if loaded.lacks:
                lacking = some(f"{key} {why}" for key, why in loaded.lacks.items())
                raise InputError(f"--checkpoint {checkpoint.text} is not whole: {lacking}", HINT)
            return Normalised(loaded.model, *NORMALISE[checkpoint.normalise]).eval()
    except FeatVisError as error:
        raise InputError(f"--checkpoint {checkpoint.text}: {error}") from error
    return _made(checkpoint, what, where).eval()


def _wide(depth: int, width: int, file: Path) -> nn.Module:
    state = dict(max(read_checkpoint(file), key=lambda found: len(found.tensors)).tensors)
    head = state.get("head.weight")
    stem = state.get("stem.weight")
    if head is None or stem is None or stem.ndim != 4:
        raise InputError(f"{file} holds no network of this benchmark", "OUT/weights/ARM-SEED.pt")
    try:
        model = WideResNet(depth, width, len(head), stem.shape[2] - 2)
        model.load_state_dict(state)
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{file} is no WRN-{depth}-{width}: {reason}") from error
    return model


def _made(checkpoint: Checkpoint, module: str, function: str) -> nn.Module:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        model = getattr(importlib.import_module(module), function)()
    except Exception as error:  # whatever the user's own code does
        if isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]:
            raise InputError(
                f"--checkpoint {checkpoint.text}: {module} is neither a torchvision model nor a"
                " module",
                HINT,
            ) from error
        reason = " ".join(str(error).split())
        raise InputError(
            f"--checkpoint {checkpoint.text}: {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f"--checkpoint {checkpoint.text} gave a {type(model).__name__}, not a torch.nn.Module"
        )
    return model
