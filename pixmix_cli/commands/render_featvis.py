"""pixmix render-featvis: the feature-visualization half of a mixing set."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pixmix_cli import options
from pixmix_cli.commands.common import check_config, make_set
from pixmix_cli.options import option
from pixmix_cli.terminal import Terminal

if TYPE_CHECKING:
    from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob

EXAMPLES = """
pixmix render-featvis --model resnet50 --layers 'layer3*' -o mixing/featvis
pixmix render-featvis --weights fractals -n 1000 -o mixing/featvis
pixmix render-featvis --weights fractals --pairs 5000 -o mixing/featvis
pixmix render-featvis --model resnet18 --weights tuned.pth -n 500 -o mixing/featvis
pixmix render-featvis --model vgg16 --init photos --steps 24 -o mixing/dreams
pixmix render-featvis --model convnext_tiny --list-layers
"""

# measured: larger batches gain nothing on a CPU core; a GPU is idle below a few hundred
BATCH_SIZE = {"cpu": 8}
_TARGETS, _OPTIMISER = "Targets", "Optimiser"


@click.command("render-featvis", cls=options.Command, examples=EXAMPLES)
@option(
    "--model",
    section=_TARGETS,
    metavar="NAME",
    help="A torchvision classification network, or timm:NAME (needs pixmix[timm]).",
)
@option(
    "--weights",
    default="DEFAULT",
    section=_TARGETS,
    metavar="DEFAULT|NAME|FILE|random|fractals",
    help="torchvision's weights (downloaded once), a PyTorch or safetensors file, or fractals: a "
    "small network of our own that comes with pixmix.",
)
@option(
    "--layers",
    multiple=True,
    default=("auto",),
    section=_TARGETS,
    metavar="GLOB",
    help="Layer names: globs or re:REGEX, several times or with commas; auto: a spread of good "
    "layers.",
)
@option(
    "--channels",
    section=_TARGETS,
    metavar="LIST",
    show_default="all",
    help="Channels of each layer: 3 or 0-15 or 1,5,9-12.",
)
@option(
    "-n",
    "--count",
    type=click.IntRange(1, options.MAX_COUNT),
    section=_TARGETS,
    show_default="every channel once",
    help="Number of pictures, spread over the layers; with --resume a larger one grows the set.",
)
@option(
    "--objective",
    type=options.OneOf(["channel", "neuron", "logit", "direction", "layer"]),
    section=_TARGETS,
    show_default="channel; direction with --pairs; layer with --init",
    help="What a picture excites: a channel everywhere, or in the middle; a class; a mix of "
    "channels; or whatever the layer sees (DeepDream).",
)
@option(
    "--pairs",
    type=click.IntRange(1, options.MAX_COUNT),
    section=_TARGETS,
    metavar="N",
    help="N directions, each mixing channels drawn by the seed: diversity without end.",
)
@option(
    "--mix",
    type=click.IntRange(2, 64),
    section=_TARGETS,
    show_default="2",
    help="Channels in a direction.",
)
@option(
    "--diversity",
    type=click.IntRange(1, 4096),
    default=1,
    section=_TARGETS,
    metavar="N",
    help="N pictures of each channel that are to differ.",
)
@option(
    "--init",
    type=options.LocalPath(),
    section=_TARGETS,
    metavar="PATH",
    help="DeepDream from a picture, or from all in a folder or tar, with each layer; fewer "
    "--steps keep more of it.",
)
@option(
    "--list-layers",
    is_flag=True,
    section=_TARGETS,
    help="Print the network's layers and stop; downloads nothing.",
)
@option("--size", type=int, default=224, section=_OPTIMISER, help="Side of the pictures, pixels.")
@option("--steps", type=int, default=64, section=_OPTIMISER, help="Optimisation steps a picture.")
@option(
    "--batch-size",
    type=int,
    section=_OPTIMISER,
    show_default="8, on a GPU 256",
    help="Pictures optimised at once; part of what decides the bytes.",
)
@option(
    "--network-size",
    type=int,
    section=_OPTIMISER,
    show_default="the smallest of --size, 128 and the weights' own; with --init of --size and 224; "
    "for logits the weights' own",
    help="Side at which the network sees them, pixels.",
)
@option(
    "--precision",
    type=options.OneOf(["auto", "float32", "bfloat16"]),
    default="auto",
    section=_OPTIMISER,
    help="auto: bfloat16 on CUDA, else float32. --dry-run says what it is here, and why.",
)
@option(
    "--parametrization",
    type=options.OneOf(["fourier", "maco", "pixel"]),
    default="fourier",
    section=_OPTIMISER,
    help="What is optimised.",
)
@option(
    "--device",
    type=options.OneOf(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    section=_OPTIMISER,
    help="auto: the GPU when there is one; several work side by side, -j limits how many.",
)
@options.mixing_set_options
@options.workers_option
@options.existing_options
@options.part_option
@options.engine_options
@options.dry_run_option
@options.terminal_options
def command(
    model: str | None,
    weights: str,
    layers: tuple[str, ...],
    channels: str | None,
    count: int | None,
    objective: str | None,
    pairs: int | None,
    mix: int | None,
    diversity: int,
    init: Path | None,
    list_layers: bool,
    device: str,
    engine: str,
    dry_run: bool,
    quiet: int,
    verbose: int,
    progress: str,
    as_json: bool,
    **rest: Any,
) -> int:
    """Render feature visualizations: pictures that excite some part of a network each."""
    from featvis.config import FeatVisConfig
    from pixmix_cli.pipelines.mixing_sets import featvis

    terminal = options.make_terminal(quiet, verbose, progress, as_json)
    names = ("size", "steps", "batch_size", "network_size", "precision", "parametrization")
    settings = {name: rest.pop(name) for name in names}
    network = _model_name(model, weights)
    with check_config():  # what is wrong here is said without waiting for PyTorch
        FeatVisConfig(**settings | {"batch_size": settings["batch_size"] or BATCH_SIZE["cpu"]})
    if terminal.shows_bar:
        terminal.info("loading PyTorch and the network")  # seconds, before there is a bar
    _check_libraries()
    if list_layers:
        choice = featvis.NetworkChoice(network, weights, "cpu", rest["seed"])
        with check_config():
            return _print_layers(terminal, choice)
    with check_config():
        from featvis.layers import split_patterns

        layers = split_patterns(layers)
    wishes = featvis.Wishes(layers, channels, count, objective, pairs, mix, diversity, init)
    with options.mixing_set_job(engine=engine, **rest) as job, check_config():
        from featvis import gpu_count, resolve_device
        from featvis.precision import choose
        from pixmix_cli.pipelines.mixing_sets.featvis_cost import describe_featvis

        if engine == "ray":
            job, place, gpus = _on_ray(job, device)
        else:
            place = resolve_device(device)
            gpus = gpu_count(place)
        if settings["batch_size"] is None:
            settings["batch_size"] = BATCH_SIZE.get(place, 256)
        config = FeatVisConfig(**settings)
        choice = featvis.NetworkChoice(
            network, weights, place, job.seed, gpus, isolated=engine == "ray"
        )
        plan = featvis.plan_featvis(choice, wishes, config, job, terminal.shows_bar, terminal.warn)
        code = make_set(terminal, plan, dry_run, lambda: describe_featvis(plan))
        precision = choose(config.precision, place)
        if precision.saves and plan.remaining and not dry_run:
            terminal.info(str(precision))
        return code


def _check_libraries() -> None:
    """Raise InputError, with how to install it, for a library that every network needs."""
    from pixmix_cli.errors import InputError

    for name in ("torch", "safetensors"):
        try:
            importlib.import_module(name)
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            # of a build for another machine or version the import fails in all these ways
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"networks need {name}, which cannot be loaded here ({reason})",
                f"pip install {name}; generate-fractals does without",
            ) from None


def _on_ray(job: MixingSetJob, device: str) -> tuple[MixingSetJob, str, int]:
    """The job with a GPU a task where the cluster has any; the device; the number of GPUs."""
    from pixmix_cli.errors import InputError
    from pixmix_cli.pipelines.engines.ray import RayEngine, connect

    gpus = connect(None).gpus  # connected already
    if device == "cuda" and not gpus:
        raise InputError("--device cuda, but no node of the Ray cluster has a GPU", "--device cpu")
    if device in ("cpu", "mps") or not gpus:
        return job, "cpu" if device == "auto" else device, 1
    return replace(job, engine=RayEngine(gpus=1)), "cuda", gpus


def _model_name(model: str | None, weights: str) -> str:
    """--model, which only the network that comes with pixmix can do without."""
    if model is not None:
        return model
    from featvis.shipped import OWN_MODEL, OWN_WEIGHTS

    if weights == OWN_WEIGHTS:
        return OWN_MODEL
    raise click.UsageError(
        "Missing option '--model'; --weights fractals does without, by a network that comes with "
        "pixmix."
    )


def _print_layers(terminal: Terminal, choice: Any) -> int:
    from pixmix_cli.pipelines.mixing_sets import featvis

    for row in featvis.layer_rows(choice, terminal.warn):
        if terminal.as_json:
            terminal.emit(row)
        else:
            shape = "x".join(str(side) for side in row["shape"])
            terminal.line(
                f"{row['layer']:<44} {row['kind']:<24} {row['channels']:>6} {shape:>16} "
                f"{row['cost']:>8.1%}"
            )
    return 0
