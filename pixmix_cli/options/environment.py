"""Environment variables that set options: PIXMIX_, the command, the option's long name."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping

import click

from pixmix_cli.errors import InputError
from pixmix_cli.terminal import say

PREFIX = "PIXMIX_"
# What sets no option; the last one is read by the script that builds wheels.
OTHERS = frozenset({"PIXMIX_CACHE_DIR", "PIXMIX_KERNELS", "PIXMIX_WHEEL"})


def variable(command: str, option: str) -> str:
    """The variable that sets an option: --shard of bake by PIXMIX_BAKE_SHARD."""
    return PREFIX + "_".join([command, option.removeprefix("--")]).replace("-", "_").upper()


def name_variables(command: str, parameters: list[click.Parameter]) -> None:
    """Give every option the variable that its long name says."""
    for parameter in parameters:
        if isinstance(parameter, click.Option) and parameter.allow_from_autoenv:
            long = [name for name in parameter.opts if name.startswith("--")]
            if long:
                parameter.envvar = variable(command, long[0])


def check_variables(
    command: str,
    commands: list[str],
    parameters: list[click.Parameter],
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Refuse variables of this command that set nothing; warn of others that look like ours.

    commands  all there are: those of other commands are for them to check
    raises    InputError
    """
    known = [p.envvar for p in parameters if isinstance(p, click.Option) and p.envvar]
    own, others = variable(command, ""), tuple(variable(name, "") for name in commands)
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in OTHERS or name in known:
            continue
        near = difflib.get_close_matches(name, [*map(str, known), *OTHERS], n=1, cutoff=0.8)
        if name.startswith(own):
            hint = near[0] if near else f"pixmix {command} --help"
            raise InputError(f"{name} in the environment sets no option of {command}", hint)
        if not name.startswith(others):
            meant = f". Did you mean {near[0]}?" if near else ""
            say(f"pixmix: warning: {name} in the environment means nothing to pixmix{meant}")
