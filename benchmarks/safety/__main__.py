"""Does a mixing set make classifiers safer? Trains one small network an arm and examines it.

    python -m benchmarks.safety --data cifar10 --arm plain --arm noise \\
        --arm fractals=pixmix:mixing/fractals --epochs 100 --seeds 5 -o out
    python -m benchmarks.safety --smoke -o out

DIR holds train and test, each in any form that `pixmix bake` reads, or is CIFAR-10 or CIFAR-100
as downloaded, or "digits". An arm is NAME=RECIPE, see benchmarks/safety/arms.py.
A run that is finished is kept in OUT/runs and not done again; one that was killed goes on from its
last kept epoch. What the runs will cost is said before they begin; --plan says that alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one thread beats two on a shared small machine

import torch

from benchmarks.safety import arms as recipes
from benchmarks.safety import checkpoints, cost, data, evaluate, figures, published, report
from benchmarks.safety.arms import Arm
from benchmarks.safety.runs import Bakes, Job, is_recorded, machine, run_all, warn
from benchmarks.safety.train import Training, epochs_kept, fast_bfloat16
from featvis.checkpoints import sha256
from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.main import EXIT_PIPE
from pixmix_cli.outputs.file_names import MANIFEST
from pixmix_cli.sources.mixing_set import open_mixing_set, weighted_paths
from pixmix_cli.storage.files import write_whole
from pixmix_cli.terminal import ClosedPipe, stdout_errors

VERSION = 2  # raise it when the same settings would train another network
SMOKE = {"epochs": 40, "seeds": 3, "depth": 10, "width": 1, "stem": 2, "copies": 8, "bakes": 1}
SIZE = evaluate.Size()
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SMOKE_SIZE = evaluate.Size(severities=(1, 3, 5), sequence_pictures=50, attacked=200, anomalies=300)


def main(words: Sequence[str] | None = None) -> int:
    """Run what is not done yet and report. Exit code 0, or the error's.

    words  the command's arguments; those of this process when not given
    """
    words = sys.argv[1:] if words is None else words
    arguments = _arguments(words)
    try:
        _run(arguments, words)
    except PixMixError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except ClosedPipe:
        return EXIT_PIPE
    return 0


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.safety",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", help='dataset with train and test, or "digits"')
    parser.add_argument(
        "--arm", "--arms", action="extend", nargs="+", metavar="NAME=RECIPE", default=[]
    )
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--depth", type=int, default=16, help="of the WRN: 10, 16, 22, ...")
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to N-1")
    parser.add_argument(
        "--bakes", type=int, help="bake only this many times an arm; seeds share them in turn"
    )
    parser.add_argument("--copies", type=int, help="copies a bake; the number of epochs")
    parser.add_argument("--jobs", type=int, help="networks at once; one a core, 2 on a GPU")
    parser.add_argument("--stem", type=int, choices=(1, 2), default=1, help="2: a quicker network")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--float32", action="store_true", help="instead of bfloat16")
    parser.add_argument("--photographs", type=Path, help="folder: one more set of anomalies")
    parser.add_argument(
        "--frost", type=Path, help="folder of photographs of frost: one corruption more"
    )
    parser.add_argument(
        "--corruptions",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="as published: CIFAR-10-C, CIFAR-100-C, C-Bar, ImageNet-C, ImageNet-R or its val",
    )
    parser.add_argument(
        "--perturbations",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="as published: CIFAR-10-P or CIFAR-100-P",
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="[NAME=]MODEL:FILE",
        help="examined without training: resnet50:FILE, wrn-40-4:FILE or package.module:function",
    )
    parser.add_argument(
        "--normalise",
        choices=tuple(checkpoints.NORMALISE),
        default="imagenet",
        help="mean and deviation that torchvision checkpoints were trained with; cifar: .5",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="minutes on a small CPU: digits, a small network"
    )
    parser.add_argument("--plan", action="store_true", help="say what the runs will cost, and stop")
    parser.add_argument("--report", action="store_true", help="only from the runs there are")
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args(words)
    if arguments.smoke:
        parser.set_defaults(**SMOKE)
        arguments = parser.parse_args(words)
        arguments.arm = arguments.arm or ["plain", "fractals"]
        arguments.data = arguments.data or "digits"
    elif not (arguments.report or arguments.checkpoint) and not (arguments.data and arguments.arm):
        parser.error("--data and an --arm are needed (or --smoke, --checkpoint, or --report)")
    elif arguments.arm and not arguments.data:
        parser.error("--arm needs --data")
    sets = arguments.corruptions or arguments.perturbations
    if arguments.checkpoint and not (arguments.data or sets):
        parser.error("--checkpoint needs an exam: --data, --corruptions or --perturbations")
    for name in ("epochs", "seeds", "width", "copies", "bakes", "jobs"):
        if getattr(arguments, name) is not None and getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if arguments.depth < 10 or (arguments.depth - 4) % 6:
        parser.error("--depth must be 10, 16, 22, ...")
    return arguments


def _run(arguments: argparse.Namespace, words: Sequence[str]) -> None:
    out: Path = arguments.output
    asked: list[dict[str, Any]] = []
    if not arguments.report:
        device = _device(arguments.device)
        sets = (*arguments.corruptions, *arguments.perturbations)
        for folder in (*sets, arguments.frost, arguments.photographs):
            if folder is not None and not folder.is_dir():
                raise InputError(f"{folder} is no folder")
        for name, times in Counter(folder.name for folder in sets).items():
            if times > 1:
                raise InputError(f"two published sets are called {name}", "another name for one")
        (out / "runs").mkdir(parents=True, exist_ok=True)
        sources = evaluate.Sources(
            SMOKE_SIZE if arguments.smoke else SIZE,
            arguments.photographs,
            arguments.data != "digits",
            arguments.frost,
            tuple(arguments.corruptions),
            tuple(arguments.perturbations),
        )
        if arguments.arm:
            asked += _do_runs(arguments, sources, device, out)
        if arguments.checkpoint:
            asked += _do_checkpoints(arguments, sources, device, out)
        if arguments.plan:
            return
    runs = _finished(out, asked)
    if not runs:
        raise InputError(f"{out} holds no finished runs", "without --report")
    text = "\n".join((report.five(runs), report.table(runs), report.copies(runs)))
    details = "\n".join(report.detail(runs, part) for part in report.parts(runs))
    write_whole(out / "table.md", f"{text}\n{details}".encode())
    command = shlex.join(["python", "-m", "benchmarks.safety", *words])
    results = {"command": command, "runs": runs}
    write_whole(out / "results.json", (json.dumps(results, indent=1) + "\n").encode())
    try:
        figures.draw(runs, out / "safety.png")
        figures.draw_copies(runs, out / "copies.png")
    except ModuleNotFoundError:
        print("no picture: matplotlib is not installed (pip install matplotlib)", file=sys.stderr)
    with stdout_errors():  # last: the reader may have gone away
        print(text, flush=True)


def _do_runs(
    arguments: argparse.Namespace, sources: evaluate.Sources, device: torch.device, out: Path
) -> list[dict[str, Any]]:
    """Train and examine what is not done yet; returns the settings of every run."""
    begin = time.perf_counter()
    arms = [recipes.parse(text) for text in arguments.arm]
    if len({arm.name for arm in arms}) < len(arms):
        raise InputError("two arms have the same name", "--arm NAME=RECIPE")
    train_part, test_part = data.parts(arguments.data, out)
    train_set, test_set = data.load(train_part), data.load(test_part)
    if train_set.classes != test_set.classes:
        raise InputError(f"--data {arguments.data}: train and test have different classes")
    if sources.corruptions and len(train_set.classes) == 10 and train_set.classes != CIFAR10:
        raise InputError(f"--corruptions: --data {arguments.data} has other classes than CIFAR-10")
    for folder in sources.corruptions:
        published.check_classes(folder, len(train_set.classes))
    exam = evaluate.make_exam(test_set, sources, out / "exam")
    seen = _fingerprints(arguments.data, train_set, test_set, exam, sources.photographs)
    mixing = {arm.name: _mixing(arm, out, seen) for arm in arms}
    instructions = None if arguments.float32 else fast_bfloat16(device)
    arithmetic = "float32" if instructions is None else f"bfloat16 by {instructions}"
    config = Training(
        arguments.depth, arguments.width, arguments.epochs, instructions is not None, arguments.stem
    )
    for name in ("weights", "unfinished"):
        (out / name).mkdir(exist_ok=True)
    kept = data.keep(train_set, out / "exam" / "train.npz")
    data.keep(test_set, out / "exam" / "test.npz")
    every = []
    for seed in range(arguments.seeds):
        for arm in arms:
            copies = arm.copies_for(arguments.epochs, arguments.copies)
            bake_seed = seed % (arguments.bakes or arguments.seeds)
            training = {
                "arm": arm.name,
                "recipe": arm.recipe,
                "online": arm.is_live,
                "mixing": _digest(mixing[arm.name]),
                "bake seed": bake_seed if arm.is_mixed else None,
                "copies": copies if arm.is_mixed else None,
                "seed": seed,
                "training": asdict(config),
                "train": train_set.digest,
                "device": device.type,
                "version": VERSION,
            }
            if arm.whole:
                training["whole"] = True
            if arm.is_given:
                training["baked"] = sha256(Path(arm.recipe) / MANIFEST)
            exam_settings = {
                "test": test_set.digest,
                "arithmetic": arithmetic,
                **_named(sources),
            }
            job = Job(
                arm, seed, training, exam_settings, config, sources, str(device), kept,
                tuple(mixing[arm.name]), copies, out,
            )  # fmt: skip
            every.append(job)
    jobs = [job for job in every if not job.is_done]
    print(f"exam and mixing sets: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    workers = arguments.jobs or (2 if device.type == "cuda" else os.cpu_count() or 1)
    workers = min(workers, max(1, len(jobs)))
    left = [
        0 if job.trained() is not None else arguments.epochs - epochs_kept(job.keep) for job in jobs
    ]
    speed = cost.measure(config, len(train_set.classes), device)
    look, attack = evaluate.forward_passes(exam, sources.size)
    passes = look + evaluate.published_passes(sources), attack
    say = cost.sentence(left, len(train_set.pictures), passes, speed, workers, arithmetic)
    print(say, file=sys.stderr, flush=True)
    if not arguments.plan:
        run_all(jobs, Bakes(jobs, train_part, out, ahead=workers + 1), workers)
    return [job.settings for job in every]


def _named(sources: evaluate.Sources) -> dict[str, Any]:
    """What a record says of the exam."""
    return {
        "exam": asdict(sources.size),
        "exam version": evaluate.VERSION,
        "photographs": sources.photographs_digest or False,
        "frost": sources.frost_digest or False,
        "published": sources.published_digests,
    }


def _do_checkpoints(
    arguments: argparse.Namespace, sources: evaluate.Sources, device: torch.device, out: Path
) -> list[dict[str, Any]]:
    """Examine what was not yet, or say how much that is; returns every checkpoint's settings."""
    given = [checkpoints.parse(text, arguments.normalise) for text in arguments.checkpoint]
    names = [checkpoint.name for checkpoint in given]
    if len({*names, *(recipes.parse(text).name for text in arguments.arm)}) < len(
        [*names, *arguments.arm]
    ):
        raise InputError("two arms or checkpoints have the same name", "--checkpoint NAME=...")
    exam = None
    every, left = [], 0
    if arguments.data:
        test_set = data.load(data.parts(arguments.data, out)[1])
        exam = evaluate.make_exam(test_set, sources, out / "exam")
    for checkpoint in given:
        settings = {
            "arm": checkpoint.name,
            "recipe": checkpoint.text,
            "seed": 0,
            "weights": checkpoint.digest,
            "normalise": checkpoint.normalise,
            "test": None if exam is None else exam.test.digest,
            "device": device.type,
            **_named(sources),
        }
        every.append(settings)
        path = out / "runs" / f"{checkpoint.name}-0.json"
        # a function may give another network each time
        if checkpoint.digest is not None and is_recorded(path, settings):
            continue
        left += 1
        if arguments.plan:
            continue
        begin = time.perf_counter()
        model = checkpoints.load(checkpoint).to(device)
        measures: dict[str, float] = {}
        try:
            if exam is not None:
                measures |= evaluate.sit(exam, sources.size, model, device, bfloat16=False)
            measures |= evaluate.sit_published(sources, model, device, False, warn)
        except InputError as error:
            what = f"--checkpoint {checkpoint.text}: {error.message}"
            raise InputError(what, error.hint) from None
        seconds = round(time.perf_counter() - begin, 1)
        record = {
            **settings,
            "measures": measures,
            "seconds": {"exam": seconds},
            "machine": machine(device),
        }
        write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
        print(f"{checkpoint.name}: examined in {seconds:.0f} s", file=sys.stderr, flush=True)
    if arguments.plan:
        look, attack = (0, 0) if exam is None else evaluate.forward_passes(exam, sources.size)
        look += evaluate.published_passes(sources)
        say = f"{look} pictures of 32 px to look at and {attack} steps of an attack for each"
        print(
            f"checkpoints to examine: {left}; {say}; their speed is not measured", file=sys.stderr
        )
    return every


def _fingerprints(
    name: str,
    train_set: data.Labelled,
    test_set: data.Labelled,
    exam: evaluate.Exam,
    photographs: Path | None,
) -> set[bytes]:
    """Of every picture of train, test and anomalies; raises InputError where they overlap."""
    seen = data.fingerprints(train_set.pictures)
    test = data.fingerprints(test_set.pictures)
    if seen & test:
        raise InputError(f"--data {name}: some pictures are in both train and test")
    seen |= test
    if photographs is not None:  # whole: the exam shows crops, which are like no other picture
        seen |= data.check_apart(seen, photographs)
    for kind, pictures in exam.structured.items():
        found = data.fingerprints(pictures)
        if seen & found:
            raise InputError(f"a picture of the anomalies ({kind}) is one of --data {name}")
        seen |= found
    return seen


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"--device {name} is none of auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this PyTorch sees no GPU", "--device cpu")
    return torch.device(name)


def _mixing(arm: Arm, out: Path, seen: set[bytes]) -> list[str]:
    """The mixing sets of an arm, as --mixing-set takes them; none where it has none."""
    words = recipes.sets_of(arm, out / "mixing")
    if arm.recipe not in recipes.MADE:
        for folder in weighted_paths(words)[0]:
            data.check_apart(seen, Path(str(folder)))
    return words


def _digest(words: list[str]) -> str | None:
    if not words:
        return None
    paths, weights = weighted_paths(words)
    digest = open_mixing_set(paths, lambda text: None, weights).digest
    return f"{digest} {weights}" if weights else digest


def _finished(out: Path, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records of one table, by arm and seed.

    asked  settings of what this command ran
    """
    paths = sorted((out / "runs").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    wanted = json.loads(json.dumps(asked))  # as a record gives it back
    runs, others = report.alike([json.loads(path.read_text()) for path in paths], wanted)
    if others:
        names = ", ".join(sorted(f"{run['arm']}-{run['seed']}" for run in others))
        warn(f"left out, since they were made with other settings than the rest: {names}")
    order = {name: place for place, name in enumerate(("plain", *recipes.SHELF, "noise"))}
    return sorted(runs, key=lambda r: (order.get(r["arm"], 9), r["arm"], r["seed"]))


if __name__ == "__main__":
    sys.exit(main())
