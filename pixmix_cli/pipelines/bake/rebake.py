"""rebake: samples of a finished set made again from its manifest, to compare or to mend with.

A baked picture is a function of the recorded settings, the source and the mixing set. So any piece
of a set can be made again, and what is made again must have the SHA-256 that was recorded: a
repair either gives the original bytes or says that it cannot.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pixmix_cli.errors import InputError, PixMixError, StorageError
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.outputs.file_names import MANIFEST, META, ROWS
from pixmix_cli.outputs.output import Output, open_output
from pixmix_cli.outputs.row_files import committed_rows
from pixmix_cli.outputs.rows import BakedRow, SkippedSample, companions
from pixmix_cli.outputs.run_plan import Manifest, describe_difference
from pixmix_cli.pipelines.bake.formats.base import Format
from pixmix_cli.pipelines.bake.formats.registry import FORMATS
from pixmix_cli.pipelines.bake.job import Copy, Running, ShardTask
from pixmix_cli.pipelines.bake.plan import BakePlan, context_of, describe_task, lay_out, tasks
from pixmix_cli.pipelines.bake.run import extra_files
from pixmix_cli.pipelines.bake.settings import job_of
from pixmix_cli.pipelines.bake.worker import Baker, Context
from pixmix_cli.pipelines.checks import Finding
from pixmix_cli.pipelines.engines.local import run_tasks
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.storage import images, inside
from pixmix_cli.storage.files import write_whole
from pixmix_cli.storage.remote import AnyPath


@dataclass(frozen=True, slots=True)
class Recorded:
    """A finished baked set, and the plan that made it."""

    plan: BakePlan
    rows: tuple[BakedRow, ...]  # of its artefacts
    skipped: frozenset[int]  # samples that were left out

    @property
    def path(self) -> Path:
        """The set's folder."""
        return self.plan.job.output


def open_recorded(
    path: Path,
    manifest: Manifest,
    running: Running,
    warn: Callable[[str], None],
    source: AnyPath | None = None,
    mixing_sets: tuple[AnyPath, ...] = (),
) -> Recorded:
    """The plan of a finished baked set, with its inputs listed again and compared.

    manifest     its manifest.json
    source       where it lies now, None where the manifest says
    mixing_sets  where they lie now, none where the manifest says
    raises       InputError when an input is missing or changed, or this pixmix makes other bytes
    """
    if manifest["command"] != "bake":
        raise InputError(
            f"{path} was made by pixmix {manifest['command']}: only baked sets can be baked again",
            "remove what is broken, then the command that made it, with --resume",
        )
    if not (path / MANIFEST).is_file():
        raise InputError(
            f"the run that makes {path} is not finished", "the same bake command with --resume"
        )
    everything = tuple(committed_rows(path))
    rows = tuple(row for row in everything if isinstance(row, BakedRow))
    try:
        job = job_of(manifest, Destination(path, resume=True), running)
        copies = {Copy.from_code(row.copy) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"manifest.json of {path} is damaged: {error!r}") from None
    inputs = replace(
        job.inputs,
        source=job.inputs.source if source is None else source,
        mixing_sets=mixing_sets or job.inputs.mixing_sets,
    )
    job = replace(
        job,
        inputs=inputs,
        copies=max((copy.number + 1 for copy in copies if not copy.plain), default=1),
        plain=sum(copy.plain for copy in copies),
    )
    try:
        plan = lay_out(job, warn)
    except InputError as error:
        raise InputError(
            f"{path} cannot be baked again: {error.message}",
            "--source and --mixing-set, to say where its inputs lie now",
        ) from None
    difference = describe_difference(manifest, plan.run)
    if difference:
        raise InputError(
            f"{path} cannot be baked again: it {difference}",
            "--source and --mixing-set, or the versions that made it",
        )
    return Recorded(
        plan,
        rows,
        frozenset(
            row.index for row in everything if isinstance(row, SkippedSample) and row.shard >= 0
        ),
    )


@dataclass(frozen=True, slots=True)
class Check:
    """Samples of one copy and shard to make again, and their places in that copy's order."""

    task: ShardTask
    places: tuple[int, ...]


def choose(recorded: Recorded, count: int, seed: int) -> list[Check]:
    """`count` pictures of all copies, each once: a function of the seed."""
    plan = recorded.plan
    kept = [
        i
        for i, index in enumerate(plan.order.part(0, len(plan.order)).tolist())
        if index not in recorded.skipped
    ]
    copies = plan.job.all_copies
    total = len(kept) * len(copies)
    rng = rng_for(seed, Stream.VERIFY)
    chosen: set[int] = set()
    while len(chosen) < min(count, total):
        chosen.add(int(rng.random() * total))
    groups: dict[tuple[Copy, int], list[int]] = defaultdict(list)
    for number, place in (divmod(number, len(kept)) for number in sorted(chosen)):
        groups[copies[number], kept[place] // plan.shard_size].append(place)
    checks = []
    for (copy, shard), places in groups.items():
        (task,) = tasks(replace(plan, pending=((shard, (copy,)),)))
        samples = tuple(task.samples[kept[place] - shard * plan.shard_size] for place in places)
        checks.append(Check(replace(task, samples=samples), tuple(places)))
    return checks


def compare(recorded: Recorded, checks: list[Check]) -> Iterator[tuple[int, list[Finding]]]:
    """Make samples again and compare them with what lies there: (pictures, problems) a check."""
    plan = recorded.plan
    yield from run_tasks(
        Comparer,
        (context_of(plan, Path()),),
        checks,
        max(1, min(plan.job.running.workers, len(checks))),
        lambda check: describe_task(check.task),
    )


class Comparer:
    """One worker: bakes samples again and compares them with the stored ones."""

    def __init__(self, context: Context) -> None:
        """Set up the baker."""
        self._context = context
        self._baker = Baker(context)

    def __call__(self, check: Check) -> tuple[int, list[Finding]]:
        """Compare some samples of one copy of one shard: (pictures, problems)."""
        job, task = self._context.job, check.task
        (copy,) = task.copies
        problems: list[Finding] = []
        layout, read = self._context.format, ""
        stored: Mapping[str, bytes] = {}
        for sample, place in zip(task.samples, check.places):
            path = layout.path(job, copy, task.shard, sample)
            try:
                if path != read:
                    stored, read = layout.stored_fields(job.output / path), path
                picture = self._baker.read(sample)
                baked = next(self._baker.bake(sample, [copy], picture))
                name = self._context.classes[sample.label]
                for field, data in layout.fields(job, baked, name, place).items():
                    if stored.get(field) != data:
                        text = _difference(layout, stored.get(field), data)
                        problems.append(Finding(path, f"{sample.ref.name}: {field} {text}"))
            except PixMixError as error:
                problems.append(Finding(path, f"{sample.ref.name}: {error.message}"))
            except (OSError, ValueError, EOFError) as error:
                problems.append(Finding(path, f"{sample.ref.name}: {error}"))
        return len(task.samples), problems


def _difference(layout: Format[Any], stored: bytes | None, again: bytes) -> str:
    """How what lies there differs from what was made again, in words."""
    if stored is None:
        return "is not there"
    try:
        if layout.encoded:
            then, now = (
                images.decode_rgb(data, "", max_pixels=images.OWN_PIXELS).astype(np.int16)
                for data in (stored, again)
            )
        else:
            then, now = (np.frombuffer(data, np.uint8).astype(np.int16) for data in (stored, again))
    except PixMixError:
        return f"differs from what the settings make ({len(stored)} and {len(again)} bytes)"
    if then.shape != now.shape:
        return f"has shape {then.shape}, not {now.shape}"
    gap = np.abs(then - now)
    if not gap.any():
        return "has the pixels that the settings make, in other bytes"
    return f"differs in {np.count_nonzero(gap)} of {gap.size} values, by up to {gap.max()} levels"


def repair(recorded: Recorded, broken: Iterable[str]) -> Iterator[Finding]:
    """Make again what is broken, and remove leftovers; what is whole is not touched.

    broken   paths that verify found fault with
    returns  a finding for each thing put right, and for each that cannot be
    raises   OutputBusyError while another run writes there; InputError when rows are lost
    """
    plan = recorded.plan
    wrong = set(broken)
    if ROWS in wrong:  # what it does not tell of would look like a leftover
        raise InputError(
            f"{recorded.path / ROWS} has lost rows, so what is whole is not known",
            "the bake command with --overwrite",
        )
    with open_output(Destination(recorded.path, resume=True), plan.run) as output:
        _clear_meta(output)
        yield from _remove_leftovers(recorded, wrong)
        yield from _write_small_files(recorded, output, wrong)
        layout, size = plan.format, plan.job.config.size
        rows = layout.to_bake_again(recorded.path, recorded.rows, wrong, size)
        staging = output.local_tmp / "again"
        job = replace(plan.job, destination=Destination(staging))
        known = {row.place: row for row in rows}
        failed: set[int] = set()  # codes of copies
        tasks = _tasks(recorded, rows)
        if tasks and job.running.workers > 1:
            Baker.prepare()
        context = replace(context_of(plan, output.tmp), job=job)
        workers = max(1, min(job.running.workers, len(tasks)))
        for made, _ in run_tasks(Baker, (context,), tasks, workers, describe_task):
            for row in made:
                if not isinstance(row, BakedRow) or row.place not in known:
                    continue
                told = known.pop(row.place)
                if told.hashes != row.hashes:
                    failed.add(row.copy)
                    yield Finding(row.path, NOT_THE_SAME)
                elif not layout.joined:
                    layout.put_in_place(staging, recorded.path, row)
                    yield Finding(row.path, "baked again", repaired=True)
        for told in known.values():
            failed.add(told.copy)
            yield Finding(told.path, NOT_THE_SAME)
        codes = {row.copy for row in recorded.rows if row.path in wrong} - failed
        copies = map(Copy.from_code, sorted(codes))
        yield from layout.join_again(output, staging, recorded.rows, copies)


NOT_THE_SAME = (
    "baked again is not what was recorded: bytes of the source or the mixing set have changed"
)


def _clear_meta(output: Output) -> None:
    """Remove what a killed run has left, but for our lock, and make room to work in."""
    meta = output.path / META
    try:
        for entry in meta.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != "lock":
                entry.unlink()
        output.local_tmp.mkdir()
    except OSError as error:
        raise StorageError.from_os_error(error, str(meta)) from error


def _remove_leftovers(recorded: Recorded, wrong: set[str]) -> Iterator[Finding]:
    """Remove files under names that only pixmix gives and of which no row tells."""
    known = {name for row in recorded.rows for name in companions(row.path)}
    patterns = [FORMATS[name].file_pattern for name in FORMATS]
    names = "|".join(f"({pattern})" for pattern in patterns if pattern)
    only_ours = re.compile(rf"(copy|plain)-\d{{3,}}/({names})")
    if META in wrong:
        yield Finding(META, "removed", repaired=True)
    for name in sorted(wrong - known):
        path = recorded.path / name
        if not path.is_file():
            continue
        if only_ours.fullmatch(name):
            try:
                inside.unlink(recorded.path, path)
            except OSError as error:
                raise StorageError.from_os_error(error, str(path), "removing") from error
            with contextlib.suppress(OSError):  # other files are in it
                inside.rmdir(recorded.path, path.parent)
            yield Finding(name, "removed", repaired=True)


def _write_small_files(recorded: Recorded, output: Output, wrong: set[str]) -> Iterator[Finding]:
    for name, data in extra_files(recorded.plan).items():
        if name in wrong:
            write_whole(recorded.path / name, data, output.tmp)
            yield Finding(name, "written again", repaired=True)


def _tasks(recorded: Recorded, rows: Sequence[BakedRow]) -> list[ShardTask]:
    """The work that makes these rows' artefacts and no other."""
    copies: dict[tuple[int, int], set[int]] = defaultdict(set)
    for row in rows:
        _, shard, index, _ = row.place
        copies[shard, index].add(row.copy)
    grouped: dict[tuple[int, tuple[Copy, ...]], set[int]] = defaultdict(set)
    for (shard, index), which in sorted(copies.items()):
        grouped[shard, tuple(map(Copy.from_code, sorted(which)))].add(index)
    pending = tuple(grouped)
    return [
        replace(task, samples=tuple(s for s in task.samples if s.index in wanted or -1 in wanted))
        for task, wanted in zip(tasks(replace(recorded.plan, pending=pending)), grouped.values())
    ]
