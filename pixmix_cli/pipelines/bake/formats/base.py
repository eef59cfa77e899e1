"""What all layouts of a baked set say of a sample."""

from __future__ import annotations

from typing import Protocol

from pixmix_cli.outputs.rows import Row
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Sample
from pixmix_cli.storage import images


class ShardWriter(Protocol):
    """Takes a shard's pictures and commits them together."""

    def add(self, baked: Baked, class_name: str) -> None:
        """One picture of one copy."""

    def commit(self) -> list[Row]:
        """Put everything in place and say what there is: the journal's rows."""

    def discard(self) -> None:
        """Leave nothing behind."""


def draws_of(baked: Baked) -> Row:
    """Every decision that made a picture, with the mixing picture's name where one was used."""
    draws = baked.draws.to_json()
    if baked.mixing is None:
        del draws["mixing"], draws["mixing_offset"]
    else:
        draws["mixing_picture"] = baked.mixing
    return draws


def encoded(job: BakeJob, baked: Baked) -> bytes:
    """A picture in the job's image format."""
    return images.encode(baked.pixels, job.image_format, job.quality)


def sample_key(sample: Sample) -> str:
    """A sample's name in a tar, without extension."""
    return f"{sample.index:09d}" + (f"-pad{sample.pad}" if sample.pad else "")


SHARDED = ("webdataset", "parquet")  # formats in which the user sees shards
