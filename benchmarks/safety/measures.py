"""The measures of PixMix's section 4, on predictions; and the attack that one of them needs."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

BIN = 100  # predictions a calibration bin
EPSILON, STEPS, STEP_SIZE = 2 / 255, 20, 0.5 / 255  # of the published CIFAR script


def error(predictions: NDArray[np.integer], labels: NDArray[np.integer]) -> float:
    """Share of wrong predictions. Both (n,)."""
    return float((predictions != labels).mean())


def rms_calibration_error(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], size: int = BIN
) -> float:
    """Root mean square over bins of (mean confidence - accuracy), bins of equally many predictions.

    confidence  (n,) in [0, 1], probability of the predicted class
    correct     (n,) whether it was right
    size        predictions a bin; the last bin takes the rest too. Sampling noise alone gives
                about sqrt(mean p(1-p) / size)
    source      Hendrycks et al. (2019), Deep anomaly detection with outlier exposure, section 4.6,
                adaptive bins of 100
    """
    order = np.argsort(confidence, kind="stable")
    confidence = np.asarray(confidence, np.float64)[order]
    right = np.asarray(correct, np.float64)[order]
    n = len(order)
    edges = [*range(0, max(n // size, 1) * size, size), n]
    total = 0.0
    for begin, end in itertools.pairwise(edges):
        gap = confidence[begin:end].mean() - right[begin:end].mean()
        total += (end - begin) / n * gap**2
    return float(np.sqrt(total))


def auroc(normal: NDArray[np.floating], anomalous: NDArray[np.floating]) -> float:
    """Probability that an anomaly's score is above a normal picture's; ties count one half.

    normal, anomalous  (n,), (m,) scores, higher = more anomalous
    """
    scores = np.concatenate([normal, anomalous])
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # mean rank of each distinct score, from 1
    m, n = len(anomalous), len(normal)
    total = ranks[inverse[n:]].sum() - m * (m + 1) / 2
    return float(total / (m * n))


def pgd(
    model: Callable[[torch.Tensor], torch.Tensor],
    pictures: torch.Tensor,
    labels: torch.Tensor,
    generator: torch.Generator,
    epsilon: float = EPSILON,
    steps: int = STEPS,
    step_size: float = STEP_SIZE,
) -> torch.Tensor:
    """Untargeted projected gradient descent in an L-infinity ball, from a random start in it.

    model      pictures in [0, 1] to logits
    pictures   (n, 3, h, w) float32 in [0, 1]
    labels     (n,) int64
    generator  on the pictures' device
    returns    pictures in [0, 1], none further than epsilon from its original
    source     Madry et al. (2018); epsilon, steps and step size of PixMix's CIFAR script
    """
    noise = torch.rand(pictures.shape, generator=generator, device=pictures.device)
    attacked = (pictures + epsilon * (2 * noise - 1)).clamp(0, 1)
    low, high = (pictures - epsilon).clamp_min(0), (pictures + epsilon).clamp_max(1)
    for _ in range(steps):
        attacked = attacked.detach().requires_grad_()
        loss = F.cross_entropy(model(attacked).float(), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, attacked)
        attacked = (attacked + step_size * gradient.sign()).detach()
        attacked = torch.minimum(torch.maximum(attacked, low), high)
    return attacked.detach()
