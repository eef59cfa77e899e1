"""Options that several commands share, and the help page they appear on."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import click

from pixmix_cli.errors import InputError
from pixmix_cli.storage.remote import Url, is_url
from pixmix_cli.terminal import Terminal

if TYPE_CHECKING:
    from pixmix_cli.outputs.part import Part
    from pixmix_cli.pipelines.engines.local import Engine

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option that belongs to a section of the help page."""

    def __init__(self, *args: Any, section: str = "Options", **kwargs: Any) -> None:
        """As click.Option, and the section's title."""
        kwargs.setdefault("show_default", True)
        kwargs.setdefault("show_envvar", True)
        super().__init__(*args, **kwargs)
        self.section = section


class Command(click.Command):
    """A command whose help opens with an example and lists its options in sections."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        """As click.Command, and example command lines, one a line."""
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Usage, examples, description, options."""
        self.format_usage(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")
        self.format_help_text(ctx, formatter)
        self.format_options(ctx, formatter)
        self.format_epilog(ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, section by section in the order of first appearance."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                title = getattr(parameter, "section", "Other")
                sections.setdefault(title, []).append(record)
        for title, records in sections.items():
            with formatter.section(title):
                formatter.write_dl(records)


@dataclass(frozen=True, slots=True)
class Bytes:
    """A length in bytes, where a plain number would count something else."""

    count: int


class AnyPath(click.Path):
    """A local path, as pathlib.Path, or a URL, as Url."""

    def __init__(self, **kwargs: Any) -> None:
        """As click.Path."""
        super().__init__(path_type=Path, **kwargs)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The place that a text names."""
        if isinstance(value, str) and is_url(value):
            return Url(value)
        return super().convert(value, param, ctx)


class LocalPath(AnyPath):
    """A local path; a URL is refused by name."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path that a text names."""
        path = super().convert(value, param, ctx)
        if isinstance(path, Url):
            what = "this" if param is None else param.human_readable_name
            self.fail(f"{value} is a URL, and {what} takes local paths only", param, ctx)
        return path


class WeightedPath(click.ParamType):
    """PATH or PATH:WEIGHT as text; several in an environment variable have : between them."""

    name = "path"

    def split_envvar_value(self, rv: str) -> list[str]:
        """Apart at every colon but those before a weight."""
        parts: list[str] = []
        for part in rv.split(os.pathsep):
            weight = part.replace(".", "", 1).isdecimal() and not os.path.exists(part)
            if parts and (weight or (part.startswith("//") and is_url(f"{parts[-1]}:{part}"))):
                parts[-1] += f":{part}"
            elif part:
                parts.append(part)
        return parts


class ShardSize(click.ParamType):
    """A number of samples, or Bytes: 1000, 256MB, 1GiB."""

    name = "N|BYTES"
    _UNITS: ClassVar[dict[str, int]] = {
        **{"kb": 10**3, "mb": 10**6, "gb": 10**9},
        **{"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30},
    }

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Bytes | int:
        """The number of samples, or of bytes where a unit follows."""
        if isinstance(value, (int, Bytes)):
            return value
        match = re.fullmatch(r"([0-9]{1,12}) ?([a-z]*)", str(value).strip().lower())
        number, unit = (int(match[1]), match[2]) if match else (0, "")
        if number == 0 or unit not in ("", *self._UNITS):
            self.fail(f"{value!r} is neither a number of samples nor of bytes, as 1000 or 256MB")
        return Bytes(number * self._UNITS[unit]) if unit else number


def option(*names: str, section: str = "Options", **kwargs: Any) -> Callable[[F], F]:
    """click.option with a help section."""
    return click.option(*names, cls=GroupedOption, section=section, **kwargs)


def compose(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """One decorator that stands for several, in the order given."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


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
    except (OSError, ValueError) as error:
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


MAX_COUNT = 100_000_000  # pictures of a set; beyond it is surely a slip
_RUNNING = "Running"

paths_argument = click.argument(
    "paths", type=LocalPath(), nargs=-1, required=True, metavar="PATH..."
)

seed_option = option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    section="Output",
    help="Same seed, same bytes, for any number of workers.",
)
image_format_option = option(
    "--image-format",
    type=click.Choice(["jpeg", "png", "webp"]),
    default="jpeg",
    section="Output",
    help="jpeg is 4:4:4; png and webp are lossless.",
)
quality_option = option(
    "--quality", type=click.IntRange(1, 100), default=95, section="Output", help="JPEG quality."
)
existing_options = compose(
    option(
        "--resume",
        is_flag=True,
        section=_RUNNING,
        help="Go on with an unfinished output, or grow a finished one.",
    ),
    option(
        "--overwrite",
        is_flag=True,
        section=_RUNNING,
        help="Remove what pixmix wrote at the output, then begin.",
    ),
)
part_option = option(
    "--shard",
    "part",
    metavar="I/N|auto",
    section=_RUNNING,
    show_default="all of it",
    help="Make part I (from 0) of N of the output, beside runs that make the others, here or on "
    "other machines that see the same folder; goes on with what is there. The last to end writes "
    "the manifest. auto: from SLURM_ARRAY_TASK_ID and _COUNT, or RANK and WORLD_SIZE.",
)
engine_options = compose(
    option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        section=_RUNNING,
        help="Who runs the workers: this process, or Ray (pip install 'pixmix[ray]').",
    ),
    option(
        "--ray-address",
        metavar="ADDRESS",
        section=_RUNNING,
        show_default="a Ray of its own on this machine",
        help="A Ray cluster, as auto or ray://head:10001; its nodes must see the same paths.",
    ),
)
dry_run_option = option(
    "--dry-run", is_flag=True, section=_RUNNING, help="Print the plan and write nothing."
)
workers_option = option(
    "-j",
    "--workers",
    type=click.IntRange(1),
    default=None,
    section=_RUNNING,
    show_default="all cores",
    help="Worker processes; never changes a byte.",
)


terminal_options = compose(
    option(
        "--json",
        "as_json",
        is_flag=True,
        section=_RUNNING,
        help="One JSON record an artefact on stdout instead of its path.",
    ),
    option(
        "--progress",
        type=click.Choice(["auto", "bar", "json", "none"]),
        default="auto",
        section=_RUNNING,
        help="Progress on stderr; auto: a bar on a terminal.",
    ),
    option(
        "-q",
        "--quiet",
        count=True,
        section=_RUNNING,
        show_default=False,
        help="No progress bar; -qq: errors only.",
    ),
    option(
        "-v",
        "--verbose",
        count=True,
        section=_RUNNING,
        show_default=False,
        help="More messages.",
    ),
    option(
        "--debug",
        is_flag=True,
        allow_from_autoenv=False,
        show_envvar=False,
        section=_RUNNING,
        expose_value=False,
        help="Show Python tracebacks.",
    ),
    option(
        "--config",
        type=LocalPath(),
        is_eager=True,
        expose_value=False,
        callback=load_config,
        section=_RUNNING,
        metavar="FILE",
        help="TOML file of defaults: a [COMMAND] table of option names.",
    ),
)


def make_terminal(quiet: int, verbose: int, progress: str, as_json: bool) -> Terminal:
    """The terminal that the shared options ask for."""
    return Terminal(quiet=quiet, verbose=verbose, progress=progress, as_json=as_json)


def check_existing(resume: bool, overwrite: bool) -> None:
    """Refuse two contrary wishes."""
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")


def chosen_part(text: str | None, overwrite: bool) -> Part | None:
    """The part of the work that --shard names. Raises InputError."""
    if text is None:
        return None
    from pixmix_cli.outputs.part import part_from

    if overwrite:
        raise click.UsageError("--shard and --overwrite exclude each other: parts share the output")
    return part_from(text, os.environ)


def chosen_engine(
    name: str, ray_address: str | None, workers: int | None, *places: object
) -> tuple[Engine, int]:
    """What runs the tasks, and how many at a time. Starts Ray where it is wanted.

    places  that are read and written; memory:// lies in this process, so there is no other worker
    """
    from pixmix_cli.pipelines.engines.local import default_workers, run_tasks

    if any(isinstance(place, Url) and place.protocol == "memory" for place in places):
        return run_tasks, 1
    if name == "local":
        if ray_address is not None:
            raise click.UsageError("--ray-address is for --engine ray")
        return run_tasks, workers or default_workers()
    from pixmix_cli.pipelines.engines.ray import RayEngine, connect

    cluster = connect(ray_address, workers)
    return RayEngine(), workers or cluster.cpus


def is_stdout(output: Path | Url, resume: bool, overwrite: bool) -> bool:
    """Whether -o - asks for a tar on stdout; refused where that makes no sense."""
    if str(output) != "-":
        return False
    if resume or overwrite:
        raise click.UsageError("--resume and --overwrite need a folder, not -o -")
    if sys.stdout.isatty():
        raise InputError(
            "-o - would write a tar to this terminal", "a pipe or > file.tar, or -o FOLDER"
        )
    return True


mixing_set_options = compose(
    option(
        "-o",
        "--output",
        type=AnyPath(allow_dash=True),
        metavar="PATH",
        section="Output",
        help="Folder to write, or its URL as s3://...; - streams a tar to stdout.",
    ),
    option(
        "--format",
        type=click.Choice(["folder", "webdataset"]),
        default="folder",
        section="Output",
        help="Loose files, 1,000 a folder, or tar shards.",
    ),
    image_format_option,
    quality_option,
    option(
        "--shard-size",
        type=click.IntRange(1),
        default=1000,
        section="Output",
        help="webdataset: pictures a shard.",
    ),
    seed_option,
)


@contextlib.contextmanager
def job_settings(
    output: Path | Url | None,
    *inputs: object,
    workers: int | None,
    resume: bool,
    overwrite: bool,
    part: str | None,
    engine: str,
    ray_address: str | None,
    **others: Any,
) -> Iterator[dict[str, Any]]:
    """What every making command's job says of where it writes and who works, and `others`."""
    from pixmix_cli.outputs.mirror import at_hand

    check_existing(resume, overwrite)
    run, at_once = chosen_engine(engine, ray_address, workers, *inputs, output)
    with at_hand(output) as (folder, elsewhere):
        yield {
            "output": folder,
            "elsewhere": elsewhere,
            "workers": at_once,
            "engine": run,
            "resume": resume,
            "overwrite": overwrite,
            "part": chosen_part(part, overwrite),
            **others,
        }


@contextlib.contextmanager
def mixing_set_job(
    output: Path | Url | None, resume: bool, overwrite: bool, **shared: Any
) -> Iterator[Any]:
    """A MixingSetJob from the shared options; `shared` as for `job_settings`."""
    from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob

    if output is None:
        raise click.UsageError("Missing option '-o' / '--output'.")
    streamed = is_stdout(output, resume, overwrite)
    with job_settings(
        None if streamed else output, resume=resume, overwrite=overwrite, **shared
    ) as settings:
        yield MixingSetJob(**settings)
