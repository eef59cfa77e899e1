"""The exam: pictures made once for all arms and seeds, and what a network makes of them."""

from __future__ import annotations

import concurrent.futures
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.safety import anomalies, corruptions, measures, perturbations, published
from benchmarks.safety.data import SIDE, U8, Labelled, content_digest, digits
from benchmarks.safety.epochs import on_device
from benchmarks.safety.train import autocast
from pixmix_cli.errors import InputError
from pixmix_cli.storage import images

VERSION = 1  # raise it when the same arguments would give another exam
SEED = 20
AT_ONCE = 2000  # pictures of 32 px, or as many pixels of larger ones


@dataclass(frozen=True)
class Size:
    """How much of the exam is sat: fewer pictures on a slow machine."""

    severities: tuple[int, ...] = (1, 2, 3, 4, 5)
    sequence_pictures: int = 500
    attacked: int = 1000
    anomalies: int = 1000


@dataclass(frozen=True)
class Sources:
    """What an exam is made from, besides the test pictures.

    photographs    folder of one more set of anomalies
    with_digits    whether digits are anomalies: not for a network trained on them
    frost          folder of photographs of frost, for the fifteenth corruption
    corruptions    folders of published sets, see published.corruptions
    perturbations  see published.perturbations
    """

    size: Size = Size()
    photographs: Path | None = None
    with_digits: bool = True
    frost: Path | None = None
    corruptions: tuple[Path, ...] = ()
    perturbations: tuple[Path, ...] = ()

    @cached_property
    def photographs_digest(self) -> str | None:
        """Of the photographs' content; once, since other processes are given it."""
        return None if self.photographs is None else content_digest(self.photographs)

    @cached_property
    def frost_digest(self) -> str | None:
        """Of the photographs of frost."""
        return None if self.frost is None else content_digest(self.frost)

    @cached_property
    def published_digests(self) -> list[str]:
        """Name and digest of each published set, by name."""
        folders = (*self.corruptions, *self.perturbations)
        return sorted(f"{folder.name} {published.digest(folder)}" for folder in folders)


@dataclass(frozen=True)
class Exam:
    """corrupted and sequences by name, (severities, n, ...) and (m, frames, ...); all uint8."""

    test: Labelled
    corrupted: dict[str, U8]
    sequences: dict[str, U8]
    noise: dict[str, U8]
    structured: dict[str, U8]


def make_exam(test: Labelled, sources: Sources, cache: Path) -> Exam:
    """The exam, from the cache folder where it was made before."""
    size, photographs = sources.size, sources.photographs
    digest = hashlib.sha256(f"{VERSION} {size} {test.digest}".encode())
    folder = cache / digest.hexdigest()[:16]

    def corrupted_by(name: str) -> U8:
        return _kept(
            folder / f"{name}.npy",
            lambda: np.stack(
                [corruptions.corrupt(test.pictures, name, s, SEED) for s in size.severities]
            ),
        )

    corrupted = _side_by_side(corruptions.CORRUPTIONS, corrupted_by)
    if sources.frost is not None:
        ice = [photograph for _, photograph in anomalies.read(sources.frost)]
        if min(min(photograph.shape[:2]) for photograph in ice) < corruptions.FROST * SIDE:
            raise InputError(
                f"--frost {sources.frost} holds photographs of less than "
                f"{corruptions.FROST * SIDE} pixels on a side"
            )
        corrupted["frost"] = _kept(
            folder / f"frost-{sources.frost_digest}.npy",
            lambda: np.stack(
                [corruptions.frost(test.pictures, s, ice, SEED) for s in size.severities]
            ),
        )
    some = test.pictures[_spread(len(test.pictures), size.sequence_pictures)]

    def sequence_of(name: str) -> U8:
        return _kept(
            folder / f"sequence-{name}.npy", lambda: perturbations.sequence(some, name, SEED)
        )

    sequences = _side_by_side(perturbations.SEQUENCES, sequence_of)

    def made(kinds: dict[str, Any]) -> dict[str, U8]:
        return {
            name: _kept(
                folder / f"anomaly-{name}.npy",
                lambda make=make, number=number: make(
                    size.anomalies, SIDE, np.random.default_rng([SEED, number])
                ),
            )
            for number, (name, make) in enumerate(kinds.items())
        }

    structured = made(anomalies.STRUCTURED)
    if sources.with_digits:
        structured["digits"] = _kept(
            folder / "anomaly-digits.npy",
            lambda: anomalies.digits(
                digits(cache)[0], size.anomalies, SIDE, np.random.default_rng([SEED, 98])
            ),
        )
    if photographs is not None:
        endings = tuple(images.EXTENSIONS)
        files = sorted(p for p in photographs.rglob("*") if p.name.lower().endswith(endings))
        if not files:
            raise InputError(f"--photographs {photographs} holds no photographs")
        rng = np.random.default_rng([SEED, 99])
        structured["photographs"] = _kept(
            folder / f"anomaly-photographs-{sources.photographs_digest}.npy",
            lambda: anomalies.photographs(files, size.anomalies, SIDE, rng),
        )
    return Exam(test, corrupted, sequences, made(anomalies.NOISE), structured)


def _side_by_side(names: Sequence[str], make: Callable[[str], U8]) -> dict[str, U8]:
    """One thread a core: NumPy and torch work without the GIL, and each set has its own numbers."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as threads:
        return dict(zip(names, threads.map(make, names)))


def _kept(path: Path, make: Any) -> U8:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, make())
        partial.replace(path)
    array: U8 = np.load(path, mmap_mode="r")
    return array


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    """Indices of at most `wanted` of `count` pictures, evenly over the classes."""
    return np.linspace(0, count - 1, min(count, wanted)).astype(np.int64)


class Examiner:
    """One network on the exam."""

    def __init__(self, model: nn.Module, device: torch.device, bfloat16: bool) -> None:
        self._model = model
        self._device = device
        self._bfloat16 = bfloat16

    def probabilities(self, pictures: U8) -> NDArray[np.float32]:
        """(n, classes) for (n, s, s, 3) uint8."""
        found: NDArray[np.float32] = torch.softmax(
            torch.from_numpy(self.logits(pictures)), 1
        ).numpy()
        return found

    def logits(self, pictures: U8) -> NDArray[np.float32]:
        """(n, classes) for (n, h, w, 3) uint8."""
        parts = []
        with torch.inference_mode():
            at_once = max(1, AT_ONCE * SIDE**2 // (pictures.shape[1] * pictures.shape[2]))
            for begin in range(0, len(pictures), at_once):
                x = on_device(np.array(pictures[begin : begin + at_once]), self._device)
                x = x.contiguous(memory_format=torch.channels_last)
                with autocast(self._device, self._bfloat16):
                    logits = self._model(x.float() / 255)
                parts.append(logits.float().cpu().numpy())
        return np.concatenate(parts)

    def attacked_error(self, test: Labelled, count: int) -> float:
        """Error on pictures attacked by PGD, in float32."""
        index = _spread(len(test.pictures), count)
        wrong = []
        generator = torch.Generator(self._device).manual_seed(SEED)
        for part in np.array_split(index, max(1, len(index) // 500)):
            x = on_device(test.pictures[part], self._device).float() / 255
            x = x.contiguous(memory_format=torch.channels_last)
            y = torch.from_numpy(test.labels[part]).to(self._device)
            attacked = measures.pgd(self._model, x, y, generator)
            with torch.inference_mode():
                wrong.append((self._model(attacked).argmax(1) != y).float().cpu().numpy())
        return float(np.concatenate(wrong).mean())


def forward_passes(exam: Exam, size: Size) -> tuple[int, int]:
    """What the exam costs: pictures shown, and pictures shown with the way back of an attack.

    returns  (forward passes alone, forward and backward passes)
    """
    sets = [*exam.corrupted.values(), *exam.sequences.values()]
    shown = sum(pictures.shape[0] * pictures.shape[1] for pictures in sets)
    for kinds in (exam.noise, exam.structured):
        shown += sum(len(pictures) for pictures in kinds.values())
    attacked = min(size.attacked, len(exam.test.pictures)) * measures.STEPS
    return shown + len(exam.test.pictures), attacked


def published_passes(sources: Sources) -> int:
    """The same of the published sets: forward passes alone."""
    return sum(map(published.passes, (*sources.corruptions, *sources.perturbations)))


def sit(exam: Exam, size: Size, model: nn.Module, device: torch.device, bfloat16: bool) -> dict:
    """Every measure of one network, as a flat record of numbers in [0, 1].

    raises  InputError when it has other classes
    """
    examiner = Examiner(model, device, bfloat16)
    labels = exam.test.labels
    clean = examiner.probabilities(exam.test.pictures)
    classes, outputs = len(exam.test.classes), clean.shape[1]
    if outputs != classes:
        raise InputError(
            f"the test pictures have {classes} classes and the network {outputs} outputs"
        )
    record: dict[str, float] = {
        "clean error": measures.error(clean.argmax(1), labels),
        "calibration, clean": _calibration(clean, labels),
    }
    errors: list[float] = []
    gaps: list[float] = []
    for name, levels in exam.corrupted.items():
        found = [examiner.probabilities(level) for level in levels]
        wrong = [measures.error(p.argmax(1), labels) for p in found]
        record[f"corruption: {name}"] = float(np.mean(wrong))
        errors.append(record[f"corruption: {name}"])
        gaps.extend(_calibration(p, labels) for p in found)
    record["corruption error"] = float(np.mean(errors))
    record["calibration, corrupted"] = float(np.mean(gaps))
    record["adversarial error"] = examiner.attacked_error(exam.test, size.attacked)
    rates = []
    for name, frames in exam.sequences.items():
        flat = examiner.probabilities(frames.reshape(-1, *frames.shape[2:])).argmax(1)
        rate = perturbations.flip_rate(flat.reshape(frames.shape[:2]), name in perturbations.NOISE)
        record[f"flips: {name}"] = rate
        rates.append(rate)
    record["flip rate"] = float(np.mean(rates))
    normal = 1 - clean.max(1)
    for kind, sets in (("noise", exam.noise), ("structured", exam.structured)):
        areas = []
        for name, pictures in sets.items():
            area = measures.auroc(normal, 1 - examiner.probabilities(pictures).max(1))
            record[f"anomalies: {name}"] = area
            areas.append(area)
        record[f"AUROC, {kind}"] = float(np.mean(areas))
    every = [value for name, value in record.items() if name.startswith("anomalies: ")]
    record["AUROC"] = float(np.mean(every))
    return record


def sit_published(
    sources: Sources, model: nn.Module, device: torch.device, bfloat16: bool, warn: published.Warn
) -> dict[str, float]:
    """Every measure on the published sets that are at hand."""
    look = Examiner(model, device, bfloat16).logits
    record: dict[str, float] = {}
    for folder in sources.corruptions:
        record |= published.corruptions(folder, look, warn)
    for folder in sources.perturbations:
        record |= published.perturbations(folder, look, warn)
    return record


def _calibration(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    correct = probabilities.argmax(1) == labels
    return measures.rms_calibration_error(probabilities.max(1), correct)
