"""--config: defaults from a TOML file."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import Any

import click

from pixmix_cli.errors import InputError


def load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Take defaults from a TOML file: [bake] k = 3. Flags and environment win over it."""
    if value is None or ctx.resilient_parsing:
        return value
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        document = tomllib.loads(value.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--config {value} cannot be read: {error}") from None
    name = ctx.info_name or ""
    if ctx.parent is not None and isinstance(ctx.parent.command, click.Group):
        _check_tables(value, document, ctx.parent.command.list_commands(ctx.parent))
    options = {
        long.removeprefix("--"): parameter
        for parameter in ctx.command.params
        if isinstance(parameter, click.Option) and parameter.expose_value
        for long in parameter.opts
        if long.startswith("--")
    }
    defaults: dict[str, Any] = {}
    for key, setting in document.get(name, {}).items():
        if key not in options:
            near = difflib.get_close_matches(key, options, n=1)
            hint = near[0] if near else f"pixmix {name} --help"
            raise InputError(f"--config {value}: [{name}] has no option {key!r}", hint)
        parameter = options[key]
        if isinstance(setting, (str, int, float)) and not isinstance(setting, bool):
            setting = [str(setting)] if parameter.multiple else str(setting)
        elif isinstance(setting, list) and parameter.multiple:
            setting = [str(item) for item in setting]
        elif not (isinstance(setting, bool) and parameter.is_flag):
            raise InputError(f"--config {value}: [{name}] {key} cannot be {setting!r}")
        defaults[parameter.name or key] = setting
    ctx.default_map = {**(ctx.default_map or {}), **defaults}
    return value


def _check_tables(file: Path, document: dict[str, Any], commands: list[str]) -> None:
    """Refuse what no command would read."""
    for key, table in document.items():
        if key not in commands or not isinstance(table, dict):
            near = difflib.get_close_matches(key, commands, n=1)
            hint = f"[{near[0] if near else 'bake'}] and the options below it"
            raise InputError(f"--config {file}: {key!r} is not the table of a command", hint)
