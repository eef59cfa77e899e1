"""Exams as they were published, for those who have them: sums as their own scripts make them.

CIFAR-10-C, CIFAR-100-C, C-Bar   a folder of NAME.npy, five severities one after the other, and
                                 labels.npy
CIFAR-10-P, CIFAR-100-P          a folder of NAME.npy, (n, frames, s, s, 3)
ImageNet-C, ImageNet-C-Bar       NAME/SEVERITY/CLASS/PICTURE
ImageNet-R, ImageNet's val       CLASS/PICTURE

sources  Hendrycks & Dietterich (2019), with its CIFAR-P script; Mintun et al. (2021), C-Bar;
         Hendrycks et al. (2021), ImageNet-R, with its script's list of classes
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.safety import measures
from benchmarks.safety.data import SIDE
from benchmarks.safety.perturbations import flip_rate
from pixmix_cli.errors import InputError
from pixmix_cli.mixing.mixer import resize_shorter_side
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.pictures import PictureRef
from pixmix_cli.storage import images

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Look = Callable[[U8], F32]  # (n, h, w, 3) uint8 to logits (n, classes)
Warn = Callable[[str], None]

SEVERITIES = 5
STANDARD = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
ALEXNET = dict(  # its errors on ImageNet-C, which a mean corruption error is relative to
    zip(
        STANDARD,
        (
            0.886428, 0.894468, 0.922640, 0.819880, 0.826268, 0.785948, 0.798360, 0.866816,
            0.826572, 0.819324, 0.564592, 0.853204, 0.646056, 0.717840, 0.606500,
        ),
    )
)  # fmt: skip
SEQUENCES = (  # of the published script: with spatter, and snow among the extra ones
    "gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter", "brightness",
    "translate", "rotate", "tilt", "scale",
)  # fmt: skip
CROP, SHORTER = 224, 256  # pixels: Resize(256), CenterCrop(224)
AT_ONCE = 500  # pictures in memory at once
CLASS = re.compile(r"n[0-9]{8}")
R_CLASSES = Path(__file__).with_name("imagenet_r.txt")


def renditions() -> dict[str, int]:
    """The 200 classes of ImageNet-R: WordNet id, and its place among ImageNet's 1,000."""
    lines = (line.split() for line in R_CLASSES.read_text().splitlines())
    return {name: int(place) for name, place in lines}


def files(folder: Path) -> Iterator[Path]:
    """What a set is read from: its arrays where it has any, else every file below it."""
    arrays = sorted(folder.glob("*.npy"))
    if arrays:
        yield from arrays
        return
    for place, folders, names in os.walk(folder):  # millions of files: never all in a list
        folders.sort()
        yield from (Path(place, name) for name in sorted(names))


def digest(folder: Path) -> str:
    """SHA-256 of the names, sizes and times of a set's files: their bytes are too many."""
    found = hashlib.sha256()
    for path in files(folder):
        status = path.stat()
        line = f"{path.relative_to(folder)} {status.st_size} {status.st_mtime_ns}\n"
        found.update(os.fsencode(line))
    return found.hexdigest()


def passes(folder: Path) -> int:
    """What a set costs to look at, in pictures of 32 px. Raises InputError for a broken array."""
    pixels = 0
    for path in files(folder):
        if path.suffix != ".npy":
            pixels += CROP**2 * images.is_picture_name(path.name)
        elif path.name != "labels.npy":
            pixels += math.prod(_opened(path).shape[:-1])
    return pixels // SIDE**2


def corruptions(folder: Path, look: Look, warn: Warn) -> dict[str, float]:
    """Error and calibration on a published set, whichever of the three layouts it has.

    returns  "NAME error", "NAME calibration", and "NAME: CORRUPTION" for each corruption, NAME the
             folder's name. Where some of the fifteen are missing, the two say of how many they are
             the mean. ImageNet-C has "NAME mCE", relative to AlexNet, too
    raises   InputError for a folder of another layout, labels that do not fit, a broken array
    """
    if not folder.is_dir():
        raise InputError(f"--corruptions {folder} is no folder")
    inside = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if any(folder.glob("*.npy")):
        return _means(folder, _arrays(folder, look), warn)
    if any(CLASS.fullmatch(name) for name in inside):
        error, calibration = _by_class(folder, look, crop=True)
        return {f"{folder.name} error": error, f"{folder.name} calibration": calibration}
    levels = {name: [folder / name / str(s) for s in range(1, SEVERITIES + 1)] for name in inside}
    whole = {name: paths for name, paths in levels.items() if all(p.is_dir() for p in paths)}
    if not whole:
        raise InputError(
            f"--corruptions {folder} is laid out like no published set",
            "a folder of .npy with labels.npy, of NAME/1 to NAME/5, or of ImageNet's classes",
        )
    for name in sorted(set(levels) - set(whole)):
        warn(f"{folder / name} has no folders 1 to {SEVERITIES} and is passed over")
    return _means(
        folder,
        ((n, [_by_class(p, look, crop=False) for p in paths]) for n, paths in whole.items()),
        warn,
        ALEXNET,
    )


def _means(
    folder: Path,
    found: Iterator[tuple[str, list[tuple[float, float]]]],
    warn: Warn,
    relative_to: dict[str, float] | None = None,
) -> dict[str, float]:
    """The record of a set, from each corruption's errors and calibration errors by severity."""
    errors, calibrations = {}, {}
    for name, levels in found:
        errors[name] = float(np.mean([error for error, _ in levels]))
        calibrations[name] = float(np.mean([calibration for _, calibration in levels]))
    counted = [name for name in STANDARD if name in errors] or list(errors)
    partly = ""
    if counted[0] in STANDARD and len(counted) < len(STANDARD):
        partly = f" ({len(counted)} of {len(STANDARD)})"
        missing = [name for name in STANDARD if name not in errors]
        warn(f"{folder} lacks {', '.join(missing)}: means are over {len(counted)}")
    record = {
        f"{folder.name} error{partly}": float(np.mean([errors[name] for name in counted])),
        f"{folder.name} calibration{partly}": float(np.mean([calibrations[n] for n in counted])),
    }
    if relative_to is not None and set(counted) == set(STANDARD):
        ratios = [errors[name] / relative_to[name] for name in counted]
        record[f"{folder.name} mCE"] = float(np.mean(ratios))
    return record | {f"{folder.name}: {name}": error for name, error in errors.items()}


def _arrays(folder: Path, look: Look) -> Iterator[tuple[str, list[tuple[float, float]]]]:
    labels = _labels(folder)
    for path in sorted(folder.glob("*.npy")):
        if path.name == "labels.npy":
            continue
        pictures = _array(path, dimensions=4)
        if len(pictures) != len(labels):
            raise InputError(f"{path} holds {len(pictures)} pictures and labels.npy {len(labels)}")
        count = len(labels) // SEVERITIES
        levels = []
        for begin in range(0, len(labels), count):
            rows = slice(begin, begin + count)
            logits = _looked(pictures[rows], look)
            _check_count(labels.max() + 1, logits.shape[1], folder)
            levels.append(_judge(logits, labels[rows]))
        yield path.stem, levels


def _labels(folder: Path) -> NDArray[np.integer]:
    labels = _array(folder / "labels.npy", dimensions=1)
    fits = len(labels) and not len(labels) % SEVERITIES and labels.dtype.kind in "iu"
    if not fits or labels.min() < 0:
        raise InputError(
            f"{folder}/labels.npy holds {len(labels)} {labels.dtype} values, not labels for "
            f"{SEVERITIES} severities"
        )
    return labels


def check_classes(folder: Path, outputs: int) -> None:
    """Refuse a network that has other classes than a set, before it is trained."""
    if (folder / "labels.npy").exists():
        _check_count(_labels(folder).max() + 1, outputs, folder)
        return
    for place in (folder, *sorted(folder.glob("*/1"))[:1]):
        names = _class_names(place)
        if names:
            class_columns(names, outputs, folder)


def _check_count(classes: int, outputs: int, where: Path) -> None:
    if classes != outputs:
        raise InputError(f"{where} has {classes} classes and the network {outputs} outputs")


def _opened(path: Path) -> NDArray[np.integer]:
    try:
        array: NDArray[np.integer] = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    return array


def _array(path: Path, dimensions: int) -> NDArray[np.integer]:
    array = _opened(path)
    is_pictures = dimensions > 1
    if array.ndim != dimensions or (is_pictures and array.dtype != np.uint8):
        raise InputError(f"{path} is {array.dtype} of shape {array.shape}, not as published")
    if is_pictures and array.shape[-1] != 3:
        raise InputError(f"{path} is of shape {array.shape}: its last side is not 3 channels")
    return array


def _looked(pictures: NDArray[np.integer], look: Look) -> F32:
    parts = [
        look(np.array(pictures[begin : begin + AT_ONCE], np.uint8))
        for begin in range(0, len(pictures), AT_ONCE)
    ]
    return np.concatenate(parts)


def _judge(logits: F32, labels: NDArray[np.integer]) -> tuple[float, float]:
    """Error, and calibration error of the softmax."""
    right = logits.argmax(1) == labels
    shifted = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64)
    confidence = shifted.max(1) / shifted.sum(1)
    return float(1 - right.mean()), measures.rms_calibration_error(confidence, right)


def perturbations(folder: Path, look: Look, warn: Warn) -> dict[str, float]:
    """Flip probability on a published -P set of arrays.

    returns  "NAME flip rate", the mean over the ten kinds of the published script (where some are
             missing it says of how many), and "NAME: KIND" for each kind
    raises   InputError
    """
    if not folder.is_dir():
        raise InputError(f"--perturbations {folder} is no folder")
    paths = sorted(folder.glob("*.npy"))
    if not paths:
        raise InputError(
            f"--perturbations {folder} holds no .npy arrays (ImageNet-P's films are not read)",
            "CIFAR-10-P or CIFAR-100-P",
        )
    rates = {}
    for path in paths:
        if path.name == "labels.npy":
            continue
        frames = _array(path, dimensions=5)
        predictions = []
        at_once = max(1, AT_ONCE // max(1, frames.shape[1]))
        for begin in range(0, len(frames), at_once):
            some = np.array(frames[begin : begin + at_once], np.uint8)
            logits = look(some.reshape(-1, *some.shape[2:]))
            predictions.append(logits.argmax(1).reshape(some.shape[:2]))
        if not predictions or frames.shape[1] < 2:
            raise InputError(f"{path} is of shape {frames.shape}: no sequences")
        rates[path.stem] = flip_rate(np.concatenate(predictions), "noise" in path.stem)
    counted = [name for name in SEQUENCES if name in rates]
    partly = ""
    if not counted:
        counted = list(rates)
    elif len(counted) < len(SEQUENCES):
        partly = f" ({len(counted)} of {len(SEQUENCES)})"
        missing = [name for name in SEQUENCES if name not in rates]
        warn(f"{folder} lacks {', '.join(missing)}: the mean is over {len(counted)}")
    mean = float(np.mean([rates[name] for name in counted]))
    return {
        f"{folder.name} flip rate{partly}": mean,
        **{f"{folder.name}: {name}": rate for name, rate in rates.items()},
    }


def _by_class(folder: Path, look: Look, crop: bool) -> tuple[float, float]:
    """Error and calibration on pictures in ImageNet's class folders.

    crop  whether they are shrunk to 256 before the crop of 224; ImageNet-C's were already
    """
    names = _class_names(folder)
    if not names:
        raise InputError(f"{folder} holds no folders of ImageNet's classes, such as n01443537")
    logits, labels = [], []
    with concurrent.futures.ThreadPoolExecutor() as threads:  # Pillow decodes without the GIL
        for label, name in enumerate(names):
            found = find_pictures(folder / name, lambda text: None)
            for begin in range(0, len(found), AT_ONCE):
                refs = [found[i] for i in range(begin, min(begin + AT_ONCE, len(found)))]
                pictures = list(threads.map(lambda ref: _read(ref, crop), refs))
                logits.append(look(np.stack(pictures)))
                labels.extend([label] * len(pictures))
    if not labels:
        raise InputError(f"{folder} holds no pictures")
    outputs = np.concatenate(logits)
    columns = class_columns(names, outputs.shape[1], folder)
    return _judge(outputs[:, columns], np.array(labels))


def _class_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if CLASS.fullmatch(entry.name))


def class_columns(names: Sequence[str], outputs: int, where: Path) -> list[int]:
    """Which outputs of a network are compared, so that class i of `names` is the i-th of them.

    names    WordNet ids of a set, sorted
    outputs  of the network. Where it has as many as the set has classes they are the set's; one of
             1,000 is asked for ImageNet-R's 200 alone, as the published script does
    raises   InputError where neither fits
    """
    if len(names) == outputs:
        return list(range(outputs))
    known = renditions()
    if outputs == 1000 and set(names) <= set(known):
        # all 200 stay possible answers even where a folder holds some of the classes only
        ours = [known[name] for name in names]
        return ours + [place for name, place in known.items() if name not in set(names)]
    raise InputError(
        f"{where} has {len(names)} classes and the network {outputs} outputs",
        "all 1,000 classes of ImageNet, or those of ImageNet-R",
    )


def _read(ref: PictureRef, shrink: bool) -> U8:
    """A picture as torchvision's Resize(256), where wished, and CenterCrop(224) give it."""
    picture = images.decode_rgb(ref.read(), ref.name)
    if shrink or min(picture.shape[:2]) < CROP:
        picture = resize_shorter_side(picture, SHORTER)
    top, left = (round((side - CROP) / 2) for side in picture.shape[:2])
    return picture[top : top + CROP, left : left + CROP]
