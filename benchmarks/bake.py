"""bake against a straight PixMix pipeline, on one core, in one run.

    python -m benchmarks.bake [--photographs DIR] [--mixing DIR] [--turns 3] [--pictures 400]

The peer is PixMix as people write it for training: PIL, torchvision transforms, float32 tensors,
then JPEG quality 95 through webdataset's ShardWriter. Both sides read the same photographs
(scikit-image's and scikit-learn's unless a folder is named) and write the same number of 224 px
pictures on one thread; for bake's single copy each photograph lies in the source as often as the
peer reads it, so that both start once. At 32 px both sides start from an array of pictures in
memory or in a file, and the peer's mixing pictures are shrunk beforehand. Both end with one uint8
array, on disk for bake, and in a second round with tars of JPEGs. CPU seconds are compared, the
best of the alternating turns. Then, of bake alone in processes of its own: CPU seconds a picture of
one worker and of two, workers counted, start-up apart; and the largest process's peak memory, for
few pictures and for many. One JSON
record is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from subprocess import DEVNULL

os.environ["OMP_NUM_THREADS"] = "1"

import numba
import numpy as np
import PIL
import simplejpeg
import torch
import webdataset
from PIL import Image, ImageEnhance, ImageOps
from torchvision import datasets, transforms

from benchmarks.fractals import family
from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs, Running
from pixmix_cli.pipelines.bake.plan import plan_bake
from pixmix_cli.pipelines.bake.run import run_bake

SIZE, BETA, K, SEVERITY = 224, 4.0, 4, 1.0
SMALL, SMALL_BETA, SMALL_SEVERITY = 32, 3.0, 3.0
PEER_SAMPLES = 4_000  # of them: three seconds
SMALL_SAMPLES = 20_000  # CIFAR has 50,000; far fewer make shards of 100, each with its own files
ROOT = Path(__file__).resolve().parent.parent


def augmentations(size: int, severity: float) -> list[Callable[[Image.Image], Image.Image]]:
    """The thirteen augmentations, each drawing its own level."""

    def level() -> float:
        return random.uniform(0.1, severity)

    def sign() -> int:
        return random.choice((-1, 1))

    def affine(picture: Image.Image, *coefficients: float) -> Image.Image:
        bilinear = Image.Resampling.BILINEAR
        return picture.transform((size, size), Image.Transform.AFFINE, coefficients, bilinear)

    def shift() -> int:
        return sign() * int(level() * size / 3 / 10)

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


def weights(beta: float) -> tuple[float, float]:
    """a and b of one round."""
    if random.random() < 0.5:
        return float(np.random.beta(beta, 1)), float(np.random.beta(1, beta))
    return 1 + float(np.random.beta(1, beta)), -float(np.random.beta(1, beta))


def mixed(
    original: Image.Image,
    other: Image.Image,
    operations: list[Callable[[Image.Image], Image.Image]],
    beta: float,
) -> np.ndarray:
    """One PixMix picture, (h, w, 3) uint8, from the crops."""
    to_tensor = transforms.functional.to_tensor
    second_source = to_tensor(other)
    picture = to_tensor(original)
    if random.random() < 0.5:
        picture = to_tensor(random.choice(operations)(original))
    for _ in range(random.randint(0, K)):
        second = second_source
        if random.random() < 0.5:
            second = to_tensor(random.choice(operations)(original))
        a, b = weights(beta)
        if random.random() < 0.5:
            picture = (a * (2 * picture - 1) + b * (2 * second - 1) + 1) / 2
        else:
            picture = (2 * picture) ** a * (2 * second).clip(1e-37) ** b / 2
        picture = picture.clip(0, 1)
    return (picture * 255 + 0.5).to(torch.uint8).permute(1, 2, 0).numpy()


def straight_pipeline(source: Path, mixing: Path, out: Path, copies: int) -> int:
    """Write every picture `copies` times; returns how many that is."""
    operations = augmentations(SIZE, SEVERITY)
    crop = transforms.Compose(
        [transforms.RandomResizedCrop(SIZE), transforms.RandomHorizontalFlip()]
    )
    crop_mixing = transforms.Compose([transforms.Resize(256), transforms.RandomCrop(SIZE)])
    originals = datasets.ImageFolder(str(source), crop)
    mixers = datasets.ImageFolder(str(mixing), crop_mixing)
    count = 0
    out.mkdir(parents=True)
    with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=1000, verbose=0) as sink:
        for _ in range(copies):
            for original, label in originals:
                other = mixers[random.randrange(len(mixers))][0]
                pixels = mixed(original, other, operations, BETA)
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, "JPEG", quality=95, subsampling=0)
                sample = {"__key__": f"{count:09d}", "jpg": data.getvalue(), "cls": label}
                sink.write(sample)
                count += 1
    return count


def straight_small(images: np.ndarray, mixers: list[Image.Image]) -> np.ndarray:
    """PixMix of CIFAR-sized arrays in memory, the mixing pictures shrunk already."""
    operations = augmentations(SMALL, SMALL_SEVERITY)
    crop = transforms.Compose(
        [transforms.RandomHorizontalFlip(), transforms.RandomCrop(SMALL, padding=SMALL // 8)]
    )
    crop_mixing = transforms.RandomCrop(SMALL)
    out = np.empty_like(images)
    for i, pixels in enumerate(images):
        other = crop_mixing(mixers[random.randrange(len(mixers))])
        out[i] = mixed(crop(Image.fromarray(pixels)), other, operations, SMALL_BETA)
    return out


def straight_small_tars(images: np.ndarray, mixers: list[Image.Image], out: Path) -> int:
    """The same, each picture a JPEG in a tar."""
    out.mkdir(parents=True)
    with webdataset.ShardWriter(str(out / "%06d.tar"), maxcount=1000, verbose=0) as sink:
        for i, pixels in enumerate(straight_small(images, mixers)):
            data = io.BytesIO()
            Image.fromarray(pixels).save(data, "JPEG", quality=95, subsampling=0)
            sink.write({"__key__": f"{i:09d}", "jpg": data.getvalue(), "cls": i % 10})
    return len(images)


def small_pictures(source: Path, count: int) -> np.ndarray:
    """(count, 32, 32, 3) uint8: crops of the photographs, shrunk."""
    crop = transforms.RandomResizedCrop(SMALL)
    photographs = [picture.resize((96, 96)) for picture, _ in datasets.ImageFolder(str(source))]
    crops = (crop(photographs[i % len(photographs)]) for i in range(count))
    return np.stack([np.asarray(picture) for picture in crops])


def repeated(source: Path, times: int, folder: Path) -> Path:
    """A folder in which every picture of an ImageFolder lies `times` times, as links."""
    for picture, label in datasets.ImageFolder(str(source)).samples:
        name = folder / str(label)
        name.mkdir(parents=True, exist_ok=True)
        for i in range(times):
            (name / f"{i}-{Path(picture).name}").symlink_to(Path(picture).resolve())
    return folder


def ours(
    source: Path,
    mixing: Path,
    out: Path,
    copies: int,
    preset: str = "imagenet",
    layout: str = "webdataset",
) -> int:
    """The same job by bake."""
    job = BakeJob(
        inputs=Inputs(source, (mixing,)),
        destination=Destination(out),
        config=PRESETS[preset],
        copies=copies,
        files=Files(layout),
        running=Running(mixing_cache=out.parent / "cache"),
    )
    plan = plan_bake(job, print)
    for _ in run_bake(plan):
        pass
    return plan.total


def command(out: Path, *arguments: object) -> list[str]:
    """A bake as a command."""
    return [
        *(sys.executable, "-m", "pixmix_cli.main", "bake"),
        *map(str, arguments),
        *("-o", str(out), "-qq"),
    ]


def workers_seconds(tmp: Path, turns: int, *arguments: object) -> dict[int, float]:
    """CPU seconds a picture with one worker and with two, in turn: the least of the turns.

    Start-up is apart: the difference between 9 copies and 1.
    """
    least = {1: float("inf"), 2: float("inf")}
    for turn in range(turns):
        for workers in least:
            spent = []
            for copies in (1, 9):
                out = tmp / f"{turn}-{workers}-{copies}"
                more = ("--copies", copies, "-j", workers)
                spent.append(family(command(out, *arguments, *more), cwd=ROOT, stdout=DEVNULL)[0])
            least[workers] = min(least[workers], spent[1] - spent[0])
    return least


def peaks_of_arrays(tmp: Path, small: np.ndarray, mixing: Path) -> dict[str, int]:
    """Peak MiB of the largest process of a bake with two workers, for 1,000 and 100,000 samples."""
    found = {}
    for count in (1_000, 100_000):
        arrays = tmp / f"{count}.npz"
        images = np.resize(small, (count, *small.shape[1:]))
        np.savez(arrays, images=images, labels=np.arange(count) % 10)
        del images
        more = (arrays, "--mixing-set", mixing, "--preset", "cifar", "-j", 2)
        out = tmp / f"arrays-{count}"
        _, peak = family(command(out, *more), cwd=ROOT, stdout=DEVNULL)
        found[f"{count} samples of 32 px as tars, two workers"] = round(peak / 1024)
    return found


_ALONE = """
import sys
from pixmix_cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(peak.split()[1], file=sys.stderr)
"""


def peak_memory(out: Path, *arguments: object) -> float:
    """Peak MiB of a bake started anew in one process, which is its own worker. Linux only."""
    command = [sys.executable, "-c", _ALONE, "bake", *map(str, arguments), "-o", str(out)]
    done = subprocess.run([*command, "-qq", "-j", "1"], check=True, capture_output=True, text=True)
    return float(done.stderr.split()[-1]) / 1024


def eight_copies(source: Path, mixing: Path, place: Path, times: int) -> int:
    """Bake eight copies that many times over; returns the pictures."""
    return sum(ours(source, mixing, place / f"eight-{i}", 8) for i in range(times))


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
    parser.add_argument("--copies", type=int, default=40, help="for the peak memory of many")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        tmp = Path(name)
        source, mixing = arguments.photographs, arguments.mixing
        if source is None:
            source = tmp / "photographs"
            script = str(ROOT / "examples" / "photographs.py")
            subprocess.run([sys.executable, script, str(source)], check=True)
        if mixing is None:
            mixing = tmp / "mixing"
            make = [sys.executable, "-m", "pixmix_cli.main", "generate-fractals", "-n", "200"]
            make += ["--size", "512", "-o", str(mixing), "-qq"]
            subprocess.run(make, check=True, stdout=DEVNULL, cwd=ROOT)
        pictures = len(datasets.ImageFolder(str(source)))
        rounds = -(-arguments.pictures // (8 * pictures)) * 8
        as_often = repeated(source, rounds, tmp / "repeated")
        small = small_pictures(source, SMALL_SAMPLES)
        arrays = tmp / "small.npz"
        np.savez(arrays, images=small, labels=np.arange(len(small)) % 10)
        shrink = transforms.Resize(SMALL * 9 // 8)
        mixers = [picture for picture, _ in datasets.ImageFolder(str(mixing), shrink)]
        ours(source, mixing, tmp / "warm", 1)
        for layout in ("npy", "webdataset"):
            ours(arrays, mixing, tmp / f"warm-{layout}", 1, "cifar", layout)
        peers = {
            "straight": "straight",
            "bake 1 copy": "straight",
            "bake 8 copies": "straight",
            "straight 32 px": "straight 32 px",
            "bake 32 px": "straight 32 px",
            "straight 32 px tars": "straight 32 px tars",
            "bake 32 px tars, 1 copy": "straight 32 px tars",
            "bake 32 px tars, 8 copies": "straight 32 px tars",
        }
        cases = tuple(peers)
        seconds: dict[str, list[float]] = {case: [] for case in cases}
        few, count = small[:PEER_SAMPLES], 0
        for turn in range(arguments.turns):
            place = tmp / str(turn)
            count = best(
                partial(straight_pipeline, source, mixing, place / "peer", rounds),
                seconds["straight"],
            )

            best(
                partial(ours, as_often, mixing, place / "one", 1),
                seconds["bake 1 copy"],
            )
            best(
                partial(eight_copies, source, mixing, place, rounds // 8),
                seconds["bake 8 copies"],
            )
            best(lambda: len(straight_small(few, mixers)), seconds["straight 32 px"])
            best(
                partial(ours, arrays, mixing, place / "small", 8, "cifar", "npy"),
                seconds["bake 32 px"],
            )
            best(
                partial(straight_small_tars, few, mixers, place / "small-peer"),
                seconds["straight 32 px tars"],
            )
            for copies, case in zip((1, 8), cases[-2:]):
                best(
                    partial(ours, arrays, mixing, place / f"tars-{copies}", copies, "cifar"),
                    seconds[case],
                )
            shutil.rmtree(place)
        print(json.dumps(seconds), file=sys.stderr, flush=True)
        common = (source, "--mixing-set", mixing, "--copies")
        workers = workers_seconds(tmp, arguments.turns, source, "--mixing-set", mixing)
        least = peak_memory(tmp / "few", *common, 1)
        many = peak_memory(tmp / "many", *common, arguments.copies)
        rate = {case: 1 / min(turns) for case, turns in seconds.items()}
        record = {
            "pictures_per_second_per_core": {case: round(value, 1) for case, value in rate.items()},
            "ratio": {case: round(rate[case] / rate[peers[case]], 2) for case in cases},
            "two_workers_to_one": round(workers[2] / workers[1], 3),
            "peak_mib": {
                **peaks_of_arrays(tmp, small, mixing),
                f"{pictures} pictures": round(least),
                f"{pictures * arguments.copies} pictures": round(many),
            },
            "n": count,
            "n_32_px": {"straight": PEER_SAMPLES, "bake, a copy": SMALL_SAMPLES},
            "turns": arguments.turns,
            "photographs": pictures,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "pillow": PIL.__version__,
                "torch": torch.__version__,
                "webdataset": webdataset.__version__,
                "numba": numba.__version__,
                "simplejpeg": simplejpeg.__version__,
            },
        }
        print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
