"""pixmix verify: is an output whole?"""

from __future__ import annotations

from pathlib import Path

import click

from pixmix_cli import options

EXAMPLES = """
pixmix verify baked
pixmix verify mixing/fractals --json | jq -r .path
"""


@click.command("verify", cls=options.Command, examples=EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path))
@options.workers_option
@options.terminal_options
def command(
    path: Path, workers: int | None, quiet: int, verbose: int, progress: str, as_json: bool
) -> int:
    """Check PATH against its manifest: hashes, counts, labels, and that every picture decodes.

    Prints one line for each problem and exits 1 when there is any.
    """
    from pixmix_cli.pipelines import verify
    from pixmix_cli.pipelines.engine import default_workers

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    plan = verify.plan(path)
    problems = 0
    with terminal.meter(plan.total, "pic") as meter:
        for checked in verify.run(plan, workers or default_workers()):
            for problem in checked.problems:
                problems += 1
                if as_json:
                    terminal.emit(problem)
                else:
                    terminal.line(f"{path / problem['path']}: {problem['problem']}")
            meter.update(checked.pictures)
    if problems:
        terminal.info(f"{problems} problems in {path} ({plan.total} pictures)")
        return 1
    terminal.info(f"{path}: {plan.total} pictures, all as written")
    return 0
