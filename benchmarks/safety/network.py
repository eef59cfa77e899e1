"""A wide residual network for 32 px pictures (Zagoruyko & Komodakis, 2016), pre-activated."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class _Block(nn.Module):
    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inside), nn.BatchNorm2d(out)
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        same = inside == out and stride == 1
        self.shortcut = None if same else nn.Conv2d(inside, out, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        active = F.relu(self.norm1(x))
        past = x if self.shortcut is None else self.shortcut(active)
        return past + self.conv2(F.relu(self.norm2(self.conv1(active))))


class WideResNet(nn.Module):
    """WRN-depth-width.

    depth  6 n + 4: 10, 16, 22, 28, 40
    stem   stride of the first convolution: 1 as published; 2 is five times as fast on a CPU
    input  (n, 3, h, w) float in [0, 1]; normalised here, to mean .5 and deviation .5
    """

    def __init__(self, depth: int, width: int, classes: int, stem: int = 1) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth must be 10, 16, 22, ..., not {depth}")
        channels = [16, 16 * width, 32 * width, 64 * width]
        blocks: list[nn.Module] = []
        for group in range(3):
            for number in range((depth - 4) // 6):
                inside = channels[group] if number == 0 else channels[group + 1]
                stride = 2 if group > 0 and number == 0 else 1
                blocks.append(_Block(inside, channels[group + 1], stride))
        self.stem = nn.Conv2d(3, 16, 2 + stem, stem, 1, bias=False)
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(channels[3])
        self.head = nn.Linear(channels[3], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.stem(x * 2 - 1))
        return self.head(F.relu(self.norm(x)).mean((2, 3)))
