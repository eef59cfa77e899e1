"""Run pure tasks on Ray: on this machine without any set-up, or on a cluster by its address.

Takes and gives what `engine.run_tasks` does, so pipelines do not know which of the two they have.
What a cluster needs: pixmix and Ray installed on every node, and the inputs and the output under
the same paths everywhere.
"""

from __future__ import annotations

import collections
import logging
import os
import signal
import socket
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from pixmix_cli.errors import InputError, PixMixError, WorkerDiedError
from pixmix_cli.pipelines.engines.local import default_workers
from pixmix_cli.pipelines.engines.pool import AHEAD, ATTEMPTS, is_code_folder

Task = TypeVar("Task")
Result = TypeVar("Result")

ANSWER_SECONDS = 10  # for a cluster's head to accept a connection
OBJECT_STORE = 512 << 20  # bytes of shared memory of a Ray of our own: tasks and results in flight


@dataclass(frozen=True, slots=True)
class RayEngine:
    """`engine.run_tasks` on Ray. Connect first.

    gpus  that each task asks for; it then sees no others
    """

    gpus: int = 0

    def __call__(
        self,
        make_runner: Callable[..., Callable[[Task], Result]],
        context: tuple[Any, ...],
        tasks: Iterable[Task],
        workers: int,
        describe: Callable[[Task], str],
    ) -> Generator[Result, None, None]:
        """Run every task and yield the results in the tasks' order; as `engine.run_tasks`.

        workers  tasks at a time; a Ray task each, which Ray tries again where a worker is lost
        """
        import ray

        work = ray.remote(_work).options(
            num_cpus=1, num_gpus=self.gpus, max_retries=ATTEMPTS - 1, retry_exceptions=False
        )
        boxed = [ray.put(context)]  # in a list, so that Ray does not unpack it for each task
        waiting: collections.deque[tuple[Task, Any]] = collections.deque()
        try:
            for task in tasks:
                waiting.append((task, work.remote(make_runner, boxed, task)))
                if len(waiting) >= workers * AHEAD:
                    yield _result(*waiting.popleft(), describe)
            while waiting:
                yield _result(*waiting.popleft(), describe)
        finally:
            for _, reference in waiting:
                ray.cancel(reference, force=True)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What Ray has to offer, in whole processors."""

    cpus: int
    gpus: int


def connect(address: str | None, workers: int | None = None) -> Cluster:
    """Start a Ray of our own on this machine, or join a cluster.

    address  of the cluster, or None
    workers  processors of a Ray of our own; all cores where not given
    raises   InputError when Ray is not installed, or when there is no cluster at the address
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # reports nothing to anybody
    try:
        import ray
    except ImportError:
        raise InputError("--engine ray needs Ray", "pip install 'pixmix[ray]'") from None
    if not ray.is_initialized():
        if address is not None:
            _check_answers(address)
        own: dict[str, Any] = {
            "num_cpus": workers or default_workers(),
            "object_store_memory": OBJECT_STORE,
        }
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                job_config=_job_config(),
                **({} if address else own),
            )
        except (ConnectionError, ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"--engine ray finds no cluster at {address}: {reason}"
                if address
                else f"Ray does not start: {reason}",
                "ray status, on a node of it" if address else "--engine local",
            ) from None
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray puts its own in its place
        _keep_stdout_clean()
    found = ray.cluster_resources()
    return Cluster(max(1, int(found.get("CPU", 1))), int(found.get("GPU", 0)))


class _CodePaths(list[str]):
    """Folders that Ray's workers import from, without the current one: it holds none of our code.

    Ray extends its list by the driver's current folder and puts it first (Ray 2.60). A dataset in
    it may have a numpy.py.
    """

    def extend(self, paths: Iterable[str]) -> None:
        super().extend(path for path in paths if is_code_folder(path))


def _job_config() -> Any:
    from ray.job_config import JobConfig

    config = JobConfig()
    config._py_driver_sys_path = _CodePaths()
    return config


def _keep_stdout_clean() -> None:
    """Keep Ray's notes on lost workers off stdout, which is data: what matters we say ourselves.

    There is no setting for it (log_to_driver does not concern them, Ray 2.60), so the function that
    prints them is taken away.
    """
    import ray._private.worker

    ray._private.worker.print_to_stdstream = lambda *args, **kwargs: None


def _check_answers(address: str) -> None:
    """Refuse an address at which nothing listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or something that Ray has to make out
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"--engine ray finds no cluster at {address}: {error.strerror or error}",
            "ray status, on a node of it",
        ) from None


_runners: dict[str, Callable[[Any], Any]] = {}


def _work(make_runner: Callable[..., Callable[[Any], Any]], boxed: list[Any], task: Any) -> Any:
    """One task in a Ray worker, which keeps what the context makes for the tasks to come."""
    import ray

    key = boxed[0].hex()
    if key not in _runners:
        _runners.clear()
        _runners[key] = make_runner(*ray.get(boxed[0]))
    return _runners[key](task)


def _result(task: Task, reference: Any, describe: Callable[[Task], str]) -> Any:
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, PixMixError):
            raise error.cause from None
        raise
    except ray.exceptions.RayError as error:
        reason = type(error).__name__
        raise WorkerDiedError(
            f"Ray gave up {describe(task)} after {ATTEMPTS} attempts ({reason})",
            "fewer workers (-j) or without that item, then again with --resume",
        ) from None
