"""README.md of a baked set: what it is, and the lines that train from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixmix_cli.mixing.config import PAPER_OPERATIONS
from pixmix_cli.pipelines.bake.job import BakeJob
from pixmix_cli.storage import images

if TYPE_CHECKING:
    from pixmix_cli.pipelines.bake.plan import BakePlan


def dataset_card(plan: BakePlan) -> str:
    """README.md of a baked set: what it is, and the lines that train from it."""
    job, config = plan.job, plan.job.config
    recipe = (
        f"preset {config.geometry}, size {config.size}, k {config.k}, beta {config.beta:g}, "
        f"severity {config.severity:g}, {'all 13' if config.all_ops else '9'} augmentations"
    )
    if config.operations != PAPER_OPERATIONS:
        recipe += f", operations {', '.join(config.operations)}"
    notes = _equal_shards(plan) + _plain_copies(job)
    head = _card_head(job, plan.format.suffixes[0]) if plan.format.datasets_reads else ""
    return f"""{head}# PixMix-augmented dataset

Made by `pixmix bake`: {len(plan.source.pictures)} pictures of {len(plan.source.classes)} classes,
{job.copies} augmented {"copy" if job.copies == 1 else "copies"} of each.
Recipe: {recipe}, seed {job.seed}.
{notes}Epoch e reads `copy-XXX` with XXX = e mod {job.copies}.
`classes.json` lists the class names by label, `manifest.json` every setting, `manifest.jsonl` every
file with its SHA-256.

The pictures are cropped and augmented already: in training only convert and normalise them.

```python
{plan.format.training.format(extension=images.FORMATS[job.files.image_format])}```

PixMix: Hendrycks et al., PixMix: Dreamlike Pictures Comprehensively Improve Safety Measures,
CVPR 2022.
"""


def _card_head(job: BakeJob, suffix: str) -> str:
    """The header by which `datasets.load_dataset` finds the shards."""
    lines = ["---", "configs:"]
    for name, folders in (("default", "copy"), ("plain", "plain"))[: 2 if job.plain else 1]:
        lines += [f"- config_name: {name}", "  data_files:", "  - split: train"]
        lines += [f"    path: {folders}-*/*{suffix}"]
    return "\n".join([*lines, "---", "", ""])


def _plain_copies(job: BakeJob) -> str:
    if not job.plain:
        return ""
    return (
        "`plain-XXX` holds the crop and flip of `copy-XXX` without PixMix: a control to train on "
        "beside it.\n"
    )


def _equal_shards(plan: BakePlan) -> str:
    job, extra = plan.job, len(plan.order) - len(plan.source.pictures)
    if job.files.equal is None or not extra:
        return ""
    if job.files.equal == "pad":
        return (
            f"Shards hold {plan.shard_size} samples each: {extra} samples of each copy are "
            "repetitions (`pad` above 0 in .json).\n"
        )
    return f"Shards hold {plan.shard_size} samples each: {-extra} samples were left out for that.\n"
