"""Training, the same for every arm: SGD with Nesterov momentum and a cosine schedule.

Rate, momentum, decay, batch and schedule are those of PixMix's published CIFAR script.
"""

from __future__ import annotations

import io
import math
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.safety.network import WideResNet
from pixmix_cli.errors import PixMixError
from pixmix_cli.storage.files import write_whole

RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
BATCH = 128


@dataclass(frozen=True)
class Training:
    """How long and how large."""

    depth: int
    width: int
    epochs: int
    bfloat16: bool
    stem: int = 1  # stride of the first convolution


Epochs = Callable[[int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]


def autocast(device: torch.device, bfloat16: bool) -> torch.autocast:
    """bfloat16 arithmetic where that is wished for."""
    return torch.autocast(device.type, torch.bfloat16, enabled=bfloat16)


@dataclass(frozen=True)
class Keep:
    """Where an unfinished training is kept, so that a killed one goes on.

    path      file; nothing is there unless a training is unfinished
    settings  of the training: what was kept with other ones is not used
    every     seconds from one keeping to the next, at ends of epochs
    """

    path: Path
    settings: str
    every: float = 30.0


def train(
    config: Training,
    epochs: Epochs,
    classes: int,
    device: torch.device,
    seed: int,
    keep: Keep | None = None,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> tuple[nn.Module, float]:
    """A trained network, in evaluation mode, and the mean loss of its last epoch.

    epochs  called as epochs(number, generator); gives an epoch's pictures, (n, 3, 32, 32) uint8,
            and labels, (n, classes) float32 or (n,) int64, both on the device
    seed    of weights, order and augmentation; the same for every arm: runs are paired
    keep    goes on from there if the same training was kept there, with the same result
    report  called with the epochs done and the last one's loss whenever the training was kept
    raises  PixMixError when the loss is no number any more
    """
    torch.manual_seed(seed)
    model = WideResNet(config.depth, config.width, classes, config.stem).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True
    )
    order = torch.Generator().manual_seed(seed)
    random = torch.Generator(device).manual_seed(seed)
    begin = 0
    mean = math.nan
    if keep is not None and (kept := _kept(keep)):
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        order.set_state(kept["order"])
        random.set_state(kept["random"])
        torch.set_rng_state(kept["torch"])  # what torchvision's MixUp and CutMix draw from
        begin, mean = kept["epochs"], kept["loss"]
    last_kept = time.monotonic()
    for epoch in range(begin, config.epochs):
        pictures, target = epochs(epoch, random)
        losses = []
        batches = list(_batches(len(pictures), order))
        for number, batch in enumerate(batches):
            part = (epoch + number / len(batches)) / config.epochs
            optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * part))
            index = batch.to(device)
            loss = step(model, optimizer, pictures[index], target[index], config.bfloat16)
            losses.append(loss)  # not read yet: that would wait for the device
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise PixMixError(f"training diverged in epoch {epoch} (loss {mean})")
        if keep is not None and time.monotonic() - last_kept >= keep.every:
            state = {
                "settings": keep.settings,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "order": order.get_state(),
                "random": random.get_state(),
                "torch": torch.get_rng_state(),
                "epochs": epoch + 1,
                "loss": mean,
            }
            save(state, keep.path)
            report(epoch + 1, mean)
            last_kept = time.monotonic()
    return model.eval(), mean


def step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pictures: torch.Tensor,
    target: torch.Tensor,
    bfloat16: bool,
) -> torch.Tensor:
    """One step on a batch, (n, 3, h, w) uint8; returns its loss, on the device."""
    x = pictures.contiguous(memory_format=torch.channels_last)
    with autocast(x.device, bfloat16):
        logits = model(x.float() / 255)
    loss = F.cross_entropy(logits.float(), target)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return loss.detach()


def save(state: dict[str, Any], path: Path) -> None:
    """Write a file that `torch.load(weights_only=True)` reads, whole or not at all."""
    data = io.BytesIO()
    torch.save(state, data)
    write_whole(path, data.getvalue())


def load(path: Path) -> dict[str, Any] | None:
    """What `save` wrote, on the CPU; None where there is no such file, or a broken one."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, LookupError, ValueError, pickle.UnpicklingError):
        return None
    return found if isinstance(found, dict) else None


def _kept(keep: Keep) -> dict[str, Any] | None:
    found = load(keep.path)
    return found if found is not None and found.get("settings") == keep.settings else None


def epochs_kept(keep: Keep) -> int:
    """How many epochs of this training are kept."""
    found = _kept(keep)
    return 0 if found is None else int(found["epochs"])


def fast_bfloat16(device: torch.device) -> str | None:
    """The instructions that make bfloat16 pay on this device; None where it does not.

    Processors without them emulate it: a training step of WRN-10-1 took 7 to 14 times as long as
    in float32.
    """
    if device.type == "cuda":
        return "GPU"
    for name, instructions in (
        ("_is_amx_tile_supported", "AMX"),
        ("_is_avx512_bf16_supported", "AVX-512"),
    ):
        if getattr(torch.cpu, name, lambda: False)():
            return instructions
    return None


def _batches(count: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    size = min(BATCH, count)
    shuffled = torch.randperm(count, generator=order)
    for begin in range(0, count - size + 1, size):
        yield shuffled[begin : begin + size]
