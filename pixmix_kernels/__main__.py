"""Build the kernels of a checkout or a wheel beforehand: `python -m pixmix_kernels`."""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pixmix_kernels import folders, libraries, processors
from pixmix_kernels.modules import FAMILIES


def build(into: Path, targets: list[str]) -> list[str]:
    """Make every family's libraries that are not there yet, side by side; what went wrong."""

    def one(family: str) -> str | None:
        done = libraries.build([family], targets, into)
        if done.returncode == 0:
            return None
        return f"{family}: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"

    into.mkdir(parents=True, exist_ok=True)
    _copy_packaged(into)
    missing = [
        family
        for family in FAMILIES
        if any(libraries.load(into, target, family, []) is None for target in targets)
    ]
    if not missing:
        return []
    say(f"compiling kernels for {', '.join(targets)}, once: about half a minute")
    begin = time.monotonic()
    with ThreadPoolExecutor() as pool:
        problems = [problem for problem in pool.map(one, missing) if problem]
    if not problems:
        say(f"compiled in {time.monotonic() - begin:.0f} s, into {into}")
    return problems


def _copy_packaged(into: Path) -> None:
    """Take what this checkout has of the same sources already: a wheel compiles nothing twice."""
    packaged = folders.packaged()
    if into != packaged and packaged.is_dir():
        for path in packaged.iterdir():
            shutil.copy(path, into)


def shipped() -> list[str]:
    """Targets of a wheel for this kind of machine."""
    x86 = [processors.V3, processors.BASE]
    return x86 if processors.is_x86() else list(processors.targets())


def say(text: str) -> None:
    """One line on stderr."""
    print(f"pixmix: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m pixmix_kernels", description=__doc__)
    parser.add_argument("--into", type=Path, default=None, metavar="FOLDER")
    parser.add_argument(
        "--targets", metavar="NAMES", help="with commas; else this processor's best"
    )
    parser.add_argument("--all", action="store_true", help="all that this processor runs")
    chosen = parser.parse_args()
    into = chosen.into or folders.packaged()
    mine = list(processors.targets() if chosen.all else processors.targets()[:1])
    problems = build(into, chosen.targets.split(",") if chosen.targets else mine)
    for problem in problems:
        say(f"kernels could not be compiled beforehand: {problem}")
    if chosen.into is None and not problems:
        folders.remove_other_stamps(into)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
