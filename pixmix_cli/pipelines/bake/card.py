"""README.md of a baked set: what it is, and the lines that train from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pixmix_cli.mixing.config import PAPER_OPERATIONS, PixMixConfig
from pixmix_cli.pipelines.bake.job import BakeJob
from pixmix_cli.storage import images

if TYPE_CHECKING:
    from pixmix_cli.pipelines.bake.plan import BakePlan


NAMED_COPIES = 1000  # copies that `datasets` can be asked for by name, four lines each


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
    head = _card_head(plan) if plan.format.datasets_reads else ""
    return f"""{head}# PixMix-augmented dataset

Made by `pixmix bake`: {len(plan.source.pictures)} pictures of {len(plan.source.classes)} classes,
{job.copies} augmented {"copy" if job.copies == 1 else "copies"} of each.
Recipe: {recipe}, seed {job.seed}.
{notes}Epoch e reads `copy-XXX` with XXX = e mod {job.copies}.{_named_copies(plan)}
`classes.json` lists the class names by label, `manifest.json` every setting, `manifest.jsonl` every
file with its SHA-256.

{_left_to_training(config)}
```python
from pixmix_cli import BakedDataset

dataset = BakedDataset(".", transform)  # of this folder, with a transform of PIL pictures
dataset.set_epoch(epoch)  # before every epoch: reads the next copy
```

Without pixmix:

```python
{_lines(plan)}```

PixMix: Hendrycks et al., PixMix: Dreamlike Pictures Comprehensively Improve Safety Measures,
CVPR 2022.
"""


def _left_to_training(config: PixMixConfig) -> str:
    """What a training loop does with these pictures."""
    if config.crop != "random" and not config.flip:
        return (
            "The pictures are augmented, but neither flipped nor cropped at random. In training\n"
            "do both, where the pictures bear it, then convert and normalise them.\n"
        )
    done = ["cropped"] * (config.crop == "random") + ["flipped"] * config.flip
    whole = "center" if config.geometry == "imagenet" else "none"
    return (
        f"The pictures are {', '.join(done)} and augmented already: in training only convert and\n"
        "normalise them. Where epochs are more than four times the copies, networks learn these\n"
        f"by heart. Then bake with `--crop {whole} --no-flip`, and flip and crop in training.\n"
    )


def _lines(plan: BakePlan) -> str:
    return plan.format.training.replace("{extension}", images.FORMATS[plan.job.files.image_format])


def _card_head(plan: BakePlan) -> str:
    """The header by which `datasets.load_dataset` finds the pictures: all copies, or one by name.

    source  huggingface.co/docs/hub/datasets-manual-configuration
    """
    job, layout = plan.job, plan.format
    folders = {"default": "copy-*"} | ({"plain": "plain-*"} if job.plain else {})
    folders |= {copy.folder: copy.folder for copy in job.all_copies[:NAMED_COPIES]}
    options = [
        f"  {name}: {str(value).lower()}"
        for name, value in layout.datasets_options(plan.source).items()
    ]
    lines = ["---", "configs:"]
    for name, pattern in folders.items():
        paths = layout.datasets_paths(pattern, plan.source)
        lines += [f"- config_name: {name}", *options, "  data_files:", "  - split: train"]
        if len(paths) == 1:
            lines += [f"    path: {paths[0]}"]
        else:
            lines += ["    path:", *(f"    - {path}" for path in paths)]
    return "\n".join([*lines, "---", "", ""])


def _named_copies(plan: BakePlan) -> str:
    if not plan.format.datasets_reads:
        return ""
    text = (
        "\n`datasets.load_dataset` of this folder reads all copies together; with a second "
        'argument\n`"copy-000"` that copy alone.'
    )
    if plan.format.datasets_options(plan.source).get("drop_labels"):
        text += " It sees no labels here, as classes have folders inside."
    return text


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
