"""What runs will cost, measured on a few steps before they begin."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.safety.data import SIDE
from benchmarks.safety.network import WideResNet
from benchmarks.safety.train import BATCH, MOMENTUM, RATE, Training, autocast, step
from pixmix_cli.units import time_text

STEPS = 3  # measured, after one that is not


@dataclass(frozen=True)
class Speed:
    """Pictures a second of one process: trained on, only looked at, attacked (in float32)."""

    training: float
    looking: float
    attacking: float


def measure(config: Training, classes: int, device: torch.device, steps: int = STEPS) -> Speed:
    """The speed of one network in one thread, on random pictures."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        torch.manual_seed(0)
        model = WideResNet(config.depth, config.width, classes, config.stem).to(device)
        model = model.to(memory_format=torch.channels_last).train()
        optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, nesterov=True)
        pictures = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8).to(device)
        target = torch.randint(0, classes, (BATCH,)).to(device)
        x = (pictures.float() / 255).contiguous(memory_format=torch.channels_last)

        def train() -> None:
            step(model, optimizer, pictures, target, config.bfloat16)

        def look() -> None:
            with torch.inference_mode(), autocast(device, config.bfloat16):
                model(x)

        def attack() -> None:
            given = x.detach().requires_grad_()
            loss = torch.nn.functional.cross_entropy(model(given), target)
            torch.autograd.grad(loss, given)

        training = _rate(train, steps, device)
        model.eval()
        return Speed(training, _rate(look, steps, device), _rate(attack, steps, device))
    finally:
        torch.set_num_threads(threads)


def _rate(work: Callable[[], None], times: int, device: torch.device) -> float:
    work()
    _wait(device)
    begin = time.perf_counter()
    for _ in range(times):
        work()
    _wait(device)
    return BATCH * times / (time.perf_counter() - begin)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def estimate(
    epochs_left: list[int], pictures: int, exam: tuple[int, int], speed: Speed, workers: int
) -> tuple[float, float, float]:
    """Seconds of a whole training, of an exam, and of everything.

    epochs_left  of each run; 0 where only the exam is left
    pictures     of an epoch
    exam         as `evaluate.forward_passes`
    workers      runs at once
    """
    epoch = pictures / speed.training
    look, attack = exam
    exam_seconds = look / speed.looking + attack / speed.attacking
    runs = [left * epoch + exam_seconds for left in epochs_left]
    rounds = sum(runs) / workers
    return max(epochs_left, default=0) * epoch, exam_seconds, max([rounds, *runs])


def sentence(
    epochs_left: list[int],
    pictures: int,
    exam: tuple[int, int],
    speed: Speed,
    workers: int,
    arithmetic: str,
) -> str:
    """One line about what the runs will cost."""
    training, examined, everything = estimate(epochs_left, pictures, exam, speed, workers)
    if not epochs_left:
        return "Every run is done."
    count = len(epochs_left)
    at_once = min(workers, count)
    return (
        f"{count} run{'s' * (count > 1)}, {at_once} at once: up to {max(epochs_left)} epochs of "
        f"{pictures} pictures, {speed.training:.0f} pictures/s a process ({arithmetic}, measured "
        f"on {STEPS} steps): {time_text(training)} a training, {time_text(examined)} an exam, "
        f"{time_text(everything)} in all, and the baking"
    )
