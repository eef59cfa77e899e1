"""What decides a baked set's bytes, written into its manifest and read back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

from pixmix_cli.errors import InputError
from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.file_names import MANIFEST, PLAN
from pixmix_cli.outputs.run_plan import Input, Manifest, RunPlan
from pixmix_cli.pipelines.bake.formats.base import Format
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import BakeJob, Files, Inputs, Running
from pixmix_cli.sources.mixing_set import MixingSet
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images
from pixmix_cli.storage.remote import any_path
from pixmix_cli.units import Bytes

ALGORITHM = "2"  # raise it when the same settings would give other bytes


class Case(NamedTuple):
    """A job that a setting is to be recorded of, and the setting's value and default."""

    job: BakeJob
    layout: Format
    value: Any
    default: Any


def _always(case: Case) -> bool:
    return True


def _if_unusual(case: Case) -> bool:
    return bool(case.value != case.default)


def _if_encoded(case: Case) -> bool:
    return case.layout.encoded


def _if_jpeg(case: Case) -> bool:
    return case.layout.encoded and case.job.files.image_format == "jpeg"


def _if_shards_show(case: Case) -> bool:
    return case.layout.sharded


def _same(value: Any) -> Any:
    return value


def _one_of(names: Iterable[str]) -> Callable[[Any], str]:
    """What reads a name, and raises ValueError for another."""

    def read(value: Any) -> str:
        if value not in list(names):
            raise ValueError(f"{value!r} is none of {', '.join(names)}")
        return str(value)

    return read


def _size_to_json(size: int | Bytes | None) -> int | str:
    return f"{size.count} bytes" if isinstance(size, Bytes) else size or "auto"


def _size_from_json(value: int | str) -> int | Bytes | None:
    number, _, unit = str(value).partition(" ")
    return None if value == "auto" else Bytes(int(number)) if unit else int(number)


@dataclass(frozen=True, slots=True)
class Setting:
    """An option that decides bytes: where a job has it, and where and when a manifest does.

    name   in manifest.json, without dashes
    field  of BakeJob, with dots
    when   whether it is recorded; a job that is read back has the field's default where it is not
    write  from the field's value to what JSON can hold; `read` is the way back
    """

    name: str
    field: str
    when: Callable[[Case], bool] = _always
    write: Callable[[Any], Any] = _same
    read: Callable[[Any], Any] = _same

    def default(self) -> Any:
        """The field's default."""
        group, _, name = self.field.rpartition(".")
        return next(field.default for field in fields(_GROUPS[group]) if field.name == name)


_GROUPS: dict[str, Any] = {"": BakeJob, "inputs": Inputs, "files": Files, "config": PixMixConfig}

# in the order in which manifest.json has them
SETTINGS = (
    Setting("preset", "config.geometry"),
    Setting("size", "config.size"),
    Setting("k", "config.k"),
    Setting("beta", "config.beta"),
    Setting("severity", "config.severity"),
    Setting("all-ops", "config.all_ops"),
    Setting("format", "files.format", read=_one_of(FORMATS)),
    Setting("shard-size", "files.shard_size", _always, _size_to_json, _size_from_json),
    Setting("seed", "seed", read=int),
    Setting("draws", "draws", _if_unusual, read=_one_of(("keyed", "reference"))),
    Setting("operations", "config.operations", _if_unusual, list, tuple),
    Setting("crop", "config.crop", _if_unusual),
    Setting("flip", "config.flip", _if_unusual),
    Setting("equal-shards", "files.equal", _if_unusual, read=_one_of(("pad", "drop-last"))),
    Setting("dali-index", "files.dali_index", _if_unusual),
    Setting("image-format", "files.image_format", _if_encoded, read=_one_of(images.FORMATS)),
    Setting("quality", "files.quality", _if_jpeg, read=int),
    Setting(
        "mixing-set weights",
        "inputs.mixing_weights",
        _if_unusual,
        list,
        lambda value: tuple(map(float, value)),
    ),
    Setting("max-pixels", "inputs.max_pixels", _if_unusual, read=int),
    Setting("shuffle", "files.shuffle", _if_shards_show),
    Setting("draws-json", "files.draws_json", _if_shards_show),
)


def run_plan(job: BakeJob, source: Source, mixing: MixingSet) -> RunPlan:
    """What decides the bytes, as the manifest holds it."""
    layout = FORMATS[job.files.format]
    versions = {"bake": ALGORITHM, **images.reader()}
    if layout.encoded:
        versions |= images.codec(job.files.image_format)
    versions |= layout.versions()
    if source.pictures[0].upright:
        versions["orientation"] = "as EXIF says"
    if job.draws == "reference":
        from pixmix_cli.pipelines.bake import reference_draws

        versions |= reference_draws.versions()
    read: Input = {
        "path": source.path,
        "format": source.kind,
        "pictures": len(source.pictures),
        "sha256": source.digest,
    }
    if source.split is not None:
        read["split"] = source.split
    if job.inputs.label_field is not None:
        read["label-field"] = job.inputs.label_field
    if job.inputs.path_field is not None:
        read["path-field"] = job.inputs.path_field
    mixed: Input = {
        "path": list(mixing.paths),
        "pictures": len(mixing.pictures),
        "sha256": mixing.digest,
    }
    inputs = {"SOURCE": read, "mixing-set": mixed}
    return RunPlan("bake", options_of(job, layout), versions, inputs)


def options_of(job: BakeJob, layout: Format[Any]) -> dict[str, Any]:
    """The options as a manifest holds them."""
    options = {}
    for setting in SETTINGS:
        value = attrgetter(setting.field)(job)
        if setting.when(Case(job, layout, value, setting.default())):
            options[setting.name] = setting.write(value)
    return options


def job_of(manifest: Manifest, destination: Destination, running: Running) -> BakeJob:
    """The job that a manifest.json records, but for what it does not hold: how many copies.

    raises  KeyError, TypeError or ValueError when the manifest is not one of ours
    """
    recorded, inputs = manifest["options"], manifest["inputs"]
    found: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
    for setting in SETTINGS:
        group, _, name = setting.field.rpartition(".")
        if setting.when is _always or setting.name in recorded:
            found[group][name] = setting.read(recorded[setting.name])
    source, mixing_sets = inputs["SOURCE"], inputs["mixing-set"]["path"]
    if isinstance(source["path"], list) or isinstance(mixing_sets, str):
        raise ValueError("inputs: SOURCE has one path, mixing-set a list of them")
    return BakeJob(
        inputs=Inputs(
            source=any_path(source["path"]),
            mixing_sets=tuple(map(any_path, mixing_sets)),
            source_format=source.get("format", "auto"),
            split=source.get("split"),
            label_field=source.get("label-field"),
            path_field=source.get("path-field"),
            **found["inputs"],
        ),
        destination=destination,
        config=PixMixConfig(**found["config"]),
        files=Files(**found["files"]),
        running=running,
        **found[""],
    )


def check_settings(manifest: Manifest, output: Path) -> None:
    """Refuse a manifest.json or plan.json of a baked set whose settings no bake could have.

    raises  InputError
    """
    try:
        job_of(manifest, Destination(output), Running())
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        finished = (output / MANIFEST).is_file()
        raise InputError(
            f"{output / (MANIFEST if finished else PLAN)} is damaged: options: {reason}",
            "the bake command with --overwrite",
        ) from None
