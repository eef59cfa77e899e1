"""The safety benchmark within minutes on one GPU: plain training beside PixMix, as large as fits.

    python -m benchmarks.safety_gpu --data cifar10 -o out
    python -m benchmarks.safety_gpu --smoke -o out        # any machine, a minute

Measures a few steps of each network, the largest first, and takes the first that leaves time for at
least 15 epochs of every arm and for its exams. Then it runs `benchmarks.safety` with that network:
bfloat16, channels_last, pictures on the device, flips and crops on the device. PixMix's copies are
baked by the processor's cores while plain trains. Everything stays in OUT, so the same command goes
on where it was stopped, and `benchmarks.safety` can add arms or seeds.

Prints one JSON line for each network measured, the plan, and the table.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from benchmarks.safety import __main__ as safety
from benchmarks.safety import cost, data, evaluate
from benchmarks.safety.cost import Speed
from benchmarks.safety.train import Training, fast_bfloat16
from pixmix_cli.errors import InputError, PixMixError

NETWORKS = ((40, 4), (28, 4), (16, 4), (40, 2), (16, 2), (10, 1))  # depth and width of a WRN
LEAST, MOST = 15, 100  # epochs
SPARE = 60  # seconds for starting, baking and reading
COPIES = 15  # at most; epochs show them in turn
ARMS = ("plain", "fractals", "noise")
STEPS = 30  # measured of each network


@dataclass(frozen=True)
class Plan:
    """What fits: a network, and epochs of each arm."""

    depth: int
    width: int
    epochs: int


def choose(
    measured: Iterable[tuple[tuple[int, int], Speed]],
    seconds: float,
    pictures: int,
    exam: tuple[int, int],
    arms: int,
) -> Plan:
    """The first network with time for LEAST epochs of every arm; else the last with any.

    measured  networks with their speeds, the largest first; not asked for more than needed
    seconds   for all arms, one after the other
    pictures  of an epoch
    exam      as evaluate.forward_passes
    raises    InputError when no network has time for one epoch
    """
    best = None
    for (depth, width), speed in measured:
        _, examined, _ = cost.estimate([0], pictures, exam, speed, 1)
        epochs = int((seconds / arms - examined) * speed.training / pictures)
        if epochs >= 1:
            best = Plan(depth, width, min(epochs, MOST))
        if epochs >= LEAST:
            break
    if best is None:
        raise InputError("no network can be trained and examined in that time", "more --minutes")
    return best


def main() -> int:
    """Plan and run. Exit code 0, or the error's."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.safety_gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help="as of benchmarks.safety: a folder with train and test")
    parser.add_argument("--arm", "--arms", action="extend", nargs="+", default=[])
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--photographs", help="folder: one more set of anomalies")
    parser.add_argument(
        "--smoke", action="store_true", help="digits, the smallest network, 1 epoch"
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    if not arguments.data and not arguments.smoke:
        parser.error("--data is needed (or --smoke)")
    try:
        return _run(arguments)
    except PixMixError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code


def _run(arguments: argparse.Namespace) -> int:
    begin = time.perf_counter()
    out: Path = arguments.output
    if not torch.cuda.is_available() and not arguments.smoke:
        raise InputError("this PyTorch sees no GPU", "--smoke, or python -m benchmarks.safety")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    out.mkdir(parents=True, exist_ok=True)
    name = arguments.data or "digits"
    arms = arguments.arm or list(ARMS[: 2 if arguments.smoke else 3])
    train_part, test_part = data.parts(name, out)
    train_set, test_set = data.load(train_part), data.load(test_part)
    photographs = Path(arguments.photographs) if arguments.photographs else None
    size = safety.SMOKE_SIZE if arguments.smoke else safety.SIZE
    sources = evaluate.Sources(size, photographs, name != "digits")
    exam = evaluate.make_exam(test_set, sources, out / "exam")
    made_for = {
        "data": name,
        "arms": arms,
        "minutes": arguments.minutes,
        "smoke": arguments.smoke,
        "device": _name_of(device),
    }
    kept = _kept_plan(out, made_for)
    if kept is None:
        left = (
            arguments.minutes * 60 - (time.perf_counter() - begin) - SPARE * (not arguments.smoke)
        )
        speeds = _speeds(arguments.smoke, len(train_set.classes), device)
        passes = evaluate.forward_passes(exam, size)
        kept = choose(speeds, left, len(train_set.pictures), passes, len(arms))
        if arguments.smoke:
            kept = Plan(kept.depth, kept.width, 1)
        record = {"plan": asdict(kept), "made for": made_for}
        (out / "plan.json").write_text(json.dumps(record) + "\n")
    print(json.dumps({"plan": asdict(kept), "arms": arms}), flush=True)
    words = ["--data", name, "--arm", *arms, "--depth", kept.depth, "--width", kept.width]
    words += ["--epochs", kept.epochs, "--copies", min(COPIES, kept.epochs), "--seeds", 1]
    words += ["--jobs", 1, "--device", device.type, "-o", out]
    if photographs is not None:
        words += ["--photographs", photographs]
    if arguments.smoke:
        words += ["--smoke", "--stem", 2]
    code = safety.main([str(word) for word in words])
    print(f"{time.perf_counter() - begin:.0f} s in all", file=sys.stderr)
    return code


def _kept_plan(out: Path, made_for: dict[str, Any]) -> Plan | None:
    """The plan of a run of the same command that was stopped: another one would begin anew."""
    path = out / "plan.json"
    record = json.loads(path.read_text()) if path.exists() else {}
    return Plan(**record["plan"]) if record.get("made for") == made_for else None


def _name_of(device: torch.device) -> str:
    return torch.cuda.get_device_name() if device.type == "cuda" else "CPU"


def _speeds(
    smoke: bool, classes: int, device: torch.device
) -> Iterable[tuple[tuple[int, int], Speed]]:
    for depth, width in NETWORKS[-1:] if smoke else NETWORKS:
        bfloat16 = fast_bfloat16(device) is not None
        config = Training(depth, width, 1, bfloat16, 2 if smoke else 1)
        speed = cost.measure(config, classes, device, 2 if smoke else STEPS)
        rates = {key: round(value) for key, value in asdict(speed).items()}
        record: dict[str, Any] = {"network": f"WRN-{depth}-{width}", "bfloat16": bfloat16}
        record |= {"device": _name_of(device), "pictures_per_second": rates}
        print(json.dumps(record), flush=True)
        yield (depth, width), speed


if __name__ == "__main__":
    sys.exit(main())
