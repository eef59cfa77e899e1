"""Training, the same for every arm: SGD with Nesterov momentum and a cosine schedule.

Rate, momentum, decay, batch and schedule are those of PixMix's published CIFAR script.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.safety.network import WideResNet
from pixmix_cli.errors import PixMixError

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


def train(
    config: Training, epochs: Epochs, classes: int, device: torch.device, seed: int
) -> tuple[nn.Module, float]:
    """A trained network, in evaluation mode, and the mean loss of its last epoch.

    epochs  called as epochs(number, generator); gives an epoch's pictures, (n, 3, 32, 32) uint8,
            and labels, (n, classes) float32 or (n,) int64, both on the device
    seed    of weights, order and augmentation; the same for every arm: runs are paired
    """
    torch.manual_seed(seed)
    model = WideResNet(config.depth, config.width, classes, config.stem).to(device)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, nesterov=True
    )
    order = torch.Generator().manual_seed(seed)
    random = torch.Generator(device).manual_seed(seed)
    mean = math.nan
    for epoch in range(config.epochs):
        pictures, target = epochs(epoch, random)
        losses = []
        batches = list(_batches(len(pictures), order))
        for number, batch in enumerate(batches):
            part = (epoch + number / len(batches)) / config.epochs
            optimizer.param_groups[0]["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * part))
            index = batch.to(device)
            x = pictures[index].contiguous(memory_format=torch.channels_last)
            with autocast(device, config.bfloat16):
                logits = model(x.float() / 255)
            loss = F.cross_entropy(logits.float(), target[index])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())  # not read yet: that would wait for the device
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise PixMixError(f"training diverged in epoch {epoch} (loss {mean})")
    return model.eval(), mean


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 pays: on GPUs, and on processors that have instructions for it.

    Others emulate it: a training step of WRN-10-1 took 7 to 14 times as long as in float32.
    """
    if device.type == "cuda":
        return True
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


def _batches(count: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    size = min(BATCH, count)
    shuffled = torch.randperm(count, generator=order)
    for begin in range(0, count - size + 1, size):
        yield shuffled[begin : begin + size]
