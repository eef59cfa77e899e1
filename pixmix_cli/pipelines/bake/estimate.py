"""How many bytes a baked picture takes: decides the samples of a shard that is given in bytes."""

from __future__ import annotations

from pixmix_cli.errors import PixMixError, ResumeMismatchError
from pixmix_cli.pipelines.bake.job import Copy, Sample
from pixmix_cli.pipelines.bake.worker import Baker, Context
from pixmix_cli.sources.source import Source


def mean_bytes(context: Context, source: Source) -> float:
    """The mean of up to 16 samples, evenly chosen from the source and baked in memory.

    A function of the settings alone; 0 where none of the samples can be read.

    raises  ResumeMismatchError for a file that is not as another part has listed it: it would
            decide a number that all parts must have alike
    """
    job = context.job
    baker = Baker(context)
    count = len(source.pictures)
    few = max(1, min(16, 16 * 512 * 512 // (job.config.size * job.config.size)))
    sizes: list[int] = []
    for index in range(0, count, max(1, count // few))[:few]:
        sample = Sample(index, source.pictures[index], source.labels[index], "")
        try:
            picture = baker.read(sample)
        except ResumeMismatchError:
            raise
        except PixMixError:
            continue
        (baked,) = baker.bake(sample, [Copy(0)], picture)
        sizes.append(context.format.estimated_size(job, baked))
    return sum(sizes) / max(1, len(sizes))
