"""pixmix verify: is an output whole? And mend it, or make samples of it again, where asked."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

import pixmix_kernels
from pixmix_cli import options
from pixmix_cli.options import option
from pixmix_cli.storage.remote import AnyPath, Url
from pixmix_cli.terminal import Terminal

if TYPE_CHECKING:
    from pixmix_cli.pipelines.bake.rebake import Recorded
    from pixmix_cli.pipelines.checks import Finding
    from pixmix_cli.pipelines.verify import Checklist

EXAMPLES = """
pixmix verify baked
pixmix verify baked --repair
pixmix verify baked --rebake-sample 100
pixmix verify baked --finish
pixmix verify mixing/fractals --json | jq -r .path
"""

_AGAIN = "Baking again"


@click.command("verify", cls=options.Command, examples=EXAMPLES)
@click.argument("path", type=options.AnyPath())
@option(
    "--finish",
    is_flag=True,
    help="First write the manifest of a set that --shard runs have filled, should the last of them "
    "not have come to that.",
)
@option(
    "--repair",
    is_flag=True,
    section=_AGAIN,
    help="Bake again what is missing, cut off or changed, and nothing else; remove leftovers. The "
    "result has the bytes that were recorded.",
)
@option(
    "--rebake-sample",
    type=click.IntRange(1),
    metavar="N",
    section=_AGAIN,
    show_default=False,
    help="Bake N pictures, chosen by --seed, once more and compare them with what lies there.",
)
@option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    section=_AGAIN,
    help="Chooses the pictures of --rebake-sample.",
)
@option(
    "--source",
    type=options.AnyPath(),
    section=_AGAIN,
    show_default="where the manifest says",
    help="Where the source of the baked set lies now.",
)
@option(
    "--mixing-set",
    "mixing_sets",
    type=options.AnyPath(),
    multiple=True,
    metavar="PATH",
    section=_AGAIN,
    show_default="where the manifest says",
    help="Where its mixing sets lie now, in the same order.",
)
@options.workers_option
@options.terminal_options
def command(
    path: AnyPath,
    finish: bool,
    repair: bool,
    rebake_sample: int | None,
    seed: int,
    source: AnyPath | None,
    mixing_sets: tuple[AnyPath, ...],
    workers: int | None,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
) -> int:
    """Check PATH, a folder or URL, against its manifest: hashes, counts, labels, and whether every
    picture decodes.

    Prints one line for each problem and exits 1 when there is any that it could not repair.
    """
    from pixmix_cli.outputs.mirror import at_hand
    from pixmix_cli.pipelines import verify
    from pixmix_cli.pipelines.engines.local import default_workers
    from pixmix_cli.pipelines.left_over import finish_left_over

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    workers = workers or default_workers()
    with at_hand(path) as (folder, elsewhere):
        if finish:
            finish_left_over(folder, elsewhere)
        checklist = verify.checklist_of(folder)
        recorded = None
        if elsewhere is not None and (repair or rebake_sample):
            raise click.UsageError("--repair and --rebake-sample need a local folder")
        if repair or rebake_sample:
            recorded = _open_recorded(checklist, source, mixing_sets, workers, terminal)
        problems = _check(terminal, checklist, workers, elsewhere)
        if repair and problems:
            assert recorded is not None
            problems = _repair(terminal, recorded, problems, workers)
        if rebake_sample:
            assert recorded is not None
            problems += _compare(terminal, recorded, rebake_sample, seed)
        if problems:
            found = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
            mend = "" if repair or elsewhere else _mend(path, checklist.manifest["command"])
            terminal.info(f"{found} in {path} ({checklist.total} pictures){mend}")
            return 1
        terminal.info(f"{path}: {checklist.total} pictures, all as written")
        return 0


def _mend(path: AnyPath, command: str) -> str:
    """What would mend an output of this command, if anything would."""
    return f". Try: pixmix verify {shlex.quote(str(path))} --repair" if command == "bake" else ""


def _open_recorded(
    checklist: Checklist,
    source: AnyPath | None,
    mixing_sets: tuple[AnyPath, ...],
    workers: int,
    terminal: Terminal,
) -> Recorded:
    from pixmix_cli.pipelines.bake import rebake
    from pixmix_cli.pipelines.bake.job import Running
    from pixmix_cli.sources.picture_cache import default_folder

    running = Running(workers, mixing_cache=default_folder())
    return rebake.open_recorded(
        checklist.path, checklist.manifest, running, terminal.warn, source, mixing_sets
    )


def _check(
    terminal: Terminal, checklist: Checklist, workers: int, elsewhere: Url | None
) -> list[Finding]:
    from pixmix_cli.pipelines import verify

    problems: list[Finding] = []
    with terminal.meter(checklist.total, "pic") as meter:
        for checked in verify.check(checklist, workers, elsewhere):
            problems.extend(_tell(terminal, elsewhere or checklist.path, checked.problems))
            meter.update(checked.pictures)
    return problems


def _repair(
    terminal: Terminal, recorded: Recorded, problems: list[Finding], workers: int
) -> list[Finding]:
    """Mend what can be mended; returns what is wrong still."""
    from pixmix_cli.pipelines import verify
    from pixmix_cli.pipelines.bake import rebake

    broken = {problem.path for problem in problems}
    pixmix_kernels.prepare("mixing")
    with terminal.meter(len(broken), "file") as meter:
        for finding in rebake.repair(recorded, broken):
            _tell(terminal, recorded.path, (finding,))
            meter.update(1)
    again = verify.only(verify.checklist_of(recorded.path), broken)
    return [problem for checked in verify.check(again, workers) for problem in checked.problems]


def _compare(terminal: Terminal, recorded: Recorded, count: int, seed: int) -> list[Finding]:
    from pixmix_cli.pipelines.bake import rebake

    problems: list[Finding] = []
    checks = rebake.choose(recorded, count, seed)
    total = sum(len(check.places) for check in checks)
    pixmix_kernels.prepare("mixing")
    with terminal.meter(total, "pic") as meter:
        for pictures, found in rebake.compare(recorded, checks):
            problems.extend(_tell(terminal, recorded.path, found))
            meter.update(pictures)
    terminal.info(f"{recorded.path}: {total} pictures baked again, {len(problems)} differences")
    return problems


def _tell(terminal: Terminal, root: Path | Url, findings: Iterable[Finding]) -> list[Finding]:
    """Problems and repairs on stdout, a line each; returns the problems."""
    problems = []
    for finding in findings:
        if terminal.as_json:
            terminal.emit(finding.to_json())
        else:
            terminal.line(f"{root / finding.path}: {finding.text}")
        if not finding.repaired:
            problems.append(finding)
    return problems
