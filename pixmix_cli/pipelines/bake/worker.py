"""The work of one bake worker: shards of samples in, committed files and their rows out."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pixmix_cli.errors import PictureError, PixMixError, ResumeMismatchError, StorageError
from pixmix_cli.limits import explain
from pixmix_cli.mixing import batch
from pixmix_cli.mixing.augmentations import disagreeing
from pixmix_cli.mixing.config import PixMixConfig
from pixmix_cli.mixing.draws import Draws, draw
from pixmix_cli.mixing.mixer import (
    U8,
    Mixer,
    fit_square,
    shorter_side_at,
)
from pixmix_cli.mixing.resize import agrees
from pixmix_cli.mixing.uniforms import uniforms_for
from pixmix_cli.outputs.rows import Row, SkippedSample
from pixmix_cli.pipelines.bake.drawn import DrawnAlone, drawn_in
from pixmix_cli.pipelines.bake.formats.base import Format, PixelWriter, ShardWriter
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Sample, ShardTask
from pixmix_cli.pipelines.bake.mixing_pictures import MixingPictures
from pixmix_cli.seeding import Stream, key_for, keys_for
from pixmix_cli.sources.mixing_set import MixingSet
from pixmix_cli.sources.picture_cache import PictureCache
from pixmix_cli.sources.pictures import Ahead, PixelsRef, Runs
from pixmix_cli.storage import images
from pixmix_cli.storage.files import Tmp
from pixmix_cli.storage.orientation import upright
from pixmix_cli.storage.remote import AnyPath

AT = "at"  # file in tmp that says which sample is being baked: eight bytes, its index
NAMES = 1 << 16  # of mixing pictures, kept: they lie packed together in a list
BATCH = 512  # small pictures a compiled call: 1.5 MB at 32 px


@dataclass(frozen=True, slots=True)
class Context:
    """What a worker needs besides its tasks."""

    config: PixMixConfig
    job: BakeJob
    format: Format
    mixing: MixingSet
    classes: tuple[str, ...]
    tmp: Tmp
    mixing_key: str = ""  # of the mixing set in the cache of decoded pictures


def _check_place(error: PixMixError, source: AnyPath) -> None:
    """Tell what is the fault of a disk or of a limit from what is a picture's.

    source   where the pictures lie
    raises   StorageError: they are not to be left out, but to be read once that is mended
    """
    if isinstance(error, ResumeMismatchError):  # it is not what other parts have listed
        raise error
    system = error.__cause__
    if not isinstance(system, OSError):
        return
    lost = system.errno in (errno.ESTALE, errno.ENODEV, errno.ENOTCONN)
    if isinstance(source, Path) and (lost or not source.exists()):
        mend = "put it back, then the same command with --resume"
        raise StorageError(f"SOURCE {source} is gone: {error.message}", mend) from None
    if explain(system) is not None:
        raise error


class Baker:
    """One worker: bakes shards. Called with a ShardTask, returns (rows, pictures done)."""

    def __init__(self, context: Context) -> None:
        """Set up scratch memory and an empty cache of mixing pictures."""
        self._context = context
        self._at: int | None = None
        self._mixer = Mixer(context.config)
        self._batch_mixer: batch.BatchMixer | None = None
        self._small_mixer: batch.SmallMixer | None = None
        self._scratch = images.Scratch()
        self._ahead, self._runs = Ahead(()), Runs(())
        job, mixing = context.job, context.mixing
        on_disk = None
        if job.running.mixing_cache is not None and context.mixing_key:
            on_disk = PictureCache(
                job.running.mixing_cache, context.mixing_key, len(mixing.pictures)
            )
        self._cache = MixingPictures(
            mixing, context.config.mixing_size, on_disk, job.inputs.max_pixels
        )
        self._mixing_name = lru_cache(NAMES)(lambda index: mixing.pictures[index].name)

    @staticmethod
    def prepare() -> None:
        """Do once what each worker would do: compare kernels with Pillow, and warn where needed."""
        disagreeing()
        agrees()

    @staticmethod
    def preload(context: Context) -> None:
        """What is the same in all workers, done once, as for `engines.local.run_tasks`."""
        Baker.prepare()

    def __call__(self, task: ShardTask) -> tuple[list[Row], int]:
        """Bake one shard and leave its files in place, durable."""
        context = self._context
        writer = context.format.writer(context.job, context.tmp, task, context.classes)
        rows: list[Row] = []
        try:
            if self._in_batches:
                self._bake_batches(task, writer, rows)
            else:
                for sample, picture in self._pictures(task, rows):
                    for baked in self.bake(sample, task.copies, picture):
                        writer.add(baked, self._context.classes[sample.label])
            rows.extend(writer.commit())
        except BaseException:
            writer.discard()
            raise
        rows.extend(self._cache.errors())
        return rows, len(task.samples) * len(task.copies)

    @property
    def _in_batches(self) -> bool:
        return self._context.job.draws == "keyed" and batch.possible(self._context.config)

    def _pictures(self, task: ShardTask, rows: list[Row]) -> Iterator[tuple[Sample, U8]]:
        """Every sample that can be read, with its pixels; a row for every other one."""
        good: list[Sample] = []
        most = images.most_bytes(self._context.job.inputs.max_pixels)
        self._ahead = Ahead(s.ref for s in task.samples if s.ref.length <= most)
        self._runs = Runs(s.ref for s in task.samples if isinstance(s.ref, PixelsRef))
        for sample in self._with_padding(task, good):
            if not isinstance(sample.ref, PixelsRef):  # bytes that nobody decodes kill no worker
                self._note(sample.index)
            try:
                picture = self.read(sample)
            except PixMixError as error:
                _check_place(error, self._context.job.inputs.source)
                if self._context.job.running.on_error == "fail":
                    raise PictureError(
                        f"SOURCE {self._context.job.inputs.source}: {error.message}",
                        "--on-error skip to leave such pictures out and list them",
                    ) from None
                rows.append(
                    SkippedSample(
                        error=error.message,
                        index=sample.index,
                        key=sample.ref.name,
                        shard=task.shard,
                    )
                )
                continue
            good.append(sample)
            yield sample, picture

    def _bake_batches(self, task: ShardTask, writer: ShardWriter, rows: list[Row]) -> None:
        """Bake a shard of small pictures, many in one compiled call; as `bake` would."""
        config = self._context.config
        if self._batch_mixer is None:  # kept from shard to shard, with the mixing pictures it keeps
            self._batch_mixer = batch.BatchMixer(config, self._context.mixing.draws_from)
        mixer = self._batch_mixer
        most = max(1, BATCH // len(task.copies))
        squares = np.empty((most, config.size, config.size, 3), np.uint8)
        samples: list[Sample] = []
        for sample, picture in self._pictures(task, rows):
            whole = config.crop == "none"
            squares[len(samples)] = fit_square(picture, config.size, whole=whole)
            samples.append(sample)
            if len(samples) == most:
                self._bake_batch(task.copies, samples, squares, mixer, writer)
                samples = []
        if samples:
            self._bake_batch(task.copies, samples, squares, mixer, writer)

    def _bake_batch(
        self,
        copies: tuple[Copy, ...],
        samples: list[Sample],
        squares: U8,
        mixer: batch.BatchMixer,
        writer: ShardWriter,
    ) -> None:
        job, size, count = self._context.job, self._context.config.size, len(samples)
        names = [sample.ref.name for sample in samples]
        keys = keys_for(job.seed, Stream.BAKE, [copy.number for copy in copies], names)
        which = np.tile(np.arange(count), len(copies))
        plain = np.repeat(np.array([copy.plain for copy in copies]), count)
        made = mixer(
            keys, squares, which, lambda i: self._cache.get(i, job.running.on_error), plain
        )
        if isinstance(writer, PixelWriter):
            labels = np.array([sample.label for sample in samples], "<i8")
            for copy, these in zip(copies, np.split(made.pixels, len(copies))):
                writer.add_many(copy, these, labels)
            return
        drawn = list(drawn_in(made, size, self._mixing_name))
        for place, sample in enumerate(samples):
            name = self._context.classes[sample.label]
            for number, copy in enumerate(copies):
                at = number * count + place
                writer.add(Baked(sample, copy, drawn[at], made.pixels[at]), name)

    def read(self, sample: Sample) -> U8:
        """The sample's pixels, (h, w, 3) uint8, good until the next call.

        raises  PixMixError
        """
        ref, most = sample.ref, self._context.job.inputs.max_pixels
        if isinstance(ref, PixelsRef):
            images.check_pixels(*ref.layout[:2], ref.name, most)
            pixels = np.ascontiguousarray(self._runs.pixels(ref))
        else:
            images.check_length(ref.length, ref.name, most)
            data = self._ahead.read(ref)
            pixels = images.decode_rgb(data, ref.name, self._scratch, most)
            pixels = upright(pixels, data) if ref.upright else pixels
        self._check_enlarged(pixels, ref.name)
        return pixels

    def _check_enlarged(self, picture: U8, name: str) -> None:
        """Refuse a thin picture, which the cifar geometry would enlarge to more than is allowed."""
        config, most = self._context.config, self._context.job.inputs.max_pixels
        if config.geometry != "cifar" or config.crop == "none":
            return
        height, width = picture.shape[:2]
        if min(height, width) >= config.size:
            return
        after = math.prod(shorter_side_at(height, width, config.size))
        if after > max(most, height * width):
            raise PictureError(
                f"{name}: {width} x {height} pixels are {after} with the shorter side at "
                f"{config.size}, more than {most} (bake --max-pixels)"
            )

    def _with_padding(self, task: ShardTask, good: list[Sample]) -> Iterator[Sample]:
        """The task's samples; with --pad then, for each that could not be read, one of `good`."""
        yield from task.samples
        missing = len(task.samples) - len(good)
        if self._context.job.files.equal != "pad" or not good:
            return
        lap = 1 + max(sample.pad for sample in task.samples)
        readable = tuple(good)
        for number in range(missing):
            sample = readable[number % len(readable)]
            yield replace(sample, pad=lap + number // len(readable))

    def _drawn(self, sample: Sample, copies: Sequence[Copy], picture: U8) -> list[Draws]:
        """The draws of copies: made beforehand, or now by their keys."""
        job, shape = self._context.job, picture.shape[:2]
        numbers = [copy.number for copy in copies]
        made = {number: record for number, record in sample.records if record}
        keys = keys_for(job.seed, Stream.BAKE, numbers, [sample.ref.name])
        count = self._context.mixing.draws_from
        return [
            Draws.from_json(json.loads(made[number]))
            if number in made
            else draw(self._context.config, rng, shape, count)
            for number, rng in zip(numbers, uniforms_for(keys))
        ]

    def pixels(self, sample: Sample, copy: Copy, picture: U8) -> U8:
        """One copy of one decoded sample, as `bake` makes it, sooner where it is small.

        picture  (h, w, 3) uint8
        returns  (size, size, 3) uint8, a new array
        """
        if copy.plain or not self._in_batches:
            (baked,) = self.bake(sample, (copy,), picture)
            return baked.pixels
        context, config = self._context, self._context.config
        if self._small_mixer is None:
            self._small_mixer = batch.SmallMixer(config, context.mixing.draws_from)
        key = key_for(context.job.seed, Stream.BAKE, copy.number, sample.ref.name)
        square = fit_square(picture, config.size, whole=config.crop == "none")
        on_error = context.job.running.on_error
        return self._small_mixer(key, square, lambda i: self._cache.get(i, on_error)[1])

    def _note(self, index: int) -> None:
        """Leave word of what is under way, for the parent to name should this process die of it."""
        with contextlib.suppress(OSError):
            if self._at is None:
                self._at = os.open(self._context.tmp / AT, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
            os.pwrite(self._at, index.to_bytes(8, "little"), 0)

    def bake(self, sample: Sample, copies: Sequence[Copy], picture: U8) -> Iterator[Baked]:
        """Copies of one decoded sample. All are drawn before the first is made: that is quicker.

        picture  (h, w, 3) uint8
        """
        for copy, draws in zip(copies, self._drawn(sample, copies, picture)):
            if copy.plain:  # the crop and flip of the copy of the same number, nothing else
                draws = replace(draws, start=None, rounds=())
            name = mixing = None
            if draws.uses_mixing:
                index, mixing = self._cache.get(draws.mixing, self._context.job.running.on_error)
                draws = replace(draws, mixing=index)
                name = self._mixing_name(index)
            pixels = self._mixer.sample(draws, picture, mixing)
            yield Baked(sample, copy, DrawnAlone(draws, name), pixels)
