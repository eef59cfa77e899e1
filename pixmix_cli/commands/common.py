"""What the three making commands share between their plan and their exit code."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from pixmix_cli.errors import InputError
from pixmix_cli.pipelines.steps import Step
from pixmix_cli.terminal import Terminal

EXIT_SKIPPED = 3


@contextlib.contextmanager
def check_config() -> Iterator[None]:
    """Turn a config's ValueError into a usage error: the pure cores know no exit codes."""
    try:
        yield
    except ValueError as error:
        raise InputError(str(error), getattr(error, "hint", None)) from None


def follow(
    terminal: Terminal, output: Path, steps: Iterable[Step], total: int, remaining: int
) -> int:
    """Show a pipeline's steps as they come and return the exit code.

    total      pictures of the whole output
    remaining  of which this run makes
    """
    begin = time.monotonic()
    skipped = 0
    with terminal.meter(total, "pic", total - remaining) as meter:
        for step in steps:
            for record in step.records:
                terminal.emit(record, output)
            if step.summary is not None:
                skipped = step.summary["skipped"]
            meter.update(step.items)
    seconds = time.monotonic() - begin
    if remaining == 0:
        terminal.info(f"nothing to do: {output} is complete ({total} pictures)")
    else:
        rate = remaining / max(seconds, 1e-9)
        terminal.info(f"{remaining} pictures in {output} ({seconds:.1f} s, {rate:.1f}/s)")
    if skipped:
        terminal.warn(f"{skipped} skipped; {output / 'errors.jsonl'} lists them and says why")
        return EXIT_SKIPPED
    return 0


def show_plan(terminal: Terminal, describe: Callable[[], dict[str, Any]]) -> int:
    """Print what a run would do: `name value` lines, or one JSON record."""
    record = describe()
    if terminal.as_json:
        terminal.emit(record)
    else:
        for name, value in record.items():
            terminal.line(f"{name.replace('_', ' '):<18}{value}")
    return 0
