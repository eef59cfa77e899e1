"""Write man pages from the commands' own help, by click-man.

python docs/make_man.py build/man && man -l build/man/pixmix-bake.1
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import click
from click_man.core import generate_man_page

from pixmix_cli import __version__
from pixmix_cli.main import COMMANDS, cli


def main() -> None:
    """Write pixmix.1 and pixmix-COMMAND.1 into the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", time.time()))
    date = time.strftime("%Y-%m-%d", time.gmtime(epoch))
    group = click.Context(cli, info_name="pixmix")
    group.auto_envvar_prefix = "PIXMIX"
    pages = {"pixmix": group}
    for name, (_, summary) in COMMANDS.items():
        command = cli.get_command(group, name)
        assert command is not None
        command.short_help = summary
        cli.add_command(command, name)  # click-man lists what was added
        pages[f"pixmix-{name}"] = click.Context(command, info_name=name, parent=group)
    for name, context in pages.items():
        page = generate_man_page(context, version=__version__, date=date)
        (folder / f"{name}.1").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
