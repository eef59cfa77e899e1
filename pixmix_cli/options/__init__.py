"""The command line's options: those that commands share, their types, the help page, the jobs."""

from pixmix_cli.options.help_page import Command, compose, option
from pixmix_cli.options.jobs import job_settings, make_terminal, mixing_set_job
from pixmix_cli.options.shared import (
    MAX_COUNT,
    dry_run_option,
    engine_options,
    existing_options,
    image_format_option,
    mixing_set_options,
    part_option,
    paths_argument,
    quality_option,
    seed_option,
    terminal_options,
    workers_option,
)
from pixmix_cli.options.types import AnyPath, LocalPath, NameIn, OneOf, ShardSize, WeightedPath

__all__ = [
    "MAX_COUNT",
    "AnyPath",
    "Command",
    "LocalPath",
    "NameIn",
    "OneOf",
    "ShardSize",
    "WeightedPath",
    "compose",
    "dry_run_option",
    "engine_options",
    "existing_options",
    "image_format_option",
    "job_settings",
    "make_terminal",
    "mixing_set_job",
    "mixing_set_options",
    "option",
    "part_option",
    "paths_argument",
    "quality_option",
    "seed_option",
    "terminal_options",
    "workers_option",
]
