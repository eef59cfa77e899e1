"""The `pixmix` command: finds the subcommand, and turns every ending into its exit code."""

from __future__ import annotations

import pixmix_cli.early  # noqa: F401

# isort: split
import contextlib
import difflib
import gc
import importlib
import os
import sys
from typing import Any

import click

from pixmix_cli import own_packages, signals
from pixmix_cli.errors import PixMixError, StorageError
from pixmix_cli.limits import memory_limit
from pixmix_cli.signals import Endings, Stopped
from pixmix_cli.terminal import (
    ClosedPipe,
    abandon_stdout,
    nobody_reads,
    say,
    say_traceback,
    stdout_errors,
)

EXIT_INTERRUPT, EXIT_PIPE = 130, 141

# name: (module, one line for `pixmix --help`, which imports none of the modules)
COMMANDS = {
    "generate-fractals": ("generate_fractals", "Make the fractal half of a mixing set."),
    "render-featvis": ("render_featvis", "Make the feature-visualization half of a mixing set."),
    "bake": ("bake", "Write PixMix-augmented copies of a dataset as shards."),
    "verify": ("verify", "Check an output: hashes, counts, and that every picture decodes."),
    "inspect": ("inspect", "Measure sets of pictures: is a mixing set any good?"),
    "preview": ("preview", "Draw a contact sheet of a mixing set or a baked set."),
    "report": ("report", "Write a page that shows sets, their measures and their draws."),
    "doctor": ("doctor", "Say what would be slow or fail on this machine."),
}

EPILOG = """\b
Examples:
  pixmix generate-fractals -n 14230 --size 512 -o mixing/fractals
  pixmix render-featvis --model resnet50 --layers 'layer3*' -o mixing/featvis
  pixmix bake photos/train --mixing-set mixing -o baked --copies 8
  pixmix verify baked

\b
Exit codes: 0 done; 1 could not finish, or verify found something; 2 usage;
3 finished, but items were skipped (errors.jsonl lists them);
130 Ctrl-C; 141 closed pipe; 129, 131, 143 SIGHUP, SIGQUIT, SIGTERM."""


class LazyGroup(click.Group):
    """A group that imports a subcommand only to run it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every subcommand's name, in the order people use them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand itself."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"pixmix_cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does it, with the nearest name for a slip."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {near[0]}?" if near else f" There are {', '.join(COMMANDS)}."
            raise click.UsageError(f"no such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from pixmix_cli import __version__

        with stdout_errors():
            click.echo(f"pixmix {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "PIXMIX"},
    no_args_is_help=False,  # its behaviour differs between click versions; see run()
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def cli() -> None:
    """Make PixMix mixing sets and bake PixMix-augmented datasets."""


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code. Never raises on purpose."""
    if arguments[:1] == ["help"]:  # as git has it
        arguments = [*arguments[1:2], "--help"]
    debug = "--debug" in arguments
    name = next((a for a in arguments if a in COMMANDS), None)
    prefix = "pixmix" if name is None else f"pixmix {name}"
    try:
        foreign = own_packages.trouble()
        if foreign is not None:
            raise PixMixError(*foreign)
        if not arguments:
            with cli.make_context("pixmix", [], resilient_parsing=True) as ctx:
                click.echo(cli.get_help(ctx), err=True)
            return 2
        with cli.make_context("pixmix", list(arguments)) as ctx:
            result: Any = cli.invoke(ctx)
        with stdout_errors():
            sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as ending:
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.flush()
        return ending.exit_code
    except click.ClickException as error:
        message = " ".join(error.format_message().split())
        end = "" if message.endswith("?") else "."
        say(f"{prefix}: {message.rstrip('.')}{end} Try: {prefix} --help")
        return error.exit_code
    except ClosedPipe:
        return EXIT_PIPE
    except Stopped as stopped:
        return _stopped(stopped, name)
    except (KeyboardInterrupt, click.Abort):
        say(f"{prefix}: interrupted{_kept(name)}")
        return EXIT_INTERRUPT
    except Exception as error:
        cause = signals.behind(error)
        if cause is not None:
            return _stopped(cause, name)
        if debug:
            raise
        return _failed(error, prefix)


def _stopped(stopped: Stopped, name: str | None) -> int:
    """Say that a signal ended the run; returns the exit code."""
    word, code = stopped.tell()
    say(f"{'pixmix' if name is None else f'pixmix {name}'}: {word}{_kept(name)}")
    return code


def _failed(error: Exception, prefix: str) -> int:
    """Say what went wrong, on one line; returns the exit code."""
    if isinstance(error, PixMixError):
        more = "" if error.page is None else f" (docs/errors.md#{error.page})"
        say(f"{prefix}: {error}{more}")
        return error.exit_code
    from pixmix_kernels.errors import KernelError

    limit = memory_limit()
    allowed = "" if limit is None else f" ({limit})"
    if isinstance(error, KernelError):
        say(f"{prefix}: {error} (docs/errors.md#kernels)")
    elif isinstance(error, MemoryError):
        say(f"{prefix}: out of memory{allowed}. Try: fewer workers (-j) or a smaller --size")
    elif isinstance(error, OSError):
        if isinstance(error, BrokenPipeError) and nobody_reads():
            abandon_stdout()
            return EXIT_PIPE
        where = error.filename if isinstance(error.filename, str) else None
        say(f"{prefix}: {StorageError.from_os_error(error, where, 'using')}")
    else:
        reason = " ".join(str(error).split())
        kind = f"{type(error).__name__}: {reason[:300]}{allowed}"
        mend = "again with --debug" if limit is None else "ulimit -v unlimited"
        say(f"{prefix}: internal error: {kind}. Try: {mend}")
    return 1


def _kept(name: str | None) -> str:
    """What to say of the work that was under way."""
    if name not in ("generate-fractals", "render-featvis", "bake"):
        return ""
    return "; finished work is kept, add --resume to go on"


def open_missing_streams() -> None:
    """Give a process that was started with stdin, stdout or stderr closed somewhere to write."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def complete(instruction: str) -> int:
    """Answer the shell's question for completion (`_PIXMIX_COMPLETE=bash_source pixmix`)."""
    from click.shell_completion import shell_complete

    return shell_complete(cli, {}, "pixmix", "_PIXMIX_COMPLETE", instruction)


def main() -> None:
    """The console script."""
    open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        # file names need not be valid UTF-8; a pipe gets them as the file system gave them
        with contextlib.suppress(AttributeError):
            unicode = (stream.encoding or "").lower().replace("-", "") == "utf8"
            errors = "surrogateescape" if unicode else "backslashreplace"
            stream.reconfigure(errors=errors)  # type: ignore[union-attr]
    if instruction := os.environ.get("_PIXMIX_COMPLETE"):
        sys.exit(complete(instruction))
    sys.excepthook = say_traceback
    endings = Endings()
    try:
        endings.watch()
        code = run(sys.argv[1:])
    except Stopped as late:  # while another ending was being told
        code = late.tell()[1]
    endings.rest()
    # Python looks through every object once more before it ends; with torch loaded that takes a
    # good part of a second, and frees what the process gives back anyway
    gc.freeze()
    sys.exit(code)


if __name__ == "__main__":
    main()
