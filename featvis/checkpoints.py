"""Weights out of files.

Checkpoints are read as tensors and nothing else (`weights_only=True`, or safetensors), so a file
cannot run code; the class count, the auxiliary heads and a vision transformer's picture size are
read from the tensors' names and shapes.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from featvis import file_kinds, matching
from featvis.architectures import AUXILIARY, build, is_a, probing_side, relatives, skeleton
from featvis.errors import CheckpointError, one_line, plain, some
from featvis.matching import StateDict
from featvis.stand_ins import NumPyStandIn, only_stand_ins
from featvis.uses import uses_of

_AGAIN = "copy or download it again and compare its hash"
_DEPTH = 4  # dictionaries inside dictionaries that are looked into
_MOST_CLASSES = 1_000_000
# of pictures in [0, 1]: ImageNet's, as nearly all weights want it
_NORMALISATION = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


@dataclass
class Loaded:
    """A network with the weights of a file.

    model  in which every weight that the file lacks is NaN
    lacks  name of a weight -> why it cannot be used: missing, of another shape, or not finite
    notes  lines about what was chosen or passed over
    """

    model: nn.Module
    lacks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_checkpoint(path: Path) -> list[StateDict]:
    """The state dicts in a PyTorch or safetensors file, on the CPU; at least one.

    What kind of file it is is told by its first bytes. Only tensors and plain containers are read,
    and harmless objects beside them as stand-ins; nothing in the file is executed.

    raises   CheckpointError if the file is missing or damaged, or holds anything else
    """
    kind = file_kinds.kind_of(path)
    try:
        if kind == file_kinds.SAFETENSORS:
            loaded: Any = load_file(path)
        else:
            # from a stream, since of a path torch asks its name what kind of file it is
            with path.open("rb") as file, warnings.catch_warnings(), only_stand_ins():
                warnings.simplefilter("ignore")
                loaded = torch.load(file, map_location="cpu", weights_only=True)
        states = list(_state_dicts(loaded, (), set()))
    except pickle.UnpicklingError as error:
        raise _refused(path, kind, str(error)) from error
    except MemoryError as error:
        raise CheckpointError(
            f"{path} asks for more memory than there is: damaged, or too large for this machine.",
            hint=_AGAIN,
        ) from error
    except (LookupError, AttributeError, TypeError) as error:  # bytes in the wrong place
        raise _damaged(path, kind, "") from error
    except Exception as error:  # whatever else a damaged file does to the readers of torch and zip
        raise _damaged(path, kind, str(error)) from error
    if not states:
        raise CheckpointError(
            f"{path} holds no state dict: found {_describe(loaded)}.",
            hint="torch.save(model.state_dict(), FILE) and --weights FILE",
        )
    return states


def _damaged(path: Path, kind: str, text: str) -> CheckpointError:
    """The error for a file that a reader fails on, without torch's advice on its safety switch."""
    if kind == file_kinds.PICKLE or "Unsupported operand" in text:
        return CheckpointError(
            f"{path} is damaged, or a pickle that torch.save would not write (its protocol is 2).",
            hint="torch.save(model.state_dict(), FILE) where it was made",
        )
    text = text.rpartition("WeightsUnpickler error:")[2]
    if not text.strip() or "weights_only" in text or "Weights only" in text:
        reason = ""
    else:
        reason = f" ({one_line(text, 120)})"
    return CheckpointError(f"{path} is damaged, cut short, or no checkpoint{reason}.", hint=_AGAIN)


def _refused(path: Path, kind: str, text: str) -> CheckpointError:
    """The error for a pickle that holds more than tensors, or that is not even a pickle."""
    found = re.search(r"(?:GLOBAL |<class '|function <function |DTensors|NJTs)([\w.]*)", text)
    if found is None:
        return _damaged(path, kind, text)
    what = plain(found[1] or "distributed or nested tensors")
    return CheckpointError(
        f"{path} holds pickled objects ({what}) that could run code; it was refused unread.",
        hint="save only tensors where it was made: torch.save(model.state_dict(), FILE), or "
        "safetensors (docs/errors.md#a-checkpoint-is-refused)",
    )


def _state_dicts(loaded: object, place: tuple[str, ...], seen: set[int]) -> Iterator[StateDict]:
    """Every dictionary of tensors in what was loaded, the outermost first."""
    if not isinstance(loaded, dict) or id(loaded) in seen or len(place) > _DEPTH:
        return
    seen.add(id(loaded))
    # a loaded dictionary may carry attributes that hide its methods, a tensor too
    items = [(key, value) for key, value in dict.items(loaded) if isinstance(key, str)]
    tensors = {k: torch.Tensor.detach(v) for k, v in items if isinstance(v, Tensor)}
    if tensors:
        yield StateDict(place, tensors)
    for key, value in items:
        yield from _state_dicts(value, (*place, key), seen)


def load_into(name: str, states: list[StateDict], path: Path) -> Loaded:
    """Architecture `name` with the tensors of one of `states`, sized as they ask.

    A file may lack the network's end, as a backbone without its head does; `Loaded.lacks` says what
    no layer that needs it can be drawn from.

    raises   CheckpointError that says which keys are missing, unexpected or of another shape, or
             hold numbers that no network can use
    """
    mark = AUXILIARY.get(name)
    plainly = skeleton(name)
    heads = _heads(name)
    wide = plainly if mark is None else skeleton(name, auxiliary=True)
    children = [child for child, _ in plainly.named_children()]
    found = matching.match(states, wide.state_dict(), heads, children)
    auxiliary = mark is not None and any(key.startswith(mark) for key in found.tensors)
    classes = _classes_in(name, found.tensors, path)
    size = _image_size_in(plainly, found.tensors)
    sized = skeleton(name, classes, size, auxiliary=auxiliary)
    shapes = sized.state_dict()
    built = frozenset(n for n, _ in sized.named_buffers() if not _last(n).startswith("running_"))
    whole = {key: place for place, key in enumerate(shapes)}  # unless something is wrong
    infinite = [k for k in shapes if k in found.tensors and not _finite(found.tensors[k])]
    comparison = matching.compare(found.tensors, shapes, whole, heads, built)
    if comparison.gaps or infinite:
        whole = uses_of(sized, size or probing_side(name, sized)).read
        comparison = matching.compare(found.tensors, shapes, whole, heads, built)
    if not matching.is_backbone(comparison, whole, heads):
        raise _another(name, comparison, shapes, found.tensors, path)
    state = {k: v for k, v in found.tensors.items() if k in shapes and k not in comparison.gaps}
    _check_numbers(state, shapes, path)
    infinite = [key for key in infinite if key in whole]
    if infinite and min(whole[key] for key in infinite) == min(whole.values()):
        raise _not_finite(infinite, path)
    model = _filled(name, classes, size, auxiliary, state, comparison.gaps)
    lacks = {**comparison.gaps, **dict.fromkeys(infinite, "is not finite")}
    return Loaded(model, lacks, _notes(name, found, comparison, infinite, path))


def _filled(
    name: str,
    classes: int | None,
    size: int | None,
    auxiliary: bool,
    state: Mapping[str, Tensor],
    gaps: Mapping[str, str],
) -> nn.Module:
    # The maker's own draws are thrown away, but must not move torch's global generator.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = build(name, classes, size, auxiliary=auxiliary)
    own = model.state_dict()
    converted: OrderedDict[str, Tensor] = OrderedDict(
        (key, value.to(own[key].dtype)) for key, value in state.items()
    )
    # Tensors are named as today's versions of the modules do; MNASNet refuses a dict without one.
    converted._metadata = own._metadata  # type: ignore[attr-defined]
    model.load_state_dict(converted, strict=False)
    with torch.no_grad():
        for key in gaps:
            own[key].fill_(float("nan"))  # so that nothing drawn at random passes for a weight
    return model


def _heads(name: str) -> frozenset[str]:
    """Outermost modules that hold a tensor whose first axis is the number of classes."""
    return frozenset(key.partition(".")[0] for key in _head_keys(name))


@lru_cache(maxsize=8)
def _head_keys(name: str) -> tuple[str, ...]:
    """Names of the tensors whose first axis is the number of classes."""
    one = skeleton(name, 1000).state_dict()
    other = skeleton(name, 1001).state_dict()
    return tuple(key for key in one if one[key].shape != other[key].shape)


def _classes_in(name: str, state: Mapping[str, Tensor], path: Path) -> int | None:
    for key in _head_keys(name):
        if key in state and state[key].ndim > 0:
            count = int(state[key].shape[0])
            if count > _MOST_CLASSES:
                raise CheckpointError(
                    f"{path} has {count} classes in {key}; {_MOST_CLASSES} are read at most.",
                    hint=_AGAIN,
                )
            return count or None
    return None


def _image_size_in(plainly: nn.Module, state: Mapping[str, Tensor]) -> int | None:
    """A vision transformer's picture side, from the number of its position embeddings."""
    positions = state.get("encoder.pos_embedding")
    if not is_a(plainly, "VisionTransformer") or positions is None:
        return None
    if positions.ndim != 3 or positions.shape[1] > _MOST_CLASSES:
        return None
    side = round(max(0, int(positions.shape[1]) - 1) ** 0.5)
    patch: Any = plainly.patch_size
    return side * int(patch) or None


def _check_numbers(state: Mapping[str, Tensor], shapes: Mapping[str, Tensor], path: Path) -> None:
    """Raise CheckpointError unless weights are plain numbers of 16 bits and more."""
    odd: dict[str, list[str]] = {}
    for key, value in state.items():
        what = _oddity(value, shapes[key])
        if what is not None:
            odd.setdefault(what, []).append(key)
    for what, keys in odd.items():
        raise CheckpointError(
            f"{path} holds {what}: {len(keys)} tensors ({some(keys)}).",
            hint="the network's weights in float32, bfloat16 or float16, from before they were "
            "converted",
        )


def _oddity(value: Tensor, wanted: Tensor) -> str | None:
    """Why `value` is no weight in place of `wanted`; None where it is one."""
    if value.is_quantized:
        return f"quantized weights ({value.dtype})"
    if value.layout != torch.strided or value.is_meta or value.is_complex() or value.is_nested:
        return "tensors that are sparse, complex or without data"
    floating = value.is_floating_point()
    if floating and value.element_size() < 2:
        return f"8-bit floats ({value.dtype}), which are only part of a weight"
    if wanted.is_floating_point() and not floating:
        return f"integers ({value.dtype}) in place of weights"
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():
        return "tensors that are larger than their data"
    return None


def _finite(value: Tensor) -> bool:
    """Whether all numbers are, for kinds of tensors that are weights; `_oddity` names others."""
    if _oddity(value, value) is not None or not value.is_floating_point():
        return True
    return bool(torch.isfinite(value).all())


def _not_finite(keys: Sequence[str], path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} holds numbers that are not finite: {len(keys)} tensors ({some(keys)}).",
        hint="a checkpoint from before the training diverged",
    )


def _another(
    name: str,
    comparison: matching.Comparison,
    shapes: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
    path: Path,
) -> CheckpointError:
    """The error for a file that holds another architecture, with the likeliest mend."""
    return CheckpointError(
        f"{path} is no checkpoint of {name}: {matching.complaint(comparison)}.",
        hint=_mend(name, comparison, shapes, tensors),
    )


# A name that no plain network has -> what to ask for.
_CHANGED = (
    (r"\.lora_[AB]\.", "the network with its LoRA weights merged into the others"),
    (r"\.(weight_orig|weight_mask)$", "torch.nn.utils.prune.remove before saving"),
    (r"\.(weight_[gvu]|parametrizations\..*)$", "the weights without their parametrization"),
    (r"\.(qweight|qzeros|SCB|_packed_params)", "the network's weights before quantization"),
)
# A name that only one family has -> what to ask for.
_FAMILIES = (
    (r"^blocks\.\d+\.attn\.qkv\.", "a vision transformer of timm: --model timm:vit_…"),
    (r"^encoder\.layers\.encoder_layer_", "--model vit_b_16 or another vit_…"),
    (r"^features\.denseblock", "--model densenet121 or another densenet…"),
    (r"^layer1\.0\.conv3\.", "--model resnet50 or another resnet… of three convolutions"),
    (r"^layer1\.0\.conv1\.", "--model resnet18 or resnet34"),
    (r"^Mixed_5b\.", "--model inception_v3"),
    (r"^inception3a\.", "--model googlenet"),
    (r"^features\.\d+\.squeeze\.", "--model squeezenet1_0 or squeezenet1_1"),
    (r"^layers\.\d+\.\d+\.layers\.", "--model mnasnet1_0 or another mnasnet…"),
    (r"^trunk_output\.", "--model regnet_y_400mf or another regnet_…"),
)


def _mend(
    name: str,
    comparison: matching.Comparison,
    shapes: Mapping[str, Tensor],
    tensors: Mapping[str, Tensor],
) -> str:
    first = next((key for key in shapes if shapes[key].ndim == 4), next(iter(shapes)))
    value = tensors.get(first)
    # names that this architecture has itself say nothing of another
    others = [key for key in (*comparison.foreign, *comparison.left) if key not in shapes]
    if value is not None and first in comparison.gaps and value.ndim == shapes[first].ndim == 4:
        if value.shape[1] != 3:
            return (
                "a network for RGB pictures: the first layer of this one does not take three "
                "channels"
            )
        if value.shape[0] == shapes[first].shape[0] and len(comparison.gaps) == 1:
            return (
                "a network with torchvision's first layer: this one's is of another size, as for "
                "small pictures (CIFAR)"
            )
    for pattern, hint in _CHANGED:
        if any(re.search(pattern, key) for key in others):
            return hint
    if any(key in tensors for key in shapes):
        for other in relatives(name):
            theirs = skeleton(other).state_dict()
            if _fits(theirs, tensors, _heads(name)) and {*tensors} <= {*theirs, *comparison.left}:
                return f"--model {other}, whose weights these are"
    for pattern, hint in _FAMILIES:
        if any(re.search(pattern, key) for key in others):
            return hint
    return "the --model that the checkpoint was trained with"


def _fits(
    theirs: Mapping[str, Tensor], tensors: Mapping[str, Tensor], heads: frozenset[str]
) -> bool:
    """Whether all of an architecture but its head is there, in shape."""
    return all(
        key in tensors and tensors[key].shape == value.shape
        for key, value in theirs.items()
        if key.partition(".")[0] not in heads and not key.endswith("num_batches_tracked")
    )


def _notes(
    name: str,
    found: matching.Match,
    comparison: matching.Comparison,
    infinite: Sequence[str],
    path: Path,
) -> list[str]:
    """Lines about a choice that was made, or about weights that were passed over."""
    notes = []
    if found.rivals:
        notes.append(
            f"{path} holds several networks: {plain(found.place) or 'the outermost'} is used, not "
            f"{some(found.rivals)}"
        )
    if comparison.gaps:
        notes.append(
            f"{path} lacks the end of {name} ({some(comparison.gaps)}): only layers before it can "
            "be drawn"
        )
    if infinite:
        notes.append(
            f"{path} holds numbers that are not finite ({some(infinite)}): only layers before them "
            "can be drawn"
        )
    beside = {**{key: found.tensors[key] for key in comparison.left}, **found.outside}
    left = [key for key in beside if not _is_counter(key)]
    other = [key for key in left if not _usual(key, beside[key])]
    if other:
        notes.append(
            f"{path} normalises pictures by numbers of its own ({some(other)}); ImageNet's are used"
        )
    if left and not found.rivals:
        notes.append(
            f"{path} holds more than {name}; passed over: {len(left)} tensor"
            f"{'s' if len(left) > 1 else ''} ({some(left)})"
        )
    return notes


def _usual(key: str, value: Tensor) -> bool:
    """False for a mean or standard deviation of RGB pictures that is not ImageNet's."""
    for word, usual in _NORMALISATION.items():
        if re.search(rf"(^|_){word}$", _last(key)) and value.numel() == 3:
            flat = value.double().flatten()
            return bool(torch.allclose(flat, torch.tensor(usual).double(), atol=0.01))
    return True


def _is_counter(key: str) -> bool:
    return _last(key) in ("total_ops", "total_params", "n_averaged", "num_batches_tracked")


def _last(key: str) -> str:
    return key.rpartition(".")[2]


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file.

    raises  CheckpointError if it cannot be read
    """
    digest = hashlib.sha256()
    file_kinds.check_regular(path)
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise file_kinds.unreadable(path, error) from error
    return digest.hexdigest()


def _describe(loaded: object) -> str:
    if isinstance(loaded, dict):
        values = list(dict.values(loaded))
        if values and all(isinstance(value, NumPyStandIn) for value in values):
            return f"a dictionary of {len(values)} NumPy arrays"
        return f"a dictionary of {some([str(k) for k in dict.keys(loaded)]) or 'nothing'}"
    return f"a {type(loaded).__name__}"
