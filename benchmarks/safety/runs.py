"""Runs: an arm and a seed each; several at once, their pictures baked ahead."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import multiprocessing.connection
import os
import platform
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch

from benchmarks.safety import arms as recipes
from benchmarks.safety import data, evaluate
from benchmarks.safety.arms import Arm
from benchmarks.safety.epochs import baked_epochs, shelf_epochs
from benchmarks.safety.live import Mixing, live_epochs
from benchmarks.safety.network import WideResNet
from benchmarks.safety.train import Epochs, Keep, Training, load, save, train
from pixmix_cli.storage.files import canonical_json, write_whole


@dataclass(frozen=True)
class Job:
    """One network to train, unless its weights are there, and to examine.

    training  every setting that its weights depend on
    exam      every setting that only its measures depend on
    mixing    the mixing sets, as --mixing-set takes them
    copies    how many copies are shown in turn
    """

    arm: Arm
    seed: int
    training: dict[str, Any]
    exam: dict[str, Any]
    config: Training
    sources: evaluate.Sources
    device: str
    train: Path
    mixing: tuple[str, ...]
    copies: int
    out: Path

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that its record depends on."""
        return {**self.training, **self.exam}

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.arm.name}-{self.seed}"

    @property
    def record(self) -> Path:
        """Where its result is kept."""
        return self.out / "runs" / f"{self.name}.json"

    @property
    def weights(self) -> Path:
        """Where the trained network is kept."""
        return self.out / "weights" / f"{self.name}.pt"

    @property
    def keep(self) -> Keep:
        """Where the unfinished training is kept."""
        path = self.out / "unfinished" / f"{self.name}.pt"
        return Keep(path, canonical_json(self.training))

    @property
    def is_done(self) -> bool:
        """Whether its record is there, made with these settings."""
        return is_recorded(self.record, self.settings)

    def trained(self) -> dict[str, Any] | None:
        """The kept network, if it was trained with these settings."""
        found = load(self.weights)
        same = found is not None and found.get("settings") == canonical_json(self.training)
        return found if same else None


def is_recorded(path: Path, settings: dict[str, Any]) -> bool:
    """Whether a record is there that was made with these settings."""
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    wanted = json.loads(json.dumps(settings))  # as a record gives it back
    return all(record.get(name) == value for name, value in wanted.items())


def run_all(jobs: list[Job], baked: Bakes, workers: int) -> None:
    """Do the jobs, `workers` at once, and report each on stderr."""
    spawn = multiprocessing.get_context("spawn")
    with (
        concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=spawn, initializer=_begin_worker
        ) as processes,
        concurrent.futures.ThreadPoolExecutor(workers) as threads,
    ):

        def follow(job: Job) -> str:
            folder = baked.get(job)
            line = processes.submit(do, job, folder).result()
            baked.release(job)
            return line

        futures = [threads.submit(follow, job) for job in jobs]
        try:
            for future in concurrent.futures.as_completed(futures):
                print(future.result(), file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            message = "Interrupted. Finished runs are kept: the same command goes on."
            print(message, file=sys.stderr, flush=True)
            os._exit(130)  # not to wait for trainings of minutes; the workers end with us
        except BaseException:
            for future in futures:
                future.cancel()
            baked.stop()
            raise


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the parent is gone, even by kill -9: nobody wants its work then."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def do(job: Job, folder: Path | None) -> str:
    """Train, examine, keep the record; returns a line that reports it."""
    device = torch.device(job.device)
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True  # every batch has the same shape
    train_set = data.kept(job.train)
    test_set = data.kept(job.train.with_name("test.npz"))
    exam = evaluate.make_exam(test_set, job.sources, job.out / "exam")
    found = job.trained()
    if found is None:
        found = _train(job, folder, train_set, device)
    classes = len(train_set.classes)
    model = WideResNet(job.config.depth, job.config.width, classes, job.config.stem)
    model.load_state_dict(found["model"])
    model = model.to(device).to(memory_format=torch.channels_last).eval()
    begin = time.perf_counter()
    bfloat16 = job.config.bfloat16
    measures = evaluate.sit(exam, job.sources.size, model, device, bfloat16)
    measures |= evaluate.sit_published(job.sources, model, device, bfloat16, warn)
    examined = time.perf_counter() - begin
    record = {
        **job.settings,
        "measures": measures,
        "loss": found["loss"],
        "seconds": {"training": found["seconds"], "exam": round(examined, 1)},
        "machine": machine(device),
    }
    write_whole(job.record, (json.dumps(record, indent=1) + "\n").encode())
    return (
        f"{job.arm.name} seed {job.seed}: corruption error {measures['corruption error']:.3f}, "
        f"calibration {measures['calibration, corrupted']:.3f} "
        f"(training {found['seconds']:.0f} s, exam {examined:.0f} s)"
    )


def _train(
    job: Job, folder: Path | None, train_set: data.Labelled, device: torch.device
) -> dict[str, Any]:
    """Train and keep the weights; what lay unfinished is removed."""
    begin = time.perf_counter()
    keep = job.keep
    epochs_of = job.config.epochs
    last = [begin, 0.0]

    def report(done: int, loss: float) -> None:
        now = time.perf_counter()
        rate = f"{(done - last[1]) * len(train_set.pictures) / (now - last[0]):.0f} pictures/s"
        rate = rate if last[1] else "begun"
        last[:] = [now, done]
        line = f"{job.arm.name} seed {job.seed}: epoch {done} of {epochs_of}, loss {loss:.3f}"
        print(f"{line} ({rate})", file=sys.stderr, flush=True)

    epochs = _epochs(job, folder, train_set, device)
    model, loss = train(job.config, epochs, len(train_set.classes), device, job.seed, keep, report)
    found = {
        "settings": keep.settings,
        "model": model.state_dict(),
        "loss": loss,
        "seconds": round(time.perf_counter() - begin, 1),
    }
    save(found, job.weights)
    keep.path.unlink(missing_ok=True)
    return found


def _epochs(
    job: Job, folder: Path | None, train_set: data.Labelled, device: torch.device
) -> Epochs:
    if job.arm.is_live:
        mixing = Mixing.load(job.mixing) if job.mixing else None
        return live_epochs(train_set, mixing, device, job.training["bake seed"], job.copies)
    if folder is not None:
        return baked_epochs(folder, train_set, device, job.arm.whole)
    return shelf_epochs(job.arm.recipe, train_set, device)


class Bakes:
    """Sets baked ahead in a thread, in the order in which they are needed; each removed after.

    At most `ahead` jobs ahead: a hundred epochs of CIFAR are 15 GB.
    """

    def __init__(
        self,
        jobs: list[Job],
        source: data.Part,
        out: Path,
        ahead: int,
    ) -> None:
        baked = [job for job in jobs if job.arm.is_baked_here and job.trained() is None]
        self._users = {job.name for job in baked}
        self._needed = Counter(self._key(job) for job in baked)
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._change = threading.Condition()
        self._finished = 0
        self._stopped = False

        def bake(place: int, job: Job) -> Path:
            with self._change:
                self._change.wait_for(lambda: self._stopped or self._finished + ahead >= place)
                if self._stopped:
                    raise concurrent.futures.CancelledError
            name, seed = self._key(job)
            folder = out / "baked" / f"{name}-{seed}"
            return recipes.bake(job.mixing, source, folder, job.copies, seed, job.arm.whole)

        self._results: dict[tuple[str, int], concurrent.futures.Future[Path]] = {}
        for place, job in enumerate(jobs):
            key = self._key(job)
            if job.name in self._users and key not in self._results:
                self._results[key] = self._pool.submit(bake, place, job)

    @staticmethod
    def _key(job: Job) -> tuple[str, int]:
        return job.arm.name, job.training["bake seed"]

    def get(self, job: Job) -> Path | None:
        """The folder that the job trains on, as soon as it is baked; None where it needs none."""
        if job.name in self._users:
            return self._results[self._key(job)].result()
        return Path(job.arm.recipe) if job.arm.is_given else None

    def release(self, job: Job) -> None:
        """Say that a job is done and needs its folder no more."""
        with self._change:
            self._finished += 1
            self._change.notify_all()
            if job.name not in self._users:
                return
            key = self._key(job)
            self._needed[key] -= 1
            last = self._needed[key] == 0
        if last:
            shutil.rmtree(self._results[key].result())

    def stop(self) -> None:
        """Bake no more."""
        with self._change:
            self._stopped = True
            self._change.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)


def warn(text: str) -> None:
    """A line on stderr."""
    print(f"Warning: {text}", file=sys.stderr, flush=True)


def machine(device: torch.device) -> dict[str, str]:
    """What a record says of the machine and the versions."""
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return {
        "device": name,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "torch": torch.__version__,
    }
