"""Classification networks, frozen and ready to be looked into, and where their weights come from.

Published weights are taken from torch.hub's download cache, and fetched into it where they are not
there yet.
"""

from __future__ import annotations

import copy
import difflib
import os
import re
import socket
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from featvis import squeezenet, timm_models
from featvis.architectures import (
    build,
    check_name,
    class_count,
    is_known,
    native_size,
    skeleton,
    torchvision_models,
)
from featvis.checkpoints import Loaded, load_into, read_checkpoint, sha256
from featvis.devices import resolve_device
from featvis.errors import (
    CheckpointError,
    UnknownModelError,
    WeightsUnavailableError,
    one_line,
    plain,
)
from featvis.folding import fold, foldable_pairs
from featvis.shipped import OWN_FILE, OWN_INPUT_SIZE, OWN_MODEL, OWN_WEIGHTS
from featvis.uses import Uses, uses_of

# Mean and standard deviation of ImageNet's training pictures in [0, 1], as nearly every torchvision
# classification weight asks for them (not efficientnet_v2_l's, nor vgg16's IMAGENET1K_FEATURES).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_ENUM = re.compile(r"(?:\w+\.)*\w+_Weights\.\w+", re.IGNORECASE)
DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte before the network counts as unavailable


@dataclass
class Network:
    """A network in eval mode, its weights frozen, on its device.

    model       takes (n, 3, h, w) float32, normalised by mean and std
    weights_id  "IMAGENET1K_V2", "random:SEED" or "sha256:..." of the checkpoint file
    mean, std   per channel, of pictures in [0, 1]
    input_size  side in pixels that the weights were made for
    fixed_size  whether that is the only side the network takes
    source      the file of the weights, if any
    lacks       name of a weight that the file lacks, or that is not finite -> why; see `needs`
    notes       lines about what of the file was chosen or passed over
    """

    model: nn.Module
    name: str
    weights_id: str = "random:0"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: int = 224
    fixed_size: bool = False
    num_classes: int = 1000
    device: str = "cpu"
    source: str = ""
    lacks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fits: dict[tuple[str, int, int], bool] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # (module, call, side) -> whether such a picture gets there
    _pairs: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)
    _uses: Uses | None = field(default=None, init=False, repr=False, compare=False)
    _skeleton: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    _ready: dict[tuple[bool, bool], nn.Module] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # (folded, bfloat16) -> the network made faster so

    def skeleton(self) -> nn.Module:
        """The network for names and shapes alone, as `architectures.skeleton`. Made once."""
        if self._skeleton is None:
            if is_known(self.name):
                size = self.input_size if self.fixed_size else None
                self._skeleton = skeleton(self.name, self.num_classes or None, size)
            else:
                self._skeleton = copy.deepcopy(self.model).to("meta")
        return self._skeleton

    def needs(self, module: str, call: int) -> list[str]:
        """Which of the weights in `lacks` that call of the module needs, in the order of reading.

        module  its `named_modules` name; "" is the network itself
        """
        if not self.lacks:
            return []
        if self._uses is None:
            self._uses = uses_of(self.skeleton(), self.input_size)
        needed = self._uses.needed(module, call)
        return [name for name in self._uses.read if name in self.lacks and name in needed]

    def ready(self, target: str = "", *, bfloat16: bool = False) -> nn.Module:
        """The network as fast as it goes up to module `target`; made once and kept.

        Batch normalisation is folded into convolutions, unless `target` is such a convolution.
        With bfloat16 the weights of matrix products are converted, for use under autocast:
        autocast itself keeps conversions only of weights that want a gradient, so frozen ones
        would be converted anew at every step.
        """
        if self._pairs is None:
            self._pairs = foldable_pairs(self.skeleton(), self.input_size)
        folded = bool(self._pairs) and target not in self._pairs
        key = (folded, bfloat16)
        if key not in self._ready:
            if bfloat16:
                model = copy.deepcopy(self.ready(target))
                for module in model.modules():
                    if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)):
                        module.to(torch.bfloat16)
            elif folded:
                model = fold(self.model, self._pairs).to(memory_format=torch.channels_last)
            else:
                model = self.model
            self._ready[key] = model
        return self._ready[key]


def load_network(
    name: str,
    weights: str = "DEFAULT",
    *,
    device: str = "cpu",
    seed: int = 0,
    progress: bool = False,
) -> Network:
    """A classification network ready for feature visualization.

    name      one of model_names(), or "timm:" and a name that timm knows, with or without a tag
    weights   "DEFAULT" or a torchvision weights name (downloaded at need through torch.hub, hash
              checked; of timm "DEFAULT" only, by timm), "random", "fractals" (ours, shipped with
              this package, for OWN_MODEL only), or the path of a .pt, .pth or .safetensors file
    device    auto | cpu | cuda | cuda:N | mps
    seed      of "random" weights; torch's global generator is left as it was
    progress  show torch.hub's progress bar on stderr while downloading
    raises    UnknownModelError, CheckpointError, WeightsUnavailableError, DeviceError
    """
    check_name(name)
    device = resolve_device(device)
    own = weights == OWN_WEIGHTS
    if own:
        if name != OWN_MODEL:
            raise CheckpointError(
                f"The weights {OWN_WEIGHTS!r} are of {OWN_MODEL}, not of {name}.",
                hint=f"--weights {OWN_WEIGHTS} without --model",
            )
        weights = str(OWN_FILE)
    timm = timm_models.is_timm(name)
    loaded: Loaded | None = None
    published = None
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = build(name, random=True)
        weights_id = f"random:{seed}"
    elif is_file_name(weights):
        path = _local(weights)
        weights_id = f"sha256:{sha256(path)}"
        loaded = load_into(name, read_checkpoint(path), path)
    elif timm:
        if weights.upper() != "DEFAULT":
            raise UnknownModelError(
                f"{name} has no weights named {weights!r}: timm names them in the model.",
                hint=f"--model {name.partition('.')[0]}.{weights} alone",
            )
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = timm_models.build(name, pretrained=True)
        weights_id = timm_models.tag_of(model)
    else:
        published = _named_weights(name, weights)
        path = _download(published.url, name, progress)
        weights_id = published.name
        loaded = load_into(name, read_checkpoint(path), path)
    if loaded is not None:
        model = loaded.model
    fixed = native_size(model)
    model.eval().requires_grad_(False)
    model.to(device).to(memory_format=torch.channels_last)
    mean, std, size = _pictures_of(name, published)
    return Network(
        model=model,
        name=name,
        weights_id=weights_id,
        mean=mean,
        std=std,
        input_size=fixed or (OWN_INPUT_SIZE if own else size),
        fixed_size=fixed is not None,
        num_classes=class_count(model),
        device=device,
        source="" if loaded is None else str(path),
        lacks={} if loaded is None else loaded.lacks,
        notes=[] if loaded is None else loaded.notes,
    )


def _pictures_of(name: str, published: Any) -> tuple[tuple[float, ...], tuple[float, ...], int]:
    """Mean, std and side of the pictures that a network was trained on.

    published  torchvision's weights, or None: as those that it publishes
    """
    if timm_models.is_timm(name):
        return *timm_models.normalisation(name), timm_models.side(name)
    if published is None:
        if squeezenet.is_own(name):
            return IMAGENET_MEAN, IMAGENET_STD, squeezenet.SIDE
        published = torchvision_models().get_model_weights(name).DEFAULT
    return *normalisation(published), _crop_size(published)


def normalisation(weights: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel that torchvision's weights ask for, of pictures in [0, 1]."""
    preset = weights.transforms()
    return tuple(preset.mean), tuple(preset.std)


def _named_weights(name: str, weights: str) -> Any:
    """The weights of that name: "DEFAULT", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1".

    raises  UnknownModelError
    """
    enum = torchvision_models().get_model_weights(name)
    of, _, member_name = weights.rpartition(".")
    of = of.rpartition(".")[2]
    if of and of.lower() != enum.__name__.lower():
        raise UnknownModelError(
            f"{weights!r} are weights of another network: those of {name} are {enum.__name__}.",
            hint=f"--weights {enum.__name__}.DEFAULT, or --model of {of.partition('_')[0]}",
        )
    if member_name.upper() == "DEFAULT":
        return enum.DEFAULT
    for member in enum:
        if member.name.lower() == member_name.lower():
            return member
    choices = [member.name for member in enum]
    near = difflib.get_close_matches(member_name.upper(), choices, 1, 0.5)
    raise UnknownModelError(
        f"{name} has no weights named {plain(repr(weights))}: torchvision knows "
        f"{', '.join(choices)}.",
        hint=f"--weights {near[0] if near else 'DEFAULT'}, random, or a file",
    )


def check_weights_name(name: str, weights: str) -> None:
    """Raise UnknownModelError unless weights that are no file are known by that name."""
    if weights not in ("random", OWN_WEIGHTS) and not timm_models.is_timm(name):
        _named_weights(name, weights)


def _local(weights: str) -> Path:
    """The path of a weights file; CheckpointError for an address on the web."""
    if re.match(r"[a-zA-Z][\w+.-]+://", weights):
        raise CheckpointError(
            f"{plain(weights)} is an address; weights are read from local files.",
            hint="download it first, then --weights FILE",
        )
    return Path(weights).expanduser()


def _crop_size(weights: Any) -> int:
    size = weights.transforms().crop_size
    return int(size[0] if isinstance(size, (list, tuple)) else size)


def is_file_name(weights: str) -> bool:
    """Whether `weights` names a file rather than published weights.

    `ResNet18_Weights.IMAGENET1K_V1`, as torchvision writes it, does not, dot or no dot.
    """
    separators = {os.sep, os.altsep or os.sep}
    if any(s in weights for s in separators) or os.path.exists(weights):
        return True
    return bool(Path(weights).suffix) and _ENUM.fullmatch(weights) is None


def _download(url: str, name: str, progress: bool) -> Path:
    """The cached file of `url`, fetched first if it is not there.

    raises   WeightsUnavailableError that names the file and the folder to put it in;
             CheckpointError for a cached file that is not the published one, by its hash
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    prefix = re.search(r"-([0-9a-f]{8,})\.", path.name)
    if path.exists():
        _check_cached(path, name, prefix[1] if prefix else "")
        return path
    before = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(DOWNLOAD_TIMEOUT)
        torch.hub.download_url_to_file(
            url, str(path), prefix[1] if prefix else None, progress=progress
        )
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash a RuntimeError
        raise WeightsUnavailableError(
            f"The weights of {name} are not cached and could not be downloaded from {url} "
            f"({one_line(error)}).",
            hint=f"put {path.name} into {folder}, or --weights FILE, or --weights fractals alone",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def _check_cached(path: Path, name: str, prefix: str) -> None:
    """Raise CheckpointError unless a file's SHA-256 begins as its name says that it does."""
    mend = f"delete {path}: the next run downloads it again"
    if not path.is_file():
        raise CheckpointError(f"{path}, where {name}'s weights are kept, is no file.", hint=mend)
    digest = sha256(path)
    if not digest.startswith(prefix):
        raise CheckpointError(
            f"{path} is not what torchvision publishes for {name}: cut short, damaged, or another "
            f"file (its SHA-256 begins with {digest[: len(prefix)]}).",
            hint=f"{mend}. A file of your own: --weights FILE",
        )
