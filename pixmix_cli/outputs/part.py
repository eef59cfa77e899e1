"""A part of an output: what one of several runs makes that fill the output together.

Nobody hands the work out. Work is counted in units (a shard, or some loose pictures); unit u
belongs to part u mod n, whatever the others do, and since every unit is a function of the settings
and its number, n parts make the bytes of one run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pixmix_cli.errors import InputError
from pixmix_cli.storage.json_types import checked

MAX_PARTS = 100_000
UNITS_A_PART = 4  # loose pictures: at least so many units a part, so that parts are about equal


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """Part `index` of `count`: 0/4 to 3/4. Checked when made; raises InputError."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MAX_PARTS:
            raise InputError(f"--shard {self}: there can be 1 to {MAX_PARTS} parts", "--shard 0/4")
        if not 0 <= self.index < self.count:
            raise InputError(
                f"--shard {self}: the {self.count} parts are 0/{self.count} to "
                f"{self.count - 1}/{self.count}",
                f"--shard {self.count - 1}/{self.count} for the last",
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @property
    def name(self) -> str:
        """`00003-of-00016`, for names of files."""
        return f"{self.index:05d}-of-{self.count:05d}"

    def has(self, unit: int) -> bool:
        """Whether a unit of work belongs to this part."""
        return unit % self.count == self.index

    def unit(self, total: int, most: int, least: int = 1) -> int:
        """Loose pictures a unit: at most `most`, fewer where parts would be unequal.

        least  pictures that must stay together; the result is a multiple of it
        """
        wanted = min(most, max(1, total // (self.count * UNITS_A_PART)))
        return max(least, wanted // least * least)


@dataclass(frozen=True, slots=True)
class Whole:
    """What an output that several runs fill will be, so that any of them can finish it.

    layout     counts that say when it is complete: of a mixing set `pictures`; of a baked set
               `samples` and `shard_size` of a copy, `copies` and `plain`
    extras     name -> text of the small files beside the manifest
    made_with  library -> version, for the manifest
    """

    layout: dict[str, int]
    extras: dict[str, str] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plan.json holds it."""
        return {"layout": self.layout, "extras": self.extras, "made_with": self.made_with}

    @classmethod
    def from_json(cls, value: Any) -> Whole:
        """Read back. Raises ValueError when it is damaged."""
        whole = checked(cls, value, "whole")
        for name in whole.extras:
            if re.fullmatch(r"[A-Za-z]+\.[a-z]+", name) is None:
                raise ValueError(f"whole.extras: {name} is no name of a file")
        return whole


def part_from(text: str, environment: Mapping[str, str]) -> Part:
    """The part that `--shard TEXT` names.

    text     "i/n" with i from 0, or "auto": from the variables of Slurm's job arrays
             (SLURM_ARRAY_TASK_ID, _COUNT, _MIN, _STEP) or of torchrun and its like (RANK,
             WORLD_SIZE)
    raises   InputError
    """
    if text == "auto":
        return _from_environment(environment)
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if match is None:
        raise InputError(f"--shard {text} is neither i/n nor auto", "--shard 0/4 to --shard 3/4")
    return Part(int(match[1]), int(match[2]))


def _from_environment(environment: Mapping[str, str]) -> Part:
    array = "SLURM_ARRAY_TASK_ID" in environment
    ranks = "RANK" in environment and "WORLD_SIZE" in environment
    if array and ranks:
        raise InputError(
            "--shard auto finds both SLURM_ARRAY_TASK_ID and RANK, and cannot tell which to follow",
            "unset one of them, or --shard i/n",
        )
    if array:
        number = _number(environment, "SLURM_ARRAY_TASK_ID")
        first = _number(environment, "SLURM_ARRAY_TASK_MIN", 0)
        step = _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
        count = _number(environment, "SLURM_ARRAY_TASK_COUNT")
        place, rest = divmod(number - first, max(1, step))
        if rest or not 0 <= place < count:
            raise InputError(
                f"--shard auto: task {number} is none of {count} evenly numbered tasks from "
                f"{first} on",
                "an array without gaps (sbatch --array=0-15), or --shard i/n",
            )
        return Part(place, count)
    if ranks:
        return Part(_number(environment, "RANK"), _number(environment, "WORLD_SIZE"))
    raise InputError(
        "--shard auto finds neither SLURM_ARRAY_TASK_ID and SLURM_ARRAY_TASK_COUNT nor RANK and "
        "WORLD_SIZE in the environment",
        "--shard i/n",
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or re.fullmatch(r"[0-9]{1,9}", text) is None:
        raise InputError(f"--shard auto: {name} is {text!r}, not a number", "--shard i/n")
    return int(text)
