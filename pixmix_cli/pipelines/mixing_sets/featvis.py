"""render-featvis: many targets of one network, batch by batch.

Picture i shows target i of the plan and starts from noise drawn for i alone. On the CPU in float32
its bytes depend on neither its batch nor its worker (one thread a worker, batches padded to the
recorded batch size). Only the pictures of one target that are to differ (--diversity) depend on
each other: they are optimised together, and together again when one of them is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.errors import DeviceLostError, InputError, PictureError, PixMixError
from pixmix_cli.outputs.run_plan import Input, RunPlan
from pixmix_cli.pipelines.engines import worker
from pixmix_cli.pipelines.mixing_sets.job import Made, MixingSetJob, PictureTask
from pixmix_cli.pipelines.mixing_sets.plan import (
    MixingSetPlan,
    at_least_finished,
    pending_pictures,
    recorded_versions,
    storage_options,
)
from pixmix_cli.pipelines.mixing_sets.tone import UNTONED
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.pictures import PictureRef, Pictures, digest_of
from pixmix_cli.storage import images
from pixmix_cli.storage.files import sha256_hex

if TYPE_CHECKING:
    from featvis.config import FeatVisConfig
    from featvis.layers import Layer
    from featvis.models import Network
    from featvis.render import Rendered
    from featvis.targets import Target

ALGORITHM = "2"  # raise it when the same seed would give other pictures
OUTPUT = "output"  # the layer whose channels are the classes
PAIR = 2  # channels in a direction unless told otherwise
DREAM_SIZE = 224  # side at which a network sees given pictures: they have detail to keep

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """Which network, with which weights, where."""

    model: str
    weights: str
    device: str  # resolved: "cpu", "cuda", "mps"
    seed: int  # for --weights random
    gpus: int = 1  # how many to use, a process each
    isolated: bool = False  # each process sees its own GPU only


@dataclass(frozen=True, slots=True)
class Wishes:
    """Which targets the user asked for. Checked when made; raises InputError.

    objective  channel | neuron | logit | direction | layer; None: what pairs and init imply
    pairs      count, of directions
    mix        channels in a direction; None: PAIR
    diversity  so many pictures of each target, which are to differ
    init       picture, folder or tar of pictures to start from
    """

    layers: tuple[str, ...]
    channels: str | None
    count: int | None
    objective: str | None = None
    pairs: int | None = None
    mix: int | None = None
    diversity: int = 1
    init: Path | None = None

    def __post_init__(self) -> None:
        kind = self.kind
        if self.pairs is not None and kind != "direction":
            raise InputError(f"--pairs makes directions, not --objective {kind}", "one of them")
        if self.pairs is not None and self.count is not None:
            raise InputError("--pairs and --count both say how many pictures", "one of them")
        if kind == "direction" and self.total is None:
            raise InputError("--objective direction has no end of its own", "--pairs N")
        if self.mix is not None and kind != "direction":
            raise InputError(f"--mix is of directions, not of --objective {kind}", "--pairs N")
        if self.init is not None and kind != "layer":
            raise InputError(
                f"--init starts whole layers, not --objective {kind}", "--objective layer"
            )
        if kind == "layer" and self.channels is not None:
            raise InputError("--objective layer takes all channels together", "no --channels")
        if kind == "logit" and self.layers != ("auto",):
            raise InputError("--objective logit reads the network's output", "no --layers")
        if self.diversity > 1 and kind not in ("channel", "neuron"):
            raise InputError(
                f"--diversity is for pictures of one channel, not --objective {kind}",
                "--objective channel or neuron",
            )

    @property
    def kind(self) -> str:
        """The objective, said or implied."""
        if self.objective is not None:
            return self.objective
        if self.pairs is not None:
            return "direction"
        return "channel" if self.init is None else "layer"

    @property
    def total(self) -> int | None:
        """How many pictures; None: all there are."""
        return self.pairs if self.pairs is not None else self.count


@dataclass(frozen=True, slots=True)
class Batch:
    """What a task makes.

    members  indices of the pictures; beside the task's own those that belong to them
    targets  of each member
    starts   of each member, or empty
    """

    layer: str
    members: tuple[int, ...]
    targets: tuple[Target, ...]
    starts: tuple[PictureRef, ...] = ()


class FeatVisMaker:
    """Optimises pictures in a worker."""

    def __init__(
        self, choice: NetworkChoice, config: FeatVisConfig, seed: int, kind: str, group: int
    ) -> None:
        """Load the network once.

        kind   the objective
        group  pictures of one target that are to differ
        """
        from featvis import list_layers, load_network

        _settle_threads(choice.device)
        place = device_of(choice.device, 1 if choice.isolated else choice.gpus, worker.place())
        self._network = load_network(choice.model, choice.weights, device=place, seed=choice.seed)
        self._layers = {layer.name: layer for layer in list_layers(self._network)}
        self._config = config
        self._seed = seed
        self._kind = kind
        self._group = group

    @staticmethod
    def preload(choice: NetworkChoice, *_: Any) -> None:
        """Import what the network needs, and use none of it: torch's threads cannot be forked.

        raises  NotImplementedError for GPUs, whose drivers are left to interpreters of their own
        """
        if choice.device != "cpu":
            raise NotImplementedError(choice.device)
        from featvis import render, targets  # noqa: F401
        from featvis.architectures import import_builder

        import_builder(choice.model)

    def __call__(self, task: PictureTask) -> list[Made]:
        """One batch: task.payload is a Batch."""
        batch: Batch = task.payload
        made: dict[int, Made] = {}
        starts: list[tuple[F32, dict[str, Any]]] = []
        rows: list[int] = []  # of the members that can be made
        for row, index in enumerate(batch.members):
            if batch.starts:
                try:
                    starts.append(self._start(batch.starts[row]))
                except PixMixError as error:
                    facts = self._facts(batch, row)
                    made[index] = Made(index, None, facts=facts, error=error.message)
                    continue
            rows.append(row)
        if rows:
            pixels = np.stack([start for start, _ in starts]) if starts else None
            rendered = self._render(batch, rows, pixels)
            origins = [origin for _, origin in starts] or [{}] * len(rows)
            for position, (row, origin) in enumerate(zip(rows, origins)):
                one = self._made(batch, row, origin, rendered, position)
                made[one.index] = one
        return [made[index] for index in task.indices]

    def _render(self, batch: Batch, rows: list[int], starts: F32 | None) -> Rendered:
        import torch

        from featvis.render import render_fitting
        from featvis.targets import objective_of

        layer = self._layers[batch.layer]
        goals = objective_of(self._kind, [batch.targets[r] for r in rows], layer, self._group)
        rngs = [rng_for(self._seed, Stream.FEATVIS, batch.members[r]) for r in rows]
        try:
            rendered, self._config = render_fitting(
                self._network, layer, goals, self._config, rngs, starts=starts, group=self._group
            )
        except torch.OutOfMemoryError:
            raise DeviceLostError(
                f"{self._network.device} has too little memory for {self._group} pictures at once",
                "a smaller --size or --network-size, or --device cpu",
            ) from None
        except RuntimeError as error:
            if self._network.device == "cpu" or "CUDA" not in str(error):
                raise
            reason = str(error).splitlines()[0]
            raise DeviceLostError(
                f"{self._network.device} stopped working ({reason})",
                "the same command with --resume",
            ) from None
        return rendered

    def _start(self, ref: PictureRef) -> tuple[F32, dict[str, Any]]:
        """A given picture's middle square as a start, and what the recipe says of it."""
        data = ref.read()
        pixels = square(images.decode_rgb(data, ref.name), self._config.size)
        start = pixels.astype(np.float32).transpose(2, 0, 1) / np.float32(255)
        return start, {"init": {"name": ref.name, "sha256": sha256_hex(data)}}

    def _facts(self, batch: Batch, row: int) -> dict[str, Any]:
        facts = {"objective": self._kind, **batch.targets[row].facts()}
        if batch.starts:
            facts["init"] = batch.starts[row].name
        return facts

    def _made(
        self, batch: Batch, row: int, origin: dict[str, Any], rendered: Rendered, position: int
    ) -> Made:
        index = batch.members[row]
        facts = self._facts(batch, row)
        if rendered.grey[position]:
            what = " ".join(f"{name} {value}" for name, value in facts.items())
            why = (
                "the network's numbers overflow (its answer is infinite or not a number)"
                if rendered.overflow[position]
                else "stays grey from every start"
            )
            reason = f"{what}: {why}"
            return Made(index, None, facts=facts, error=reason)
        recipe = {
            "version": 1,
            "model": self._network.name,
            "weights": self._network.weights_id,
            "seed": self._seed,
            "index": index,
            **facts,
            **origin,
            "config": asdict(self._config),
        }
        if self._group > 1:
            recipe["diversity"] = self._group
        return Made(index, rendered.pixels[position], recipe, facts)


def _settle_threads(device: str) -> None:
    """One thread on a CPU: the number changes float sums, and more only wait for small networks."""
    import torch

    if device == "cpu":
        torch.set_num_threads(1)


def square(pixels: U8, size: int) -> U8:
    """The middle square of a picture, size x size. (h, w, 3) uint8 -> (size, size, 3) uint8."""
    from PIL import Image

    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture = Image.fromarray(pixels[top : top + side, left : left + side])
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def device_of(device: str, gpus: int, worker: int) -> str:
    """Where a worker's network lives: with several GPUs they take turns.

    worker  its number; consecutive for those of one pool
    """
    return f"{device}:{worker % gpus}" if gpus > 1 else device


def plan_featvis(
    choice: NetworkChoice,
    wishes: Wishes,
    config: FeatVisConfig,
    job: MixingSetJob,
    show_download: bool = False,
    warn: Callable[[str], None] = lambda line: None,
) -> MixingSetPlan:
    """Load the network, choose the targets, check the output; writes nothing.

    show_download  torch.hub's progress bar on stderr, where weights have to be fetched
    warn           called with one line for each thing passed over
    raises  FeatVisError and its kin from featvis; InputError and its kin
    """
    from featvis import check_weights, list_layers, load_network, select_layers

    _settle_threads(choice.device)
    if wishes.diversity > config.batch_size:
        raise InputError(
            f"--diversity {wishes.diversity} does not fit a batch of {config.batch_size}",
            f"--batch-size {wishes.diversity} or more",
        )
    network = load_network(
        choice.model, choice.weights, device="cpu", seed=choice.seed, progress=show_download
    )
    for note in network.notes:
        warn(note)
    patterns = (OUTPUT,) if wishes.kind == "logit" else wishes.layers
    layers = select_layers(list_layers(network), patterns)
    check_weights(network, layers)
    starts = None if wishes.init is None else _open_starts(wishes.init, warn)
    if config.network_size is None and not network.fixed_size:
        if wishes.kind == "logit":
            # A class wants the size that its network was trained at, whatever the picture's:
            # at 128 another network recognised fewer of the pictures.
            config = replace(config, network_size=network.input_size)
        elif starts is not None:
            config = replace(config, network_size=min(config.size, DREAM_SIZE))
    _check_layers(network, layers, config, wishes.diversity)
    if wishes.total is not None:
        count = at_least_finished(job, wishes.total)
        wishes = (
            replace(wishes, count=count) if wishes.pairs is None else replace(wishes, pairs=count)
        )
    targets = _targets(layers, wishes, job.seed, 0 if starts is None else len(starts))
    total = len(targets) * wishes.diversity if wishes.total is None else wishes.total
    options, versions = storage_options(job)
    options |= {
        "model": choice.model,
        "weights": network.weights_id,
        "layers": list(wishes.layers),
        "channels": wishes.channels or "all",
        "objective": wishes.kind,
        "mix": wishes.mix or PAIR,
        "diversity": wishes.diversity,
        "device": choice.device,
        "all-channels": wishes.total is None,
    }
    options |= {name.replace("_", "-"): value for name, value in asdict(config).items()}
    made_with = _libraries(choice.model)
    # an output that was begun when torchvision built every network may be gone on with
    before = {k: v for k, v in recorded_versions(job).items() if k == "torchvision"}
    versions |= {"featvis": ALGORITHM, **before, **made_with}
    inputs: dict[str, Input] = {}
    if starts is not None:
        inputs["init"] = {
            "path": str(wishes.init),
            "pictures": len(starts),
            "sha256": digest_of(starts),
        }
    run = RunPlan("render-featvis", options, versions, inputs, defaults=UNTONED)
    on_gpu = choice.device != "cpu"
    if on_gpu:
        job = replace(job, workers=min(job.workers, choice.gpus))
    group = wishes.diversity
    here = pending_pictures(job, run, total, _window(len(layers), config.batch_size, group), group)
    return MixingSetPlan(
        job=job,
        run=run,
        total=total,
        own=here.own,
        pending=here.pending,
        make_maker=FeatVisMaker,
        maker_context=(choice, config, job.seed, wishes.kind, wishes.diversity),
        tasks=lambda pending: batches(
            pending, targets, len(layers), config.batch_size, wishes.diversity, starts
        ),
        overlapped=on_gpu and job.workers == 1 and not choice.isolated,
        made_with=made_with,
    )


def _libraries(model: str) -> dict[str, str]:
    """The versions of what builds a network and runs it."""
    import torch

    from featvis import timm_models
    from featvis.architectures import is_torchvisions

    versions: dict[str, str] = {"torch": torch.__version__}
    if is_torchvisions(model) or timm_models.is_timm(model):
        import torchvision

        versions["torchvision"] = torchvision.__version__
    if timm_models.is_timm(model):
        versions["timm"] = timm_models.version()
    return versions


def _targets(layers: list[Layer], wishes: Wishes, seed: int, starts: int) -> list[Target]:
    """What each picture shows, or each group of pictures that are to differ."""
    from featvis import plan_mixes, plan_targets, plan_wholes

    count = wishes.total
    if wishes.kind == "direction":
        assert count is not None
        size = wishes.mix or PAIR

        def rng_of(index: int) -> np.random.Generator:
            return rng_for(seed, Stream.FEATVIS_PLAN, index)

        return plan_mixes(layers, wishes.channels, count, size, rng_of)
    if wishes.kind == "layer":
        if count is None and starts:
            count = len(layers) * starts
        return plan_wholes(layers, count)
    if count is not None:
        count = -(-count // wishes.diversity)
    rng = rng_for(seed, Stream.FEATVIS_PLAN)
    return plan_targets(layers, wishes.channels, count, rng)


def _check_layers(
    network: Network, layers: list[Layer], config: FeatVisConfig, diversity: int
) -> None:
    """Refuse before anything is written what no picture of a layer could be made with."""
    from featvis.render import network_side

    for layer in layers:
        network_side(network, layer, config)
        if diversity > 1 and len(layer.shape) < 2:
            raise InputError(
                f"--diversity needs a layer that is a map; {layer.name} is not",
                "other --layers",
            )


def _open_starts(path: Path, warn: Callable[[str], None]) -> Pictures:
    """The pictures to start from. A single one is read at once: without it there is nothing."""
    found = find_pictures(path, warn)
    if not found:
        raise InputError(f"--init {path} holds no pictures")
    if len(found) == 1:
        try:
            images.decode_rgb(found[0].read(), found[0].name)
        except PictureError as error:
            raise InputError(f"--init {path} cannot be used: {error.message}") from None
    return found


def _window(layers: int, batch_size: int, group: int) -> int:
    """Neighbours among the pictures that fill a batch of each layer."""
    return max(1, layers) * (batch_size // group) * group


def batches(
    pending: NDArray[np.int64],
    targets: list[Target],
    layers: int,
    batch_size: int,
    group: int = 1,
    starts: Pictures | None = None,
) -> Iterator[PictureTask]:
    """Tasks of up to batch_size pictures of one layer each.

    pending  indices of pictures, rising
    targets  target t is shown by the pictures group * t to group * t + group - 1
    layers   how many layers the targets go round; a window of layers * batch_size neighbours fills
             a batch of each, so that pictures are finished nearly in order
    group    pictures of one target, made together even where only one is pending
    starts   picture i starts from starts[i // layers], round and round
    """
    at_once = batch_size // group
    window = _window(layers, batch_size, group)
    begin = 0
    while begin < len(pending):
        number = pending[begin] // window
        end = int(np.searchsorted(pending, (number + 1) * window))
        by_layer: dict[str, dict[int, list[int]]] = {}
        for index in pending[begin:end].tolist():
            groups = by_layer.setdefault(targets[index // group].layer, {})
            groups.setdefault(index // group, []).append(index)
        for layer, groups in by_layer.items():
            numbers = list(groups)
            for first in range(0, len(numbers), at_once):
                chosen = numbers[first : first + at_once]
                members = tuple(t * group + i for t in chosen for i in range(group))
                refs = (
                    () if starts is None else [starts[i // layers % len(starts)] for i in members]
                )
                shown = tuple(targets[i // group] for i in members)
                batch = Batch(layer, members, shown, tuple(refs))
                yield PictureTask(tuple(i for t in chosen for i in groups[t]), batch)
        begin = end


def layer_rows(
    choice: NetworkChoice, warn: Callable[[str], None] = lambda line: None
) -> Iterator[dict[str, Any]]:
    """A row for each layer that can be drawn, without downloading anything.

    warn    called with one line for each thing passed over
    raises  FeatVisError and its kin, as plan_featvis does
    """
    from featvis import layers_of, list_layers, load_network, usable
    from featvis.models import check_weights_name, is_file_name
    from featvis.shipped import OWN_WEIGHTS

    _settle_threads(choice.device)
    found: list[Layer]
    if choice.weights == OWN_WEIGHTS or is_file_name(choice.weights):
        network = load_network(choice.model, choice.weights, device="cpu")
        for note in network.notes:
            warn(note)
        found = usable(network, list_layers(network))
    else:
        found = layers_of(choice.model)
        check_weights_name(choice.model, choice.weights)
    for layer in found:
        yield {
            "path": layer.name,
            "layer": layer.name,
            "kind": layer.kind,
            "channels": layer.channels,
            "shape": list(layer.shape),
            "cost": round(layer.cost, 4),
        }
