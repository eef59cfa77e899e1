"""Classification networks by name, of torchvision and timm: whole, or as names and shapes only.

torchvision and timm are imported when a network of theirs is first asked for: torchvision's import
takes as long as torch's own, and the network that comes with this package needs neither.
"""

from __future__ import annotations

import difflib
import sys
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from featvis import squeezenet, timm_models
from featvis.errors import FeatVisError, UnknownModelError, some

AUXILIARY = {"googlenet": "aux1.", "inception_v3": "AuxLogits."}  # heads used in training only


def torchvision_models() -> Any:
    """The module `torchvision.models`.

    raises  FeatVisError where it cannot be imported, as when it does not fit torch
    """
    try:
        import torchvision.models
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise FeatVisError(
            f"networks need torchvision, which cannot be loaded here ({reason})",
            hint="pip install torchvision; --weights fractals does without",
        ) from None
    return torchvision.models


def is_torchvisions(name: str) -> bool:
    """Whether networks of that name are built by torchvision."""
    return not (squeezenet.is_own(name) or timm_models.is_timm(name))


def import_builder(name: str) -> None:
    """Import the library that builds networks of that name; builds none."""
    if timm_models.is_timm(name):
        timm_models.version()
    elif is_torchvisions(name):
        torchvision_models()


def model_names() -> list[str]:
    """Names of torchvision's classification architectures, sorted."""
    models = torchvision_models()
    return list(models.list_models(module=models))


def is_known(name: str) -> bool:
    """Whether `skeleton` can build an architecture of that name."""
    return not is_torchvisions(name) or name in model_names()


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
    random       False skips the special initialisation of some, which is slow in two of them
    """
    if timm_models.is_timm(name):
        return timm_models.build(name, num_classes, image_size)
    if squeezenet.is_own(name):
        return squeezenet.build(num_classes, random=random)
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
    model: nn.Module = torchvision_models().get_model(name, weights=None, **options)
    return model


def skeleton(
    name: str,
    num_classes: int | None = None,
    image_size: int | None = None,
    *,
    auxiliary: bool = False,
) -> nn.Module:
    """`build` for names and shapes alone: on the meta device, without memory or arithmetic.

    The architecture of our own is small enough to be made on the CPU: for the meta device torch
    imports its compiler, which takes as long as torch itself.
    """
    check_name(name)
    if squeezenet.is_own(name):
        with torch.random.fork_rng(devices=[]):
            return build(name, num_classes).eval().requires_grad_(False)
    with torch.device("meta"), _NumbersOnCPU():
        model = build(name, num_classes, image_size, auxiliary=auxiliary)
    return model.to("meta").eval().requires_grad_(False)


def blank(model: nn.Module, count: int, side: int) -> Tensor:
    """Pictures for a pass through a skeleton, (count, 3, side, side) float32, on its device."""
    device = next((tensor.device for tensor in model.parameters()), torch.device("meta"))
    return torch.zeros(count, 3, side, side, device=device)


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
    if is_a(model, "VisionTransformer"):
        size: Any = model.image_size
        return int(size)
    return 224 if is_a(model, "MaxVit") else timm_models.fixed_side(model)


def is_a(model: nn.Module, kind: str) -> bool:
    """Whether `model` is of that class of torchvision's."""
    models = sys.modules.get("torchvision.models")  # without it there is no such network
    return models is not None and isinstance(model, getattr(models, kind))


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
    models = torchvision_models()
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
    if squeezenet.is_own(name):
        return
    names = model_names()
    if name not in names:
        near = difflib.get_close_matches(name.lower(), names, 3, 0.5)
        raise UnknownModelError(
            f"Unknown model {name!r}.",
            hint=" or ".join(near) if near else f"one of {some(names, 8)}",
        )
