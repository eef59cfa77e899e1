"""bake against a straight PixMix pipeline, on one core, in one run.

    python -m benchmarks.bake [--photographs DIR] [--mixing DIR] [--turns 3] [--pictures 400]

The peer is PixMix as people write it for training: PIL, torchvision transforms, float32 tensors,
then JPEG quality 95 through webdataset's ShardWriter. Both sides read the same photographs
(scikit-image's and scikit-learn's unless a folder is named) and write the same number of 224 px
pictures on one thread. CPU seconds are compared, the best of the alternating turns; one JSON
record is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import PIL
import torch
import webdataset
from PIL import Image, ImageEnhance, ImageOps
from torchvision import datasets, transforms

from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.pipelines import bake

SIZE, BETA, K, SEVERITY = 224, 4.0, 4, 1.0


def augmentations() -> list[Callable[[Image.Image], Image.Image]]:
    """The thirteen augmentations, each drawing its own level."""

    def level() -> float:
        return random.uniform(0.1, SEVERITY)

    def sign() -> int:
        return random.choice((-1, 1))

    def affine(picture: Image.Image, *coefficients: float) -> Image.Image:
        bilinear = Image.Resampling.BILINEAR
        return picture.transform((SIZE, SIZE), Image.Transform.AFFINE, coefficients, bilinear)

    def shift() -> int:
        return sign() * int(level() * SIZE / 3 / 10)

    return [
        ImageOps.autocontrast,
        ImageOps.equalize,
        lambda p: ImageOps.posterize(p, 4 - int(level() * 4 / 10)),
        lambda p: p.rotate(sign() * int(level() * 30 / 10), Image.Resampling.BILINEAR),
        lambda p: ImageOps.solarize(p, 256 - int(level() * 256 / 10)),
        lambda p: affine(p, 1, sign() * level() * 0.03, 0, 0, 1, 0),
        lambda p: affine(p, 1, 0, 0, sign() * level() * 0.03, 1, 0),
        lambda p: affine(p, 1, 0, shift(), 0, 1, 0),
        lambda p: affine(p, 1, 0, 0, 0, 1, shift()),
        lambda p: ImageEnhance.Color(p).enhance(level() * 0.18 + 0.1),
        lambda p: ImageEnhance.Contrast(p).enhance(level() * 0.18 + 0.1),
        lambda p: ImageEnhance.Brightness(p).enhance(level() * 0.18 + 0.1),
        lambda p: ImageEnhance.Sharpness(p).enhance(level() * 0.18 + 0.1),
    ]


def weights() -> tuple[float, float]:
    """a and b of one round."""
    if random.random() < 0.5:
        return float(np.random.beta(BETA, 1)), float(np.random.beta(1, BETA))
    return 1 + float(np.random.beta(1, BETA)), -float(np.random.beta(1, BETA))


def straight_pipeline(source: Path, mixing: Path, out: Path, copies: int) -> int:
    """Write every picture `copies` times; returns how many that is."""
    operations = augmentations()
    crop = transforms.Compose(
        [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
    )
    crop_mixing = transforms.Compose([transforms.Resize(256), transforms.RandomCrop(SIZE)])
    to_tensor = transforms.ToTensor()
    originals = datasets.ImageFolder(str(source), crop)
    mixers = datasets.ImageFolder(str(mixing), crop_mixing)
    count = 0
    out.mkdir(parents=True)
    with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=1000, verbose=0) as sink:
        for _ in range(copies):
            for original, label in originals:
                other = to_tensor(mixers[random.randrange(len(mixers))][0])
                mixed = to_tensor(original)
                if random.random() < 0.5:
                    mixed = to_tensor(random.choice(operations)(original))
                for _ in range(random.randint(0, K)):
                    second = other
                    if random.random() < 0.5:
                        second = to_tensor(random.choice(operations)(original))
                    a, b = weights()
                    if random.random() < 0.5:
                        mixed = (a * (2 * mixed - 1) + b * (2 * second - 1) + 1) / 2
                    else:
                        mixed = (2 * mixed) ** a * (2 * second).clip(1e-37) ** b / 2
                    mixed = mixed.clip(0, 1)
                pixels = (mixed * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "JPEG", quality=95, subsampling=0)
                sample = {"__key__": f"{count:09d}", "jpg": data.getvalue(), "cls": label}
                sink.write(sample)
                count += 1
    return count


def ours(source: Path, mixing: Path, out: Path, copies: int) -> int:
    """The same job by bake."""
    job = bake.BakeJob(
        source=source, mixing_sets=(mixing,), output=out, config=PixMixConfig(), copies=copies
    )
    plan = bake.plan(job, print)
    for _ in bake.run(plan):
        pass
    return plan.total


def best(job: Callable[[], int], turns: list[float]) -> int:
    """One turn: CPU seconds a picture onto `turns`; returns the pictures."""
    begin = time.process_time()
    count = job()
    turns.append((time.process_time() - begin) / count)
    return count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--mixing", type=Path, help="folder of folders of pictures")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--pictures", type=int, default=400, help="at least so many a turn")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        source, mixing = arguments.photographs, arguments.mixing
        if source is None:
            source = tmp / "photographs"
            script = str(root / "examples" / "photographs.py")
            subprocess.run([sys.executable, script, str(source)], check=True)
        if mixing is None:
            mixing = tmp / "mixing"
            command = [sys.executable, "-m", "pixmix_cli.main", "generate-fractals", "-n", "200"]
            command += ["--size", "512", "-o", str(mixing), "-qq"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=root)
        pictures = len(datasets.ImageFolder(str(source)))
        rounds = -(-arguments.pictures // (8 * pictures)) * 8
        ours(source, mixing, tmp / "warm", 1)
        seconds: dict[str, list[float]] = {"straight": [], "bake 1 copy": [], "bake 8 copies": []}
        count = 0
        for turn in range(arguments.turns):
            place = tmp / str(turn)
            count = best(
                lambda place=place: straight_pipeline(source, mixing, place / "peer", rounds),
                seconds["straight"],
            )

            def one_by_one(place: Path = place) -> int:
                return sum(ours(source, mixing, place / f"one-{i}", 1) for i in range(rounds))

            best(one_by_one, seconds["bake 1 copy"])
            best(
                lambda place=place: sum(
                    ours(source, mixing, place / f"eight-{i}", 8) for i in range(rounds // 8)
                ),
                seconds["bake 8 copies"],
            )
        rate = {case: 1 / min(turns) for case, turns in seconds.items()}
        record = {
            "pictures_per_second_per_core": {case: round(value, 1) for case, value in rate.items()},
            "ratio": {case: round(value / rate["straight"], 2) for case, value in rate.items()},
            "n": count,
            "turns": arguments.turns,
            "photographs": pictures,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pillow": PIL.__version__,
                "torch": torch.__version__,
                "webdataset": webdataset.__version__,
            },
        }
        print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
