"""What runs will cost, measured on a few steps before they begin.

    python -m benchmarks.safety.cost --networks 10-1 16-1 --rounds 3

prints a JSON line a network: pictures by the second of CPU time of one thread, in float32 and in
bfloat16 by turns, since other work on the machine moves CPU time less than wall time.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.safety.data import SIDE
from benchmarks.safety.network import WideResNet
from benchmarks.safety.train import BATCH, MOMENTUM, RATE, Training, autocast, fast_bfloat16, step
from pixmix_cli.units import time_text

Clock = Callable[[], float]

STEPS = 3  # measured, after one that is not


@dataclass(frozen=True)
class Speed:
    """Pictures a second of one process: trained on, only looked at, attacked (in float32)."""

    training: float
    looking: float
    attacking: float


def measure(
    config: Training,
    classes: int,
    device: torch.device,
    steps: int = STEPS,
    clock: Clock = time.perf_counter,
) -> Speed:
    """The speed of one network in one thread, on random pictures, by a clock's seconds."""
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

        training = _rate(train, steps, device, clock)
        model.eval()
        looking = _rate(look, steps, device, clock)
        return Speed(training, looking, _rate(attack, steps, device, clock))
    finally:
        torch.set_num_threads(threads)


def _rate(work: Callable[[], None], times: int, device: torch.device, clock: Clock) -> float:
    work()
    _wait(device)
    begin = clock()
    for _ in range(times):
        work()
    _wait(device)
    return BATCH * times / (clock() - begin)


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["10-1", "16-1"], help="DEPTH-WIDTH")
    parser.add_argument("--stem", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cpu = torch.device("cpu")
    instructions = fast_bfloat16(cpu)
    for network in arguments.networks:
        depth, width = map(int, network.split("-"))
        rates: dict[str, list[Speed]] = {"float32": [], "bfloat16": []}
        for _ in range(arguments.rounds):
            for name, found in rates.items():
                if name == "float32" or instructions is not None:
                    config = Training(depth, width, 1, name == "bfloat16", arguments.stem)
                    found.append(measure(config, 10, cpu, clock=time.process_time))
        record: dict[str, object] = {"network": f"WRN-{network}", "stem": arguments.stem}
        for name, found in rates.items():
            record[name] = {
                what: [round(getattr(speed, what)) for speed in found]
                for what in ("training", "looking", "attacking")
            }
        more = {"bfloat16 by": instructions, "torch": torch.__version__}
        print(json.dumps(record | more), flush=True)


if __name__ == "__main__":
    main()
