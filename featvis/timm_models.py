"""Networks of timm (PyTorch Image Models), an optional extra: `timm:resnet18.a1_in1k`.

timm is imported when such a name is first used. It reads downloaded weights as safetensors, or as
tensors and nothing else (`weights_only=True`; from the version that pyproject.toml asks for).
"""

from __future__ import annotations

import difflib
from typing import Any

from torch import nn

from featvis.errors import FeatVisError, UnknownModelError, WeightsUnavailableError

PREFIX = "timm:"


def is_timm(name: str) -> bool:
    """Whether a model name is one of timm's."""
    return name.startswith(PREFIX)


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise FeatVisError(
            f"Models named {PREFIX}… need timm, which is not installed here ({error}).",
            hint="pip install 'pixmix[timm]'",
        ) from None
    return timm


def version() -> str:
    """The version of timm."""
    return str(_timm().__version__)


def check_name(name: str) -> None:
    """Raise UnknownModelError, with the nearest names, unless timm has that architecture and tag.

    raises  FeatVisError when timm is not installed
    """
    timm = _timm()
    wanted = name.removeprefix(PREFIX)
    architecture, _, tag = wanted.partition(".")
    names = timm.list_models()
    if architecture not in names:
        near = difflib.get_close_matches(architecture.lower(), names, 3, 0.5)
        raise UnknownModelError(
            f"timm {timm.__version__} has no model {architecture!r}.",
            hint=" or ".join(PREFIX + n for n in near) if near else "timm.list_models()",
        )
    tagged = timm.list_models(f"{architecture}.*", pretrained=True)
    if tag and wanted not in tagged:
        raise UnknownModelError(
            f"timm {timm.__version__} has no weights {wanted!r}.",
            hint=" or ".join(PREFIX + n for n in tagged[:3]) if tagged else "--weights random",
        )
    inputs = timm.get_pretrained_cfg(wanted).input_size
    if inputs[0] != 3:
        raise FeatVisError(f"{name} takes pictures of {inputs[0]} channels, not RGB.")


def build(
    name: str,
    num_classes: int | None = None,
    image_size: int | None = None,
    *,
    pretrained: bool = False,
) -> nn.Module:
    """A network of that name.

    num_classes  of the head; None: its weights' own
    image_size   side in pixels for networks that take one size only; None: their own
    pretrained   with its published weights, downloaded at need into timm's cache
    raises       TypeError for an image_size that the network cannot be built for;
                 WeightsUnavailableError
    """
    timm = _timm()
    wanted = name.removeprefix(PREFIX)
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if image_size not in (None, side(name)):
        options["img_size"] = image_size
    try:
        model: nn.Module = timm.create_model(wanted, pretrained=pretrained, **options)
    except (OSError, RuntimeError) as error:
        if not pretrained:
            raise
        reason = str(error).splitlines()[0]
        raise WeightsUnavailableError(
            f"The weights of {name} are not cached and could not be downloaded ({reason}).",
            hint="--weights FILE (timm's model.safetensors), random, or --weights fractals alone",
        ) from None
    return model


def tag_of(model: nn.Module) -> str:
    """What the published weights in `model` are called, such as "a1_in1k"."""
    settings: dict[str, Any] = model.pretrained_cfg  # type: ignore[assignment]
    return settings.get("tag") or "default"


def side(name: str) -> int:
    """Side in pixels of the pictures that its weights were made for."""
    return int(_timm().get_pretrained_cfg(name.removeprefix(PREFIX)).input_size[-1])


def fixed_side(model: nn.Module) -> int | None:
    """The only side in pixels that `model` takes; None where it takes many or is not timm's."""
    settings = getattr(model, "pretrained_cfg", None)
    if not isinstance(settings, dict) or not settings.get("fixed_input_size"):
        return None
    return int(settings["input_size"][-1])


def normalisation(name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std per channel that the weights ask for, of pictures in [0, 1]."""
    settings = _timm().get_pretrained_cfg(name.removeprefix(PREFIX))
    return tuple(settings.mean), tuple(settings.std)
