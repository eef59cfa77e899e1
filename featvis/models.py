"""Classification networks, frozen and ready to be looked into, and where their weights come from.

The only module here that opens files: checkpoints, and torch.hub's download cache. Checkpoints
are read as tensors and nothing else (`weights_only=True`, or safetensors), so a file cannot run
code; the class count, the auxiliary heads and a vision transformer's picture size are read from
the tensors' names and shapes.
"""

from __future__ import annotations

import copy
import difflib
import hashlib
import os
import pickle
import re
import socket
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torchvision.models
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models.maxvit import MaxVit

from featvis import timm_models
from featvis.errors import (
    CheckpointError,
    DeviceError,
    UnknownModelError,
    WeightsUnavailableError,
)
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

# Keys under which training scripts put the state dict beside the optimizer's.
_WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "params",
    "weights",
    "state_dict_ema",
    "model_ema",
    "ema",
)
_AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}  # heads used in training only


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


def model_names() -> list[str]:
    """Names of torchvision's classification architectures, sorted."""
    return list(torchvision.models.list_models(module=torchvision.models))


def is_known(name: str) -> bool:
    """Whether `skeleton` can build an architecture of that name."""
    return timm_models.is_timm(name) or name in model_names()


def resolve_device(name: str) -> str:
    """The device that `name` means here.

    name     auto | cpu | cuda | cuda:N | mps; auto takes cuda, then mps, then cpu
    returns  cpu | cuda | cuda:N | mps
    raises   DeviceError if the asked-for device is missing
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    if name == "cpu":
        return name
    if name == "mps":
        if torch.backends.mps.is_available():
            return name
        raise DeviceError("No Metal GPU (mps) is available here.", hint="--device auto or cpu")
    match = re.fullmatch(r"cuda(?::(\d+))?", name)
    if match is None:
        raise DeviceError(f"Unknown device {name!r}.", hint="auto, cpu, cuda, cuda:N or mps")
    if not torch.cuda.is_available():
        why = "" if torch.version.cuda else f" (torch {torch.__version__} is built without CUDA)"
        raise DeviceError(f"No CUDA GPU is available here{why}.", hint="--device auto or cpu")
    count = torch.cuda.device_count()
    if match[1] is not None and int(match[1]) >= count:
        raise DeviceError(
            f"There is no {name}: this machine has {count} CUDA device(s), cuda:0 to "
            f"cuda:{count - 1}.",
            hint="--device cuda",
        )
    return name


def gpu_count(device: str) -> int:
    """How many GPUs a resolved device stands for: "cuda" for all there are, anything else one."""
    return torch.cuda.device_count() if device == "cuda" else 1


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
    _check_name(name)
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
        weights_id = f"sha256:{_sha256(path)}"
        model = _load_into(name, read_checkpoint(path), path)
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
        model = _load_into(name, read_checkpoint(path), path)
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
        num_classes=_class_count(model),
        device=device,
    )


def normalisation(weights: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel that torchvision's weights ask for, of pictures in [0, 1]."""
    preset = weights.transforms()
    return tuple(preset.mean), tuple(preset.std)


def build(
    name: str,
    num_classes: int | None = None,
    image_size: int | None = None,
    *,
    auxiliary: bool = False,
    random: bool = False,
) -> nn.Module:
    """A network of architecture `name` with whatever weights its maker draws.

    num_classes  of the head; None: ImageNet's 1000
    image_size   side for networks that take one size only; others ignore it
    auxiliary    with the extra heads that GoogLeNet and Inception use in training
    random       False skips GoogLeNet's and Inception's slow special initialisation
    """
    if timm_models.is_timm(name):
        return timm_models.build(name, num_classes, image_size)
    options: dict[str, Any] = {}
    if num_classes is not None:
        options["num_classes"] = num_classes
    if name in _AUXILIARY:
        # Published weights, and so what is fine-tuned from them, turn ImageNet's normalisation
        # into their own at the input.
        options.update(aux_logits=auxiliary, init_weights=random, transform_input=True)
    if image_size is not None and name.startswith("vit_"):
        options["image_size"] = image_size
    if image_size is not None and name.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    model: nn.Module = torchvision.models.get_model(name, weights=None, **options)
    return model


def skeleton(
    name: str,
    num_classes: int | None = None,
    image_size: int | None = None,
    *,
    auxiliary: bool = False,
) -> nn.Module:
    """`build` on the meta device: names and shapes, no memory and no arithmetic."""
    _check_name(name)
    with torch.device("meta"), _NumbersOnCPU():
        model = build(name, num_classes, image_size, auxiliary=auxiliary)
    return model.to("meta").eval().requires_grad_(False)


class _NumbersOnCPU(TorchFunctionMode):
    """Keeps tensors that hold given numbers off the meta device: RegNets read theirs back."""

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func in (torch.arange, torch.tensor):
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def native_size(model: nn.Module) -> int | None:
    """The only side in pixels that `model` takes, or None where it takes many."""
    if isinstance(model, torchvision.models.VisionTransformer):
        return int(model.image_size)
    return 224 if isinstance(model, MaxVit) else timm_models.fixed_side(model)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a .pt, .pth or .safetensors file, unwrapped, on the CPU.

    Only tensors and plain containers are read; nothing in the file is executed.

    raises   CheckpointError if the file is missing or damaged, or holds anything else
    """
    _check_regular(path)
    try:
        if path.suffix == ".safetensors":
            loaded: Any = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # whatever a damaged file does to the readers of torch and zip
        if "TorchScript" in str(error):
            raise _refused(path, "TorchScript") from error
        raise CheckpointError(
            f"{path} is damaged, cut short, or no checkpoint ({_one_line(error)}).",
            hint="copy or download it again and compare its hash",
        ) from error
    state = _unwrap(loaded)
    if state is None:
        raise CheckpointError(
            f"{path} holds no state dict: found {_describe(loaded)}.",
            hint="torch.save(model.state_dict(), FILE) and --weights FILE",
        )
    odd = [
        key
        for key, value in state.items()
        if value.layout != torch.strided or value.is_meta or value.is_complex()
    ]
    if odd:
        raise CheckpointError(
            f"{path} holds tensors that are sparse, complex or without data: {_some(odd)}.",
            hint="torch.save(model.state_dict(), FILE) of the plain network",
        )
    return state


def _check_regular(path: Path) -> None:
    """Raise CheckpointError for what is missing, unreadable, or a pipe that may never end."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(
                f"{path} cannot be read: it is no regular file.", hint="--weights FILE"
            )
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read: {error.strerror or error}.",
        hint="--weights FILE, DEFAULT or random",
    )


def _refused(path: Path, text: str) -> CheckpointError:
    """The error for a pickle that holds more than tensors, or that is not even a pickle."""
    found = re.search(r"(?:GLOBAL |<class ')([\w.]+)", text)
    if "TorchScript" in text:
        what = "is a TorchScript archive, which is a program"
    elif found is not None:
        what = f"holds pickled objects ({found[1]}) that could run code"
    else:
        return CheckpointError(
            f"{path} is damaged, cut short, or no checkpoint ({_one_line(text)}).",
            hint="copy or download it again and compare its hash",
        )
    return CheckpointError(
        f"{path} {what}; it was refused unread.",
        hint="save only tensors: torch.save(model.state_dict(), FILE), or safetensors",
    )


def _unwrap(loaded: object, depth: int = 3) -> dict[str, Tensor] | None:
    """The state dict inside what was loaded, looking through the usual wrappers."""
    if not isinstance(loaded, Mapping):
        return None
    tensors = {k: v for k, v in loaded.items() if isinstance(k, str) and isinstance(v, Tensor)}
    if depth > 0:
        for key in _WRAPPERS:
            inner = _unwrap(loaded[key], depth - 1) if key in loaded else None
            if inner and len(inner) > len(tensors):
                return inner
    return tensors or None


def _load_into(name: str, state: dict[str, Tensor], path: Path) -> nn.Module:
    """Architecture `name` with the tensors of `state`, sized as they ask.

    raises   CheckpointError that says which keys are missing, unexpected or of another shape
    """
    mark = _AUXILIARY.get(name)
    plain = skeleton(name)
    state = _without_prefix(state, plain.state_dict())
    auxiliary = mark is not None and any(key.startswith(mark) for key in state)
    classes = _classes_in(name, state)
    size = _image_size_in(plain, state)
    shapes = skeleton(name, classes, size, auxiliary=auxiliary).state_dict()
    _compare(name, state, shapes, path)
    # The maker's own draws are thrown away, but must not move torch's global generator.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        model = build(name, classes, size, auxiliary=auxiliary)
    converted = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    model.load_state_dict({k: v for k, v in converted.items() if k in shapes}, strict=False)
    return model


def _without_prefix(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` without what wrappers put before every name: "module.", "_orig_mod.", "model." …

    The prefix is the one under which most of the expected names are found. Tensors outside it
    (of a loss, a teacher, an average of the weights) are left out.
    """
    votes: Counter[str] = Counter()
    for key in state:
        parts = key.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in expected:
                votes["".join(f"{part}." for part in parts[:start])] += 1
    if not votes:
        return state
    prefix = max(votes, key=lambda p: (votes[p], -len(p)))
    if not prefix:
        return state
    return {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}


@lru_cache(maxsize=8)
def _head_keys(name: str) -> tuple[str, ...]:
    """Names of the tensors whose first axis is the number of classes."""
    one = skeleton(name, 1000).state_dict()
    other = skeleton(name, 1001).state_dict()
    return tuple(key for key in one if one[key].shape != other[key].shape)


def _classes_in(name: str, state: Mapping[str, Tensor]) -> int | None:
    for key in _head_keys(name):
        if key in state and state[key].ndim > 0:
            return int(state[key].shape[0]) or None
    return None


def _image_size_in(plain: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """A vision transformer's picture side, from the number of its position embeddings."""
    positions = state.get("encoder.pos_embedding")
    if not isinstance(plain, torchvision.models.VisionTransformer) or positions is None:
        return None
    if positions.ndim != 3:
        return None
    side = round(max(0, int(positions.shape[1]) - 1) ** 0.5)
    return side * int(plain.patch_size) or None


def _compare(
    name: str, state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> None:
    """Raise CheckpointError unless every tensor of the architecture is there, finite, in shape."""
    # Checkpoints from before torch 0.4.1 have no batch counters; eval mode never reads them.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    reshaped = [k for k in expected if k in state and state[k].shape != expected[k].shape]
    complaints = []
    if missing:
        complaints.append(f"{len(missing)} keys missing ({_some(missing)})")
    if unexpected:
        complaints.append(f"{len(unexpected)} unexpected ({_some(unexpected)})")
    if reshaped:
        shown = [
            f"{k} {tuple(state[k].shape)} instead of {tuple(expected[k].shape)}" for k in reshaped
        ]
        complaints.append(f"{len(reshaped)} of another shape ({_some(shown)})")
    if complaints:
        raise CheckpointError(
            f"{path} is no checkpoint of {name}: {'; '.join(complaints)}.",
            hint="the --model that the checkpoint was trained with",
        )
    broken = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path} holds numbers that are not finite: {len(broken)} tensors ({_some(broken)}).",
            hint="a checkpoint from before the training diverged",
        )


def _class_count(model: nn.Module) -> int:
    """Rows of the last matrix, which is the head."""
    heads = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    head = heads[-1] if heads else None
    if isinstance(head, nn.Linear):
        return head.out_features
    return head.out_channels if isinstance(head, nn.Conv2d) else 0


def _check_name(name: str) -> None:
    if timm_models.is_timm(name):
        timm_models.check_name(name)
        return
    names = model_names()
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
        raise UnknownModelError(
            f"Unknown model {name!r}.",
            hint=" or ".join(near) if near else f"one of {_some(names, 8)}",
        )


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
            f"({_one_line(error)}).",
            hint=f"put {path.name} into {folder}, or --weights FILE, or --weights fractals alone",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    _check_regular(path)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _describe(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        return f"a dictionary of {_some([str(k) for k in loaded]) or 'nothing'}"
    return f"a {type(loaded).__name__}"


def _some(items: Iterable[str], count: int = 3) -> str:
    items = list(items)
    return ", ".join(items[:count]) + (", …" if len(items) > count else "")


def _one_line(error: object, limit: int = 160) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
