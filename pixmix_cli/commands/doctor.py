"""pixmix doctor: what would be slow or fail here?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from pixmix_cli import options

EXAMPLES = """
pixmix doctor
pixmix doctor /scratch/baked --json | jq -r 'select(.status != "ok").hint'
"""


@click.command("doctor", cls=options.Command, examples=EXAMPLES)
@click.argument("folder", type=options.LocalPath(), default=Path())
@options.terminal_options
def command(folder: Path, quiet: int, verbose: int, progress: str, as_json: bool) -> int:
    """Look at packages, cores, memory, disk, kernels, GPU and weights.

    FOLDER is where you want to write, by default here. Prints one line for each thing looked at:
    ok, slow (it works and could be faster) or fail (a command would not work), and what would mend
    it. Exits 1 when anything would fail.
    """
    from pixmix_cli.pipelines import doctor

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    counts: Counter[str] = Counter()
    for finding in doctor.examine(folder):
        counts[finding.status] += 1
        if as_json:
            terminal.emit(finding.to_json())
        elif finding.status != "ok" or not quiet:
            hint = f". Try: {finding.hint}" if finding.hint else ""
            terminal.line(f"{finding.status:<5}{finding.name:<15}{finding.text}{hint}")
    terminal.info(f"{counts['ok']} ok, {counts['slow']} slow, {counts['fail']} would fail")
    return 1 if counts["fail"] else 0
