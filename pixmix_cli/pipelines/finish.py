"""Both ends of a run: its output, and the manifest, which the last one of several parts writes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.output import Output, open_output
from pixmix_cli.outputs.part import Whole
from pixmix_cli.outputs.rows import Place
from pixmix_cli.outputs.run_plan import FractalTotals, RunPlan
from pixmix_cli.pipelines.steps import Step


@dataclass(frozen=True, slots=True)
class Completion:
    """What a command says of the end of its outputs, so that this module knows no command.

    gaps    names of what has still to be made of an output; none when it is complete
    beyond  whether a row's place is more than the whole
    join    puts together what was stored in pieces; returns a record for each file it wrote
    check   refuses an end that would mislead, by raising PixMixError; what is committed stays
    facts   totals for the manifest that do not follow from rows
    """

    gaps: Callable[[Path, RunPlan, Whole], Iterator[str]]
    beyond: Callable[[Whole, Place], bool]
    join: Callable[[Output], list[dict[str, Any]]] = lambda output: []
    check: Callable[[Output, Whole], None] = lambda output, whole: None
    facts: Callable[[Whole], FractalTotals | None] = lambda whole: None


def open_for(
    destination: Destination, run: RunPlan, whole: Whole, completion: Completion
) -> Output:
    """Open a job's output, or its part of it, for this run.

    raises  as open_output
    """
    return open_output(
        destination,
        run,
        whole=None if destination.part is None else whole,
        missing=lambda: any(True for _ in completion.gaps(destination.folder, run, whole)),
        beyond=partial(completion.beyond, whole),
    )


TASKS_HANDED_OUT = 32  # at a time: each time is a sync, or a request
Task = TypeVar("Task")


def handing_out(
    output: Output,
    tasks: Iterable[Task],
    files: Callable[[Task], Iterable[tuple[Iterable[str], Iterable[str]]]],
) -> Iterator[Task]:
    """The tasks, each once it is recorded which files its worker will put in place.

    files   (folders, names) of a task: each name in each folder
    raises  StorageError
    """
    left = iter(tasks)
    while some := list(islice(left, TASKS_HANDED_OUT)):
        output.hand_out(place for task in some for place in files(task))
        yield from some


def finish(output: Output, whole: Whole, completion: Completion, made: int, skipped: int) -> Step:
    """Write the manifest, if this run fills the output alone or is the last of its parts.

    made, skipped  pictures of this run, told where other parts have still to end
    returns        the last step, with the output's totals
    raises         StorageError
    """
    if output.part is not None:
        own = {"pictures": made, "skipped": skipped}
        if not output.take_over():
            return Step(0, (), own, waits="other parts are still at work; the last one ends it")
        gaps = completion.gaps(output.path, output.plan, whole)
        if not output.finished_before and next(gaps, None) is not None:
            return Step(0, (), own, waits="parts are missing; the last one to run ends it")
    return write_manifest(output, whole, completion)


def write_manifest(output: Output, whole: Whole, completion: Completion) -> Step:
    """End an output that is complete. Raises StorageError, and as `check` of its completion."""
    if not output.finished_before:
        output.refresh()
        completion.check(output, whole)
    records = [] if output.finished_before else completion.join(output)
    extras = {name: text.encode() for name, text in whole.extras.items()}
    return Step(0, tuple(records), output.finish(extras, whole.made_with, completion.facts(whole)))
