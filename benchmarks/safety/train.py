"""Training, the same for every arm: SGD with Nesterov momentum and a cosine schedule.

Rate, momentum, decay, batch and schedule are those of PixMix's published CIFAR script. On a GPU
the step is one CUDA graph: at this size launching kernels costs more than running them.
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
    rate = torch.tensor(RATE, device=device)
    fused = device.type == "cuda"
    optimizer = torch.optim.SGD(
        model.parameters(), rate, MOMENTUM, weight_decay=DECAY, nesterov=True, fused=fused
    )

    def step(pictures: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, config.bfloat16):
            logits = model(pictures.float() / 255)
        loss = F.cross_entropy(logits.float(), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    order = torch.Generator().manual_seed(seed)
    random = torch.Generator(device).manual_seed(seed)
    run = step
    mean = math.nan
    for epoch in range(config.epochs):
        pictures, target = epochs(epoch, random)
        if target.dtype == torch.int64:
            target = F.one_hot(target, classes).float()
        losses = []
        batches = list(_batches(len(pictures), order))
        for number, batch in enumerate(batches):
            part = (epoch + number / len(batches)) / config.epochs
            rate.fill_(RATE * 0.5 * (1 + math.cos(math.pi * part)))
            index = batch.to(device)
            x = pictures[index].contiguous(memory_format=torch.channels_last)
            if fused and run is step:
                run = _graph(step, model, optimizer, x, target[index])
            losses.append(run(x, target[index]).clone())
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            break
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


def _graph(
    step: Callable[..., torch.Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pictures: torch.Tensor,
    target: torch.Tensor,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The step as a CUDA graph, with weights and momentum left as they were."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = pictures.clone(memory_format=torch.channels_last), target.clone()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step(x, y)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        loss = step(x, y)
    model.load_state_dict(before)
    for state in optimizer.state.values():
        state["momentum_buffer"].zero_()

    def replay(pictures: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        x.copy_(pictures)
        y.copy_(target)
        graph.replay()
        return loss

    return replay
