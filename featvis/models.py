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
import torchvision.models
from torch import nn

from featvis import timm_models
from featvis.architectures import build, check_name, class_count, is_known, native_size, skeleton
from featvis.checkpoints import load_into, read_checkpoint, sha256
from featvis.devices import resolve_device
from featvis.errors import CheckpointError, UnknownModelError, WeightsUnavailableError, one_line
from featvis.folding import fold, foldable_pairs

# The network that comes with this package: trained on our own fractals and nothing else.
OWN_WEIGHTS = "fractals"
OWN_MODEL = "squeezenet1_1"
# Trained at 128 pixels, shown at 96: coarser pictures, with more contrast at 32 px and less alike;
# at 64 they blur (weights/README.md has the numbers).
OWN_INPUT_SIZE = 96
OWN_FILE = Path(__file__).parent / "weights" / "fractals-squeezenet1_1.safetensors"

# Mean and standard deviation of ImageNet's training pictures in [0, 1], as nearly every torchvision
# classification weight asks for them (not efficientnet_v2_l's, nor vgg16's IMAGENET1K_FEATURES).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

DOWNLOAD_TIMEOUT = 30.0  # seconds without a byte before the network counts as unavailable


@dataclass
class Network:
    """A network in eval mode, its weights frozen, on its device.

    model       takes (n, 3, h, w) float32, normalised by mean and std
    weights_id  "IMAGENET1K_V2", "random:SEED" or "sha256:..." of the checkpoint file
    mean, std   per channel, of pictures in [0, 1]
    input_size  side in pixels that the weights were made for
    fixed_size  whether that is the only side the network takes
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
    fits: dict[tuple[str, int, int], bool] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # (module, call, side) -> whether such a picture gets there
    _pairs: dict[str, str] | None = field(default=None, init=False, repr=False, compare=False)
    _on_meta: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    _ready: dict[tuple[bool, bool], nn.Module] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )  # (folded, bfloat16) -> the network made faster so

    def on_meta(self) -> nn.Module:
        """The network on the meta device: shapes without memory or arithmetic. Made once."""
        if self._on_meta is None:
            if is_known(self.name):
                size = self.input_size if self.fixed_size else None
                self._on_meta = skeleton(self.name, self.num_classes or None, size)
            else:
                self._on_meta = copy.deepcopy(self.model).to("meta")
        return self._on_meta

    def ready(self, target: str = "", *, bfloat16: bool = False) -> nn.Module:
        """The network as fast as it goes up to module `target`; made once and kept.

        Batch normalisation is folded into convolutions, unless `target` is such a convolution.
        With bfloat16 the weights of matrix products are converted, for use under autocast:
        autocast itself keeps conversions only of weights that want a gradient, so frozen ones
        would be converted anew at every step.
        """
        if self._pairs is None:
            self._pairs = foldable_pairs(self.on_meta(), self.input_size)
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
    published = None if timm else torchvision.models.get_model_weights(name).DEFAULT
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model = build(name, random=True)
        weights_id = f"random:{seed}"
    elif _is_path(weights):
        path = Path(weights).expanduser()
        weights_id = f"sha256:{sha256(path)}"
        model = load_into(name, read_checkpoint(path), path)
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
        model = load_into(name, read_checkpoint(path), path)
    fixed = native_size(model)
    model.eval().requires_grad_(False)
    model.to(device).to(memory_format=torch.channels_last)
    if published is None:
        mean, std = timm_models.normalisation(name)
        size = timm_models.side(name)
    else:
        mean, std = normalisation(published)
        size = OWN_INPUT_SIZE if own else _crop_size(published)
    return Network(
        model=model,
        name=name,
        weights_id=weights_id,
        mean=mean,
        std=std,
        input_size=fixed or size,
        fixed_size=fixed is not None,
        num_classes=class_count(model),
        device=device,
    )


def normalisation(weights: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel that torchvision's weights ask for, of pictures in [0, 1]."""
    preset = weights.transforms()
    return tuple(preset.mean), tuple(preset.std)


def _named_weights(name: str, weights: str) -> Any:
    enum = torchvision.models.get_model_weights(name)
    if weights.upper() == "DEFAULT":
        return enum.DEFAULT
    for member in enum:
        if member.name.lower() == weights.rpartition(".")[2].lower():
            return member
    choices = [member.name for member in enum]
    near = difflib.get_close_matches(weights.upper(), choices, 1, 0.5)
    raise UnknownModelError(
        f"{name} has no weights named {weights!r}: torchvision knows {', '.join(choices)}.",
        hint=f"--weights {near[0] if near else 'DEFAULT'}, random, or a file",
    )


def _crop_size(weights: Any) -> int:
    size = weights.transforms().crop_size
    return int(size[0] if isinstance(size, (list, tuple)) else size)


def _is_path(weights: str) -> bool:
    separators = {os.sep, os.altsep or os.sep}
    return (
        any(s in weights for s in separators)
        or bool(Path(weights).suffix)
        or Path(weights).exists()
    )


def _download(url: str, name: str, progress: bool) -> Path:
    """The cached file of `url`, fetched first if it is not there.

    raises   WeightsUnavailableError that names the file and the folder to put it in
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / url.rpartition("/")[2]
    if path.is_file():
        return path
    prefix = re.search(r"-([0-9a-f]{8,})\.", path.name)
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
