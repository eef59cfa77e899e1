"""Write docs/commands.md from the commands' own help, so that the two cannot drift apart.

python docs/make_commands.py docs/commands.md
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pixmix_cli.main import COMMANDS, cli


def main() -> None:
    """Write the file named on the command line."""
    parts = [
        "# Commands\n\nWritten by `make docs` from `pixmix COMMAND --help`. Every option can also "
        "be set by its environment\nvariable or in a TOML file (`--config`), in the order flag, "
        "environment, file, default.\n"
    ]
    context = click.Context(
        cli, info_name="pixmix", terminal_width=96, max_content_width=96, **cli.context_settings
    )
    context.auto_envvar_prefix = "PIXMIX"
    parts.append(f"```\n{cli.get_help(context)}\n```\n")
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert command is not None
        inner = click.Context(
            command, info_name=name, parent=context, terminal_width=96, max_content_width=96
        )
        parts.append(f"## pixmix {name}\n\n```\n{command.get_help(inner)}\n```\n")
    Path(sys.argv[1]).write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
