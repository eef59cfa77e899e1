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
from benchmarks.safety.train import Training, train
from pixmix_cli.storage.files import write_whole


@dataclass(frozen=True)
class Job:
    """One network to train and examine."""

    arm: Arm
    seed: int
    settings: dict[str, Any]
    config: Training
    size: evaluate.Size
    device: str
    train: Path
    photographs: Path | None
    with_digits: bool
    out: Path

    @property
    def record(self) -> Path:
        """Where its result is kept."""
        return record_path(self.out, self.arm, self.seed)


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
    begin = time.perf_counter()
    device = torch.device(job.device)
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    train_set = data.kept(job.train)
    test_set = data.kept(job.train.with_name("test.npz"))
    exam = evaluate.make_exam(
        test_set, job.size, job.photographs, job.out / "exam", job.with_digits
    )
    if folder is not None:
        epochs = recipes.baked_epochs(folder, train_set, device)
    else:
        epochs = recipes.shelf_epochs(job.arm.recipe, train_set, device)
    model, loss = train(job.config, epochs, len(train_set.classes), device, job.seed)
    trained = time.perf_counter() - begin
    measures = evaluate.sit(exam, job.size, model, device, job.config.bfloat16)
    examined = time.perf_counter() - begin - trained
    record = {
        **job.settings,
        "measures": measures,
        "loss": loss,
        "seconds": {"training": round(trained, 1), "exam": round(examined, 1)},
        "machine": _machine(device),
    }
    write_whole(job.record, (json.dumps(record, indent=1) + "\n").encode())
    return (
        f"{job.arm.name} seed {job.seed}: corruption error {measures['corruption error']:.3f}, "
        f"calibration {measures['calibration, corrupted']:.3f} "
        f"(training {trained:.0f} s, exam {examined:.0f} s)"
    )


class Bakes:
    """Sets baked ahead in a thread, in the order in which they are needed; each removed after.

    At most `ahead` jobs ahead: a hundred epochs of CIFAR are 15 GB.
    """

    def __init__(
        self,
        jobs: list[Job],
        mixing: dict[str, list[Path]],
        source: data.Part,
        out: Path,
        copies: int,
        ahead: int,
    ) -> None:
        self._needed = Counter(self._key(job) for job in jobs if job.arm.is_baked_here)
        self._pool = concurrent.futures.ThreadPoolExecutor(1)
        self._change = threading.Condition()
        self._finished = 0
        self._stopped = False

        def bake(place: int, name: str, seed: int) -> Path:
            with self._change:
                self._change.wait_for(lambda: self._stopped or self._finished + ahead >= place)
                if self._stopped:
                    raise concurrent.futures.CancelledError
            folder = out / "baked" / f"{name}-{seed}"
            return recipes.bake(mixing[name], source, folder, copies, seed)

        self._results: dict[tuple[str, int], concurrent.futures.Future[Path]] = {}
        for place, job in enumerate(jobs):
            key = self._key(job)
            if job.arm.is_baked_here and key not in self._results:
                self._results[key] = self._pool.submit(bake, place, *key)

    @staticmethod
    def _key(job: Job) -> tuple[str, int]:
        return job.arm.name, job.settings["bake seed"]

    def get(self, job: Job) -> Path | None:
        """The folder that the job trains on, as soon as it is baked; None for the shelf's arms."""
        if job.arm.is_baked_here:
            return self._results[self._key(job)].result()
        return None if job.arm.recipe in recipes.SHELF else Path(job.arm.recipe)

    def release(self, job: Job) -> None:
        """Say that a job is done and needs its folder no more."""
        with self._change:
            self._finished += 1
            self._change.notify_all()
            if not job.arm.is_baked_here:
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


def record_path(out: Path, arm: Arm, seed: int) -> Path:
    return out / "runs" / f"{arm.name}-{seed}.json"


def _machine(device: torch.device) -> dict[str, str]:
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    return {
        "device": name,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "torch": torch.__version__,
    }
