"""What the three making commands share between their plan and their exit code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pixmix_kernels
from pixmix_cli.errors import InputError, OutputExistsError
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.storage.remote import AnyPath
from pixmix_cli.terminal import StdoutSink, Terminal
from pixmix_cli.units import size_text, time_text

if TYPE_CHECKING:
    from pixmix_cli.pipelines.mixing_sets.plan import MixingSetPlan

EXIT_SKIPPED = 3


@contextlib.contextmanager
def check_config() -> Iterator[None]:
    """Turn a config's ValueError into a usage error: the pure cores know no exit codes."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error), getattr(error, "hint", None)) from None


def picture_output(path: Path, overwrite: bool) -> str:
    """The format of a picture that is to be written at `path`, by the ending of its name.

    raises  InputError when the name tells no format, and as `check_new_file`
    """
    from pixmix_cli.storage import images

    formats = {f".{extension}": name for name, extension in images.FORMATS.items()}
    image_format = formats.get(path.suffix.lower())
    if image_format is None:
        raise InputError(f"cannot tell a picture format from {path}", "a name that ends in .png")
    check_new_file(path, overwrite)
    return image_format


def check_new_file(path: Path, overwrite: bool) -> None:
    """Refuse a single output file that cannot be put there.

    raises  InputError when the folder does not exist; OutputExistsError when the file is there and
            may not be replaced
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder of {path} does not exist", f"mkdir {path.parent}")
    if path.is_dir():
        raise InputError(f"{path} is a folder", "the name of a file")
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} is there already", "--overwrite, or another name")


def make_set(
    terminal: Terminal,
    plan: MixingSetPlan,
    dry_run: bool,
    describe: Callable[[], dict[str, Any]],
    kernels: str | None = None,
) -> int:
    """Run, stream or only show the plan of a mixing set; returns the exit code.

    kernels  as `follow`'s
    """
    from pixmix_cli.pipelines.mixing_sets.storing import run_set, stream_set

    if dry_run:
        return show_plan(terminal, describe)
    if plan.job.destination.is_stream:
        steps = stream_set(plan, StdoutSink())
    else:
        steps = run_set(plan)
    place = None if plan.job.destination.is_stream else plan.job.destination.place
    return follow(terminal, place, steps, plan.own, plan.remaining, kernels=kernels)


def follow(
    terminal: Terminal,
    output: AnyPath | None,
    steps: Iterable[Step],
    total: int,
    remaining: int,
    shards: int = 0,
    kernels: str | None = None,
) -> int:
    """Show a pipeline's steps as they come and return the exit code.

    total      pictures that this run has to care for: of the whole output, or of its part
    remaining  of which this run makes
    shards     how many of them this run makes, where the output has any
    kernels    the family of compiled kernels that makes them, if any
    """
    terminal.detail(f"{remaining} of {total} pictures to make")
    if kernels is not None and remaining:
        pixmix_kernels.prepare(kernels)  # so that no bar, and no rate, waits for a compiler
    begin = time.monotonic()
    skipped, finished, waits = 0, 0, None
    with terminal.meter(total, "pic", total - remaining, shards) as meter:
        for step in steps:
            if terminal.lists_artefacts:
                for record in step.records:
                    terminal.emit(record, output)
            if step.summary is not None:
                skipped, finished = step.summary["skipped"], step.summary["pictures"]
                waits = step.waits
            meter.update(step.items, step.bytes, step.shards, step.errors)
    seconds = time.monotonic() - begin
    if remaining == 0:
        done = "is complete" if waits is None else "has this part"
        terminal.info(f"nothing to do: {output} {done} ({finished} pictures)")
    else:
        rate = remaining / max(seconds, 1e-9)
        where = "stdout" if output is None else output
        pictures = "picture" if finished == 1 else "pictures"
        terminal.info(f"{finished} {pictures} in {where} ({seconds:.1f} s, {rate:.1f}/s)")
    if waits is not None:
        terminal.info(f"{output} is not finished: {waits}")
    if skipped:
        lists = "lists" if waits is None else "will list"
        where = "" if output is None else f"; {output / 'errors.jsonl'} {lists} them and says why"
        terminal.warn(f"{skipped} skipped{where}")
        return EXIT_SKIPPED
    return 0


def show_plan(terminal: Terminal, describe: Callable[[], dict[str, Any]]) -> int:
    """Print what a run would do: lines for people, or one JSON record with bare numbers."""
    record = describe()
    if terminal.as_json:
        terminal.emit(record)
    else:
        for name, value in record.items():
            terminal.line("{:<18}{}".format(*_readable(name, value)))
    return 0


def _readable(name: str, value: Any) -> tuple[str, str]:
    """A field of a plan for people: times and sizes get units."""
    words = name.replace("_", " ")
    if name.endswith("_bytes"):
        return words.replace("bytes", "size"), size_text(value)
    if name.endswith("_seconds"):
        return words.replace("seconds", "time"), time_text(value)
    return words, str(value)
