"""The measures against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.safety.measures import auroc, error, pgd, rms_calibration_error
from benchmarks.safety.perturbations import flip_rate


def test_error_is_the_share_of_wrong_answers():
    assert error(np.array([0, 1, 2, 2]), np.array([0, 1, 1, 1])) == 0.5


def test_a_perfectly_calibrated_toy_has_no_calibration_error():
    # in each bin of 4 the confidence is exactly the share that is right
    confidence = np.repeat([0.25, 0.5, 0.75, 1.0], 4)
    correct = np.array([1, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 1], bool)
    assert rms_calibration_error(confidence, correct, size=4) == 0


def test_a_known_overconfidence_is_measured_exactly():
    # bins of 2: gaps .9 - .5 = .4 and 1 - 0 = 1, so sqrt((.4**2 + 1**2) / 2)
    confidence = np.array([1.0, 0.9, 1.0, 0.9])
    correct = np.array([False, True, False, False])
    expected = np.sqrt((0.4**2 + 1) / 2)
    assert rms_calibration_error(confidence, correct, size=2) == pytest.approx(expected)


def test_the_last_bin_takes_the_rest_and_counts_by_its_size():
    # bins of 2 over 5: gaps 0 (2 predictions) and .3 (3 predictions)
    confidence = np.array([0.5, 0.5, 0.8, 0.8, 0.8])
    correct = np.array([True, False, True, True, True])
    confidence[2:] = 0.7
    expected = np.sqrt(3 / 5 * 0.3**2)
    assert rms_calibration_error(confidence, correct, size=2) == pytest.approx(expected)


def test_fewer_predictions_than_a_bin_are_one_bin():
    assert rms_calibration_error(np.array([1.0]), np.array([False])) == 1


@pytest.mark.parametrize(
    ("normal", "anomalous", "area"),
    [
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        ([0.8, 0.9], [0.1, 0.2], 0.0),
        ([0.5, 0.5], [0.5, 0.5], 0.5),
        ([0.1, 0.4], [0.2, 0.3], 0.5),
        # pairs: .5 > .1 (1), .5 = .5 (1/2), .9 > both (2) of 4
        ([0.1, 0.5], [0.5, 0.9], 3.5 / 4),
        ([1.0, 2.0, 3.0], [2.5], 2 / 3),
    ],
)
def test_auroc_of_cases_worked_by_hand(normal, anomalous, area):
    assert auroc(np.array(normal), np.array(anomalous)) == pytest.approx(area, abs=1e-15)


def test_flip_rate_compares_with_the_frame_before_or_the_first():
    predictions = np.array([[0, 1, 1, 0], [2, 2, 2, 2]])
    assert flip_rate(predictions, noise=False) == 2 / 6
    assert flip_rate(predictions, noise=True) == 2 / 6
    assert flip_rate(np.array([[0, 1, 1, 1]]), noise=False) == 1 / 3
    assert flip_rate(np.array([[0, 1, 1, 1]]), noise=True) == 1


class _Linear(nn.Module):
    """Logits (s, -s) with s the sum of the picture: the attack's direction is known."""

    def forward(self, x):
        s = x.sum((1, 2, 3))
        return torch.stack([s, -s], 1)


def test_pgd_stays_in_its_ball_and_raises_the_loss():
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(6, 3, 4, 4, generator=generator)
    pictures[0], pictures[1] = 0, 1  # nothing may leave [0, 1] either
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    attacked = pgd(_Linear(), pictures, labels, generator, epsilon=0.03, steps=20, step_size=0.01)
    assert (attacked - pictures).abs().max() <= 0.03 + 1e-6
    assert attacked.min() >= 0
    assert attacked.max() <= 1
    # the best attack on a linear model is a corner of the ball, and 20 steps reach it
    sign = torch.where(labels == 0, -1.0, 1.0)[:, None, None, None]
    assert torch.allclose(attacked, (pictures + 0.03 * sign).clamp(0, 1), atol=1e-6)


def test_pgd_fools_a_margin_that_the_ball_can_cross():
    half = 3 * 4 * 4 / 2

    class Threshold(nn.Module):
        def forward(self, x):
            s = x.sum((1, 2, 3)) - half
            return torch.stack([s, -s], 1)

    pictures = torch.full((1, 3, 4, 4), 0.51)  # class 0 by a margin of .01 a value
    labels = torch.tensor([0])
    generator = torch.Generator().manual_seed(0)
    assert Threshold()(pictures).argmax(1) == 0
    fooled = pgd(Threshold(), pictures, labels, generator, epsilon=0.02)
    assert Threshold()(fooled).argmax(1) == 1
    kept = pgd(Threshold(), pictures, labels, generator, epsilon=0.005)
    assert Threshold()(kept).argmax(1) == 0
