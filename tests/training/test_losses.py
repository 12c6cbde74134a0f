"""The losses in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from patchebm.training.losses import contrastive_loss, logistic_loss

DATA, NEGATIVES = torch.tensor([1.0, 3.0]), torch.tensor([0.5])
PENALTY = (1 + 9) / 2 + 0.25
LOGISTIC = (math.log1p(math.e) + math.log1p(math.e**3)) / 2 + math.log1p(math.e**-0.5)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_the_losses_are_those_of_the_docstrings(alpha: float) -> None:
    contrastive = float(contrastive_loss(DATA, NEGATIVES, alpha))
    assert contrastive == pytest.approx(2 - 0.5 + alpha * PENALTY, rel=1e-6)
    logistic = float(logistic_loss(DATA, NEGATIVES, alpha))
    assert logistic == pytest.approx(LOGISTIC + alpha * PENALTY, rel=1e-6)


def test_near_zero_the_logistic_loss_is_half_the_contrastive_one() -> None:
    data = torch.full((4,), 1e-3, requires_grad=True)
    negatives = torch.full((4,), -1e-3, requires_grad=True)
    logistic = torch.autograd.grad(logistic_loss(data, negatives), (data, negatives))
    contrastive = torch.autograd.grad(contrastive_loss(data, negatives), (data, negatives))
    for half, whole in zip(logistic, contrastive, strict=True):
        torch.testing.assert_close(half, whole / 2, rtol=1e-3, atol=0)
