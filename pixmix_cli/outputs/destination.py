"""Where a run writes, and what it does with what is there already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pixmix_cli.outputs.part import Part
from pixmix_cli.outputs.run_plan import OutputState, RunPlan, check_allowed
from pixmix_cli.storage.remote import Url

STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a run writes, and what it does with what is there already.

    folder     the output, or the mirror of one elsewhere; STDOUT for a tar stream
    elsewhere  the output's URL, where `folder` is its mirror
    resume     go on with what is there; overwrite removes it first
    part       which part of the output this run makes, where several runs fill it
    """

    folder: Path
    elsewhere: Url | None = None
    resume: bool = False
    overwrite: bool = False
    part: Part | None = None

    @property
    def place(self) -> Path | Url:
        """The output as its user named it."""
        return self.elsewhere or self.folder

    @property
    def is_stream(self) -> bool:
        """Whether the output is a tar on stdout."""
        return self.folder == STDOUT

    @property
    def goes_on(self) -> bool:
        """Whether this run may add to what is there. A part always may."""
        return self.resume or self.part is not None

    def check(self, plan: RunPlan) -> OutputState:
        """The state of the output, provided that a run with this plan may write there.

        raises  OutputExistsError, ResumeMismatchError, InputError
        """
        return check_allowed(self.folder, plan, resume=self.goes_on, overwrite=self.overwrite)
