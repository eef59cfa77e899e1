"""From shared options to a job: where it writes, who works, what is there already."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pixmix_kernels
from pixmix_cli.errors import InputError
from pixmix_cli.storage.remote import Url
from pixmix_cli.terminal import Terminal

if TYPE_CHECKING:
    from pixmix_cli.outputs.part import Part
    from pixmix_cli.pipelines.engines.local import Engine


def make_terminal(quiet: int, verbose: int, progress: str, as_json: bool) -> Terminal:
    """The terminal that the shared options ask for; kernels report to it, too."""
    terminal = Terminal(quiet=quiet, verbose=verbose, progress=progress, as_json=as_json)
    pixmix_kernels.tell(terminal.info, terminal.detail)
    return terminal


def check_existing(resume: bool, overwrite: bool) -> None:
    """Refuse two contrary wishes."""
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")


def chosen_part(text: str | None, overwrite: bool) -> Part | None:
    """The part of the work that --shard names. Raises InputError."""
    if text is None:
        return None
    from pixmix_cli.outputs.part import part_from

    if overwrite:
        raise click.UsageError("--shard and --overwrite exclude each other: parts share the output")
    return part_from(text, os.environ)


def chosen_engine(
    name: str, ray_address: str | None, workers: int | None, *places: object
) -> tuple[Engine, int]:
    """What runs the tasks, and how many at a time. Starts Ray where it is wanted.

    places  that are read and written; memory:// lies in this process, so there is no other worker
    """
    from pixmix_cli.pipelines.engines.local import default_workers, run_tasks

    if any(isinstance(place, Url) and place.protocol == "memory" for place in places):
        return run_tasks, 1
    if name == "local":
        if ray_address is not None:
            raise click.UsageError("--ray-address is for --engine ray")
        return run_tasks, workers or default_workers()
    from pixmix_cli.pipelines.engines.ray import RayEngine, connect

    cluster = connect(ray_address, workers)
    return RayEngine(), workers or cluster.cpus


def check_stdout(output: Path | Url, resume: bool, overwrite: bool) -> None:
    """Refuse -o -, a tar on stdout, where that makes no sense."""
    if str(output) != "-":
        return
    if resume or overwrite:
        raise click.UsageError("--resume and --overwrite need a folder, not -o -")
    if sys.stdout.isatty():
        raise InputError(
            "-o - would write a tar to this terminal", "a pipe or > file.tar, or -o FOLDER"
        )


@contextlib.contextmanager
def job_settings(
    output: Path | Url,
    *inputs: object,
    workers: int | None,
    resume: bool,
    overwrite: bool,
    part: str | None,
    engine: str,
    ray_address: str | None,
    **others: Any,
) -> Iterator[dict[str, Any]]:
    """What every making command's job says of where it writes and who works, and `others`."""
    from pixmix_cli.outputs.destination import Destination
    from pixmix_cli.outputs.mirror import at_hand
    from pixmix_cli.storage import spool

    spool.sweep()
    check_existing(resume, overwrite)
    check_stdout(output, resume, overwrite)
    run, at_once = chosen_engine(engine, ray_address, workers, *inputs, output)
    with at_hand(output) as (folder, elsewhere):
        place = Destination(folder, elsewhere, resume, overwrite, chosen_part(part, overwrite))
        yield {"destination": place, "workers": at_once, "engine": run, **others}


@contextlib.contextmanager
def mixing_set_job(output: Path | Url | None, **shared: Any) -> Iterator[Any]:
    """A MixingSetJob from the shared options; `shared` as for `job_settings`."""
    from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob

    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    with job_settings(output, **shared) as settings:
        yield MixingSetJob(**settings)
