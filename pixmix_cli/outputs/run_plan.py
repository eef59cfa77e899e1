"""What decides the bytes of an output, and whether a run may go on with what is there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixmix_cli.errors import InputError, OutputExistsError, ResumeMismatchError
from pixmix_cli.outputs.rows import MANIFEST, META, PLAN
from pixmix_cli.storage.files import canonical_json, sha256_hex


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What decides the bytes of an output.

    command   "generate-fractals", "render-featvis" or "bake"
    options   option name (without dashes) -> value, for every option that changes a byte
    versions  what else changes a byte: codec, Pillow, our own algorithms' versions
    inputs    name -> {"path", "pictures", "sha256"}; the path is told, not compared
    """

    command: str
    options: dict[str, Any]
    versions: dict[str, str]
    inputs: dict[str, dict[str, Any]]

    def settings_sha256(self) -> str:
        """Hash of all that must be equal for a resume."""
        digests = {name: value["sha256"] for name, value in self.inputs.items()}
        return sha256_hex(
            canonical_json([self.command, self.options, self.versions, digests]).encode()
        )

    def to_json(self) -> dict[str, Any]:
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
    """What is in an output folder before a run: "absent", "unfinished" or "finished"."""

    status: str
    plan: dict[str, Any] | None


def look(path: Path) -> OutputState:
    """The state of an output folder; changes nothing.

    raises  InputError when it is a file, or holds files that pixmix did not write
    """
    if not path.exists():
        return OutputState("absent", None)
    if not path.is_dir():
        raise InputError(f"output {path} is a file, not a folder", "another --output")
    for status, name in (("finished", MANIFEST), ("unfinished", PLAN)):
        file = path / name
        if file.is_file():
            try:
                plan = json.loads(file.read_bytes())
            except (ValueError, RecursionError) as error:
                raise InputError(f"{file} is damaged: {error}", "another --output") from None
            _check_plan(plan, file)
            return OutputState(status, plan)
    if any(entry.name != META for entry in path.iterdir()):
        raise InputError(
            f"output {path} is not empty and was not made by pixmix",
            "an --output that does not exist yet",
        )
    return OutputState("absent", None)


def _check_plan(plan: Any, file: Path) -> None:
    """Refuse a manifest.json or plan.json that is not one of ours."""
    parts = {"command": str, "options": dict, "versions": dict, "inputs": dict}
    whole = isinstance(plan, dict) and plan.get("tool") == "pixmix"
    if not whole or not all(isinstance(plan.get(name), kind) for name, kind in parts.items()):
        raise InputError(f"{file} was not written by pixmix, or is damaged", "another --output")
    if not all(isinstance(value, dict) for value in plan["inputs"].values()):
        raise InputError(f"{file} is damaged: inputs", "another --output")


def check_allowed(path: Path, plan: RunPlan, *, resume: bool, overwrite: bool) -> OutputState:
    """The state of an output, provided that a run with this plan may write there.

    raises  OutputExistsError, ResumeMismatchError, InputError
    """
    state = look(path)
    if state.status == "absent" or overwrite:
        return state
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


def describe_difference(old: dict[str, Any], new: RunPlan) -> str | None:
    """What keeps a run from going on with an older one's work, in words, or None.

    old  plan.json or manifest.json of the older run
    """
    if old.get("settings_sha256") == new.settings_sha256():
        return None
    if old.get("command") != new.command:
        return f"was made by pixmix {old.get('command')}, this run is pixmix {new.command}"
    changes = []
    for group, dashes in (("options", "--"), ("versions", "")):
        then, now = old.get(group, {}), getattr(new, group)
        for name in sorted({*then, *now}):
            if then.get(name) != now.get(name):
                before, after = shown(then.get(name)), shown(now.get(name))
                changes.append(f"{dashes}{name} {before}, this run has {dashes}{name} {after}")
    for name in sorted({*old.get("inputs", {}), *new.inputs}):
        then, now = old.get("inputs", {}).get(name, {}), new.inputs.get(name, {})
        if then.get("sha256") != now.get("sha256"):
            changes.append(
                f"other pictures in {name}: {then.get('pictures', 'no')} then, "
                f"{now.get('pictures', 'no')} now, or their names or sizes changed"
            )
    return "was made with " + "; ".join(changes or ["settings that cannot be compared"])


def shown(value: Any) -> str:
    """A setting in an error message."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    if isinstance(value, list):
        return ",".join(str(v) for v in value) or "(none)"
    return "(none)" if value is None else str(value)
