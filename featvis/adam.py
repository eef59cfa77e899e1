"""Adam for one tensor, to the bit as `torch.optim.Adam` without its options does it.

Torch's own imports torch's compiler, which takes as long as torch itself.

source  Kingma and Ba, *Adam: A Method for Stochastic Optimization* (2015), algorithm 1
"""

from __future__ import annotations

import torch
from torch import Tensor

BETA_1, BETA_2 = 0.9, 0.999  # how much of the moments is kept from step to step


class Adam:
    """Moves a tensor against its gradients.

    parameter  float32, changed in place
    rate       step size; a single weight moves by about so much
    epsilon    added to the root of the second moment
    """

    def __init__(self, parameter: Tensor, rate: float, epsilon: float) -> None:
        self._parameter = parameter
        self._rate = rate
        self._epsilon = epsilon
        self._steps = 0
        self._mean = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        self._square = torch.zeros_like(parameter, memory_format=torch.preserve_format)

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One step; `gradient` is of the parameter's shape."""
        self._steps += 1
        self._mean.lerp_(gradient, 1 - BETA_1)
        self._square.mul_(BETA_2).addcmul_(gradient, gradient, value=1 - BETA_2)
        size = self._rate / (1 - BETA_1**self._steps)
        root = (self._square.sqrt() / (1 - BETA_2**self._steps) ** 0.5).add_(self._epsilon)
        self._parameter.addcdiv_(self._mean, root, value=-size)
