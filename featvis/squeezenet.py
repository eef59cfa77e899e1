"""SqueezeNet 1.1 without torchvision, whose import takes as long as torch's own.

Iandola et al., *SqueezeNet: AlexNet-level accuracy with 50x fewer parameters* (2016), section 3.2,
with the smaller first layers of its authors' release 1.1. Names, shapes and the order of what is
drawn at random are those of `torchvision.models.squeezenet1_1`, so files fit both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featvis.shipped import OWN_MODEL

CLASSES = 1000  # ImageNet's
SIDE = 224  # pixels, at which its published weights are shown pictures


def is_own(name: str) -> bool:
    """Whether a model name is of the architecture that is built here."""
    return name == OWN_MODEL


def build(num_classes: int | None = None, *, random: bool = True) -> nn.Module:
    """The network with weights drawn from torch's global generator.

    num_classes  of the head; None: ImageNet's 1000
    random       False skips the drawing that the published network begins from
    """
    model = SqueezeNet(CLASSES if num_classes is None else num_classes)
    if random:
        model.draw_weights()
    return model


class SqueezeNet(nn.Module):
    """Takes (n, 3, h, w), gives (n, num_classes)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, kernel_size=3, stride=2),
            nn.ReLU(inplace=True),
            _pool(),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            _pool(),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            _pool(),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(p=0.5),
            nn.Conv2d(512, num_classes, kernel_size=1),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d((1, 1)),
        )

    def draw_weights(self) -> None:
        """Draw every weight anew, in the order of the modules; biases are 0."""
        for module in self.modules():
            if not isinstance(module, nn.Conv2d):
                continue
            if module is self.classifier[1]:
                nn.init.normal_(module.weight, mean=0.0, std=0.01)
            else:
                nn.init.kaiming_uniform_(module.weight)
            if module.bias is not None:
                nn.init.constant_(module.bias, 0)

    def forward(self, x: Tensor) -> Tensor:
        """The score of each class."""
        return torch.flatten(self.classifier(self.features(x)), 1)


class Fire(nn.Module):
    """A squeeze to few channels, then two convolutions side by side."""

    def __init__(self, inside: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inside, squeezed, kernel_size=1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, kernel_size=1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, kernel_size=3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, h, w) to (n, 2 * expanded, h, w)."""
        x = self.squeeze_activation(self.squeeze(x))
        narrow = self.expand1x1_activation(self.expand1x1(x))
        wide = self.expand3x3_activation(self.expand3x3(x))
        return torch.cat([narrow, wide], 1)


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
