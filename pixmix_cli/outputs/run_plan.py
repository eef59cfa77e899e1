"""What decides the bytes of an output, and whether a run may go on with what is there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from pixmix_cli.errors import InputError, OutputExistsError, ResumeMismatchError
from pixmix_cli.outputs.file_names import MANIFEST, META, PLAN, TRASH
from pixmix_cli.outputs.part import Whole
from pixmix_cli.storage.files import canonical_json, sha256_hex
from pixmix_cli.storage.inside import check_real
from pixmix_cli.storage.json_types import checked


class _Read(TypedDict):
    path: str | list[str]  # recorded, not compared
    pictures: int
    sha256: str  # over names and lengths


# of the source of a baked set; `format` is one of sources.open.KINDS
_Source = TypedDict(
    "_Source", {"format": str, "split": str, "label-field": str, "path-field": str}, total=False
)


class Input(_Read, _Source):
    """What a run was given to read, as its manifest names it."""


class Totals(TypedDict):
    """What an output holds altogether: pictures, their bytes, and items that were skipped."""

    pictures: int
    bytes: int
    skipped: int


class FractalTotals(Totals, total=False):
    """Of fractals also how many were drawn and thrown away; of a baked set what it holds.

    Baked sets that were finished earlier record no more than Totals.
    """

    rejected: int
    samples: int  # of a copy
    copies: int  # augmented ones
    plain: int  # copies without PixMix
    classes: int


class Settled(TypedDict):
    """What decides the bytes of an output, as manifest.json and plan.json hold it."""

    tool: str
    command: str
    options: dict[str, Any]
    versions: dict[str, str]
    inputs: Mapping[str, Input]
    settings_sha256: str


class Ending(TypedDict):
    """What manifest.json holds besides, once the run has ended."""

    summary: FractalTotals
    made_with: dict[str, str]  # library -> version


class Manifest(Settled, total=False):
    """manifest.json, or plan.json of a run under way, which has no ending."""

    summary: FractalTotals
    made_with: dict[str, str]


SHOWN = 200  # characters of a setting in an error message


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What decides the bytes of an output.

    command   "generate-fractals", "render-featvis" or "bake"
    options   option name (without dashes) -> value, for every option that changes a byte
    versions  what else changes a byte: codec, Pillow, our own algorithms' versions
    inputs    name -> {"path", "pictures", "sha256"}; the path is recorded, not compared
    defaults  of options that are left out where they have this value: for messages only
    """

    command: str
    options: dict[str, Any]
    versions: dict[str, str]
    inputs: Mapping[str, Input]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_manifest(cls, manifest: Settled) -> RunPlan:
        """The plan of the run that wrote a manifest."""
        names = ("command", "options", "versions", "inputs")
        return cls(*(manifest[name] for name in names))  # type: ignore[literal-required]

    def settings_sha256(self) -> str:
        """Hash of all that must be equal for a resume."""
        digests = {name: value["sha256"] for name, value in self.inputs.items()}
        return sha256_hex(
            canonical_json([self.command, self.options, self.versions, digests]).encode()
        )

    def to_json(self) -> Settled:
        """The plan as manifest.json and plan.json hold it."""
        return {
            "tool": "pixmix",
            "command": self.command,
            "options": self.options,
            "versions": self.versions,
            "inputs": self.inputs,
            "settings_sha256": self.settings_sha256(),
        }


@dataclass(frozen=True, slots=True)
class OutputState:
    """What is in an output folder before a run.

    status   "absent", "unfinished" or "finished"
    plan     of the run that made it or is making it; of a finished one its manifest
    whole    of an unfinished one that parts fill: what it is to be
    """

    status: str
    plan: Manifest | None = None
    whole: Whole | None = None


def look(path: Path) -> OutputState:
    """The state of an output folder; changes nothing.

    raises  InputError when it is a file, or holds files that pixmix did not write
    """
    if not path.exists():
        for place in (path, *path.parents):
            if place.is_symlink() and not place.exists():
                what = "output" if place == path else f"output {path} cannot be made:"
                raise InputError(
                    f"{what} {place} is a link to {os.readlink(place)}, which is not there",
                    f"mkdir {os.readlink(place)}, or another --output",
                )
        return OutputState("absent")
    if not path.is_dir():
        raise InputError(f"output {path} is a file, not a folder", "another --output")
    check_real(path / META)
    for file in (path / MANIFEST, path / PLAN):
        if file.is_file():
            try:
                return _state(json.loads(file.read_bytes()), finished=file.name == MANIFEST)
            except (ValueError, RecursionError) as error:
                reason = " ".join(str(error).split())
                raise InputError(f"{file} is damaged: {reason}", "another --output") from None
    if any(entry.name != META for entry in path.iterdir()):
        raise InputError(
            f"output {path} is not empty and was not made by pixmix",
            "an --output that does not exist yet",
        )
    return OutputState("absent")


def _state(value: Any, *, finished: bool) -> OutputState:
    """What manifest.json or plan.json says. Raises ValueError for one that is not ours."""
    inputs = value.get("inputs") if isinstance(value, dict) else None
    for name, one in inputs.items() if isinstance(inputs, dict) else ():
        checked(Input, one, f"inputs.{name}")
    plan = checked(Manifest, value)
    if plan["tool"] != "pixmix":
        raise ValueError("tool is not pixmix")
    # so a setting that was changed, or lost, is noticed whatever it is
    if plan["settings_sha256"] != RunPlan.from_manifest(plan).settings_sha256():
        raise ValueError("settings_sha256 is not that of command, options, versions and inputs")
    if finished:
        checked(Ending, value)
        return OutputState("finished", plan)
    whole = value.get("whole")
    return OutputState("unfinished", plan, None if whole is None else Whole.from_json(whole))


def check_allowed(path: Path, plan: RunPlan, *, resume: bool, overwrite: bool) -> OutputState:
    """The state of an output, provided that a run with this plan may write there.

    raises  OutputExistsError, ResumeMismatchError, InputError
    """
    state = look(path)
    if state.status == "absent" or overwrite:
        return state
    if (path / META / TRASH).exists():
        raise OutputExistsError(
            f"an --overwrite of output {path} was killed as it began", "--overwrite again"
        )
    if not resume:
        what = "is there already" if state.status == "finished" else "holds an unfinished run"
        raise OutputExistsError(
            f"output {path} {what}",
            "--resume to go on, --overwrite to begin anew, another --output",
        )
    assert state.plan is not None
    difference = describe_difference(state.plan, plan)
    if difference:
        raise ResumeMismatchError(
            f"{path} {difference}", "the same settings, another --output, or --overwrite"
        )
    return state


def describe_difference(old: Manifest, new: RunPlan) -> str | None:
    """What keeps a run from going on with an older one's work, in words, or None.

    old  plan.json or manifest.json of the older run
    """
    if old["settings_sha256"] == new.settings_sha256():
        return None
    if old["command"] != new.command:
        return f"was made by pixmix {old['command']}, this run is pixmix {new.command}"
    changes = []
    groups: tuple[tuple[str, Mapping[str, Any], Mapping[str, Any]], ...] = (
        ("--", {**new.defaults, **old["options"]}, {**new.defaults, **new.options}),
        ("", old["versions"], new.versions),
    )
    for dashes, then, now in groups:
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                before, after = shown(then.get(name)), shown(now.get(name))
                changes.append(f"{dashes}{name} {before}, this run has {dashes}{name} {after}")
    none: Mapping[str, Any] = {}
    for name in sorted({*old["inputs"], *new.inputs}):
        read, reads = old["inputs"].get(name, none), new.inputs.get(name, none)
        if read.get("sha256") != reads.get("sha256"):
            changes.append(
                f"other pictures in {name}: {read.get('pictures', 'no')} then, "
                f"{reads.get('pictures', 'no')} now, or their names or sizes changed"
            )
    return "was made with " + "; ".join(changes or ["settings that cannot be compared"])


def shown(value: Any) -> str:
    """A setting in an error message; of one that is very long, the begin."""
    text = _text(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, list):
        return ",".join(str(v) for v in value) or "(none)"
    return "(none)" if value is None else str(value)
