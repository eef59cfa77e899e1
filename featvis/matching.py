"""Which tensor of a checkpoint is which weight of an architecture.

Names in checkpoints differ from the architecture's by what wrappers put in front of them or between
their parts, and by what older versions of torchvision called the same tensor.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from featvis.errors import some

# What wrappers put between the parts of a name: DataParallel and DDP, torch.compile, activation
# checkpointing, FSDP, DeepSpeed and accelerate.
_WRAPPED = frozenset(
    ("module", "_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "_forward_module")
)
# Names that torchvision's builders and modules mend when they load older files.
_OLD_NAMES = (
    # models/densenet.py: the published files' "denselayer1.norm.1.weight"
    (re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)"), r"\1\2"),
    # models/vision_transformer.py: MLPBlock before version 2
    (re.compile(r"(\bencoder_layer_\d+\.mlp\.)linear_1\."), r"\g<1>0."),
    (re.compile(r"(\bencoder_layer_\d+\.mlp\.)linear_2\."), r"\g<1>3."),
)
# Words for the network beside the one that was trained: an average, a copy that lags behind, or, in
# DINO, the student, whose teacher is the one to use.
_SECOND = re.compile(
    r"(?:^|_)(?:student|momentum|target|ema|swa|averaged?|shadow|key|k|m)(?:_|$)", re.IGNORECASE
)
# Keys under which training scripts put the state dict beside the optimizer's, the likeliest first.
_WRAPPERS = (
    "", "state_dict", "model_state_dict", "model_state", "model", "net", "network", "module",
    "params", "weights", "encoder", "backbone", "teacher", "student", "state_dict_ema",
    "model_ema", "ema",
)  # fmt: skip
# What profilers and averages leave beside weights; nothing in a network reads it.
_COUNTERS = ("total_ops", "total_params", "n_averaged", "num_batches_tracked")


@dataclass(frozen=True)
class StateDict:
    """One state dict of a file.

    place    the keys under which it lies, outermost first
    tensors  by the names in the file
    """

    place: tuple[str, ...]
    tensors: Mapping[str, Tensor]


@dataclass
class Match:
    """The weights of an architecture that were found in a file.

    tensors  by the architecture's names; others of the file under theirs
    found    how many of the architecture's names there are
    place    where they were found, dotted; "" where they lie plainly
    rivals   other places with as many weights, and other numbers in them
    outside  what lies outside that place, by the names in the file
    """

    tensors: dict[str, Tensor]
    found: int = 0
    place: str = ""
    rivals: list[str] = field(default_factory=list)
    outside: dict[str, Tensor] = field(default_factory=dict)


def match(
    states: Sequence[StateDict],
    expected: Iterable[str],
    heads: frozenset[str],
    children: Sequence[str],
) -> Match:
    """The weights in a file that fit an architecture best.

    states    what the file holds
    expected  the architecture's names
    heads     its outermost modules that depend on the number of classes: a backbone has none
    children  its outermost modules in order, which `nn.Sequential(*model.children())` numbers
    """
    names = frozenset(expected)
    core = frozenset(n for n in names if _top(n) not in heads and _last(n) not in _COUNTERS)
    options = [option for state in states for option in _options(state, names, core, children)]
    if not options:
        first = max(states, key=lambda state: len(state.tensors))
        return Match({_clean(key): value for key, value in first.tensors.items()})
    best = max(option.core for option in options)
    equal = [option for option in options if option.core == best]
    chosen = min(equal, key=_rank)
    rivals = [o for o in equal if o is not chosen and best and not _same(o, chosen, core)]
    outside = {k: v for k, v in chosen.state.tensors.items() if k not in chosen.keys}
    return Match(
        {name: chosen.state.tensors[key] for key, name in chosen.keys.items()},
        chosen.found,
        ".".join((*chosen.state.place, *chosen.prefix)),
        [".".join((*rival.state.place, *rival.prefix)) for rival in rivals],
        outside,
    )


@dataclass
class _Option:
    """A way to read a state dict: the names under one prefix.

    keys   names in the file -> without the prefix
    found  how many are the architecture's; core: of these, how many are not the head's
    """

    state: StateDict
    prefix: tuple[str, ...]
    keys: dict[str, str]
    found: int
    core: int


def _options(
    state: StateDict, names: frozenset[str], core: frozenset[str], children: Sequence[str]
) -> list[_Option]:
    """The prefixes under which names of the architecture are found."""
    cleaned = _cleaned(state.tensors, names)
    options = _by_prefix(state, cleaned, names, core)
    if max((option.core for option in options), default=0) * 2 < len(core):
        numbered = {key: _from_number(name, children) for key, name in cleaned.items()}
        options += _by_prefix(state, numbered, names, core)
    return options


def _by_prefix(
    state: StateDict, cleaned: Mapping[str, str], names: frozenset[str], core: frozenset[str]
) -> list[_Option]:
    votes: Counter[tuple[str, ...]] = Counter()
    for name in cleaned.values():
        parts = name.split(".")
        for start in range(len(parts)):
            if ".".join(parts[start:]) in names:
                votes[tuple(parts[:start])] += 1
    most = max(votes.values(), default=0)
    options = []
    for prefix, count in votes.items():
        if count * 2 < most:
            continue
        text = "".join(f"{part}." for part in prefix)
        keys = {key: name[len(text) :] for key, name in cleaned.items() if name.startswith(text)}
        hits = names.intersection(keys.values())
        options.append(_Option(state, prefix, keys, len(hits), len(hits & core)))
    return options


def _cleaned(keys: Iterable[str], names: frozenset[str]) -> dict[str, str]:
    """Names in the file -> without wrappers, by today's names; of two alike the plainest stays."""
    cleaned: dict[str, str] = {}
    taken: set[str] = set()
    for key in sorted(keys, key=lambda k: k.count(".")):
        name = key if key in names else _clean(key)
        if name not in taken:
            taken.add(name)
            cleaned[key] = name
    return {key: cleaned[key] for key in keys if key in cleaned}


def _clean(key: str) -> str:
    name = ".".join(part for part in key.split(".") if part not in _WRAPPED)
    for pattern, today in _OLD_NAMES:
        name = pattern.sub(today, name)
    return name


def _from_number(name: str, children: Sequence[str]) -> str:
    """`name` with its first number replaced by the module of that number, if there is one."""
    parts = name.split(".")
    for place, part in enumerate(parts):
        if part.isdecimal() and int(part) < len(children):
            return ".".join((*parts[:place], children[int(part)], *parts[place + 1 :]))
    return name


def _rank(option: _Option) -> tuple[int, int, int, int]:
    """Smaller is likelier the network that is meant."""
    words = (*option.state.place, *option.prefix)
    second = sum(_SECOND.search(word) is not None for word in words)
    place = option.state.place[-1] if option.state.place else ""
    wrapper = _WRAPPERS.index(place) if place in _WRAPPERS else len(_WRAPPERS)
    return second, -option.found, wrapper, len(option.prefix)


def _same(one: _Option, other: _Option, core: frozenset[str]) -> bool:
    """Whether two options are the same tensors: MadryLab's files hold the network twice."""
    mine = {name: one.state.tensors[key] for key, name in one.keys.items() if name in core}
    theirs = {name: other.state.tensors[key] for key, name in other.keys.items() if name in core}
    return all(_equal(mine[name], theirs[name]) for name in list(mine)[:3] if name in theirs)


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one in memory, or plain and of equal numbers."""
    if one.shape != other.shape or one.dtype != other.dtype or one.layout != torch.strided:
        return False
    if one.is_meta or one.is_quantized or one.element_size() < 2:
        return False
    if one.data_ptr() == other.data_ptr():
        return True
    # of a tensor that is larger than its data the comparison might have no end
    small = one.numel() * one.element_size() <= one.untyped_storage().nbytes()
    return small and torch.equal(one, other)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _last(name: str) -> str:
    return name.rpartition(".")[2]


@dataclass
class Comparison:
    """What a file has of an architecture, and what not.

    gaps      weight -> why it is not there: missing, or of another shape
    foreign   names inside the architecture's modules that it does not have
    left      names outside of them, and of another head
    """

    gaps: dict[str, str]
    missing: list[str]
    reshaped: list[str]
    foreign: list[str]
    left: list[str]


def compare(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    read: Mapping[str, int],
    heads: frozenset[str],
    built: frozenset[str],
) -> Comparison:
    """Weights that a network reads against those of a file.

    tensors   by the architecture's names
    expected  the architecture's own, for their shapes
    read      the order in which it reads them
    built     what it makes itself where a file lacks it, such as indices
    """
    gaps: dict[str, str] = {}
    missing: list[str] = []
    reshaped: list[str] = []
    for name, wanted in expected.items():
        if name not in read or _last(name) == "num_batches_tracked":
            continue
        if name not in tensors:
            if name not in built:
                gaps[name] = "is missing"
                missing.append(name)
        elif tensors[name].shape != wanted.shape:
            shapes = f"{tuple(tensors[name].shape)} instead of {tuple(wanted.shape)}"
            gaps[name] = f"is {shapes}"
            reshaped.append(f"{name} {shapes}")
    tops = {_top(name) for name in expected}
    foreign: list[str] = []
    left: list[str] = []
    for name in tensors:
        if name in expected or _last(name) in _COUNTERS:
            continue
        inside = _top(name) in tops and _top(name) not in heads
        (foreign if inside else left).append(name)
    return Comparison(gaps, missing, reshaped, foreign, left)


def is_backbone(comparison: Comparison, read: Mapping[str, int], heads: frozenset[str]) -> bool:
    """Whether all that a file lacks is at the network's end: its head, or whole last layers.

    What is missing in the middle, or there and not the architecture's, is of another architecture.
    """
    gaps = comparison.gaps
    if comparison.foreign:
        return False
    if not gaps:
        return True
    first = min(read[name] for name in gaps)
    body = [name for name in read if _top(name) not in heads]
    before = any(read[name] < first for name in body)
    after = any(read[name] > first and name not in gaps for name in body)
    return before and not after


def complaint(comparison: Comparison) -> str:
    """What differs, for a message."""
    told = []
    if comparison.missing:
        told.append(f"{len(comparison.missing)} keys missing ({some(comparison.missing)})")
    unexpected = [*comparison.foreign, *comparison.left]
    if unexpected:
        told.append(f"{len(unexpected)} unexpected ({some(unexpected)})")
    if comparison.reshaped:
        told.append(f"{len(comparison.reshaped)} of another shape ({some(comparison.reshaped)})")
    return "; ".join(told)
