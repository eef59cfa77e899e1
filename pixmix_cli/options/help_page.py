"""Options in sections of a help page that opens with examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pixmix_cli.options.environment import check_variables, name_variables

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
        name_variables(self.name or "", self.params)

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, once nothing in the environment is misspelt."""
        group = ctx.parent.command if ctx.parent is not None else None
        commands = group.list_commands(ctx) if isinstance(group, click.Group) else []
        check_variables(self.name or "", commands, self.params)
        return super().invoke(ctx)

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
