"""What a baked picture costs in bytes and seconds, measured on a few."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pixmix_cli.errors import PixMixError
from pixmix_cli.pipelines.bake.job import Copy, Sample
from pixmix_cli.pipelines.bake.worker import Baker, Context
from pixmix_cli.sources.source import Source


@dataclass(frozen=True, slots=True)
class Measured:
    """What a few samples that were really baked have cost."""

    bytes_each: float  # mean bytes of one picture in the output
    seconds_each: float  # mean seconds of one process for one picture


def bake_a_few(context: Context, source: Source) -> Measured:
    """Bake up to 16 samples, evenly chosen from the source, in memory.

    The bytes are a function of the settings; the time is this machine's, now.
    """
    job = context.job
    baker = Baker(context)
    count = len(source.pictures)
    few = max(1, min(16, 16 * 512 * 512 // (job.config.size * job.config.size)))
    sizes: list[int] = []
    begin = time.perf_counter()
    for index in range(0, count, max(1, count // few))[:few]:
        sample = Sample(index, source.pictures[index], source.labels[index], "")
        try:
            picture = baker.read(sample)
        except PixMixError:
            continue
        if not sizes:  # the first one also waits for compiled kernels
            next(baker.bake(sample, [Copy(0)], picture))
            begin = time.perf_counter()
        sizes.append(
            context.format.estimated_size(job, next(baker.bake(sample, [Copy(0)], picture)))
        )
    seconds = time.perf_counter() - begin
    number = max(1, len(sizes))
    return Measured(sum(sizes) / number, seconds / number)
