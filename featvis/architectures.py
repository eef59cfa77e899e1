"""Classification networks by name, of torchvision and timm: whole, or as names and shapes only."""

from __future__ import annotations

import difflib
from typing import Any

import torch
import torchvision.models
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models.maxvit import MaxVit

from featvis import timm_models
from featvis.errors import UnknownModelError, some

AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}  # heads used in training only


def model_names() -> list[str]:
    """Names of torchvision's classification architectures, sorted."""
    return list(torchvision.models.list_models(module=torchvision.models))


def is_known(name: str) -> bool:
    """Whether `skeleton` can build an architecture of that name."""
    return timm_models.is_timm(name) or name in model_names()


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
    if name in AUXILIARY:
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
    check_name(name)
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


def probing_side(name: str, model: nn.Module) -> int:
    """Side in pixels at which a network is usually shown pictures: its only one, if it has one."""
    own = native_size(model)
    if own is not None:
        return own
    if timm_models.is_timm(name):
        return timm_models.side(name)
    return 299 if name == "inception_v3" else 224


def relatives(name: str) -> list[str]:
    """Torchvision's other architectures of the same family, the likeliest slips first."""
    if timm_models.is_timm(name):
        return []
    models = torchvision.models
    family = models.get_model_builder(name).__module__
    same = [n for n in model_names() if models.get_model_builder(n).__module__ == family]
    near = difflib.get_close_matches(name, same, len(same), 0.0)
    return [other for other in near if other != name]


def class_count(model: nn.Module) -> int:
    """Rows of the last matrix, which is the head."""
    heads = [m for m in model.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    head = heads[-1] if heads else None
    if isinstance(head, nn.Linear):
        return head.out_features
    return head.out_channels if isinstance(head, nn.Conv2d) else 0


def check_name(name: str) -> None:
    """Raise UnknownModelError, with the nearest names, unless `build` knows that architecture."""
    if timm_models.is_timm(name):
        timm_models.check_name(name)
        return
    names = model_names()
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
        raise UnknownModelError(
            f"Unknown model {name!r}.",
            hint=" or ".join(near) if near else f"one of {some(names, 8)}",
        )
