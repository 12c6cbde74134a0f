"""The losses: energies go down on data and up on negatives."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def contrastive_loss(data: Tensor, negatives: Tensor, alpha: float = 0.0) -> Tensor:
    """Returns `mean E(data) - mean E(negatives) + alpha * (mean E(data)^2 + mean E(negatives)^2)`, a scalar.

    Its gradient is that of the negative log-likelihood if the negatives are samples of the model (Hinton
    2002; Grathwohl et al. 2020, eq. 2). alpha = 0 is the thesis; a small alpha keeps the free offset of
    the energy from drifting (Du and Mordatch 2019, arXiv 1903.08689, section 3).

    Args:
        data: energies `(B,)` of training views.
        negatives: energies `(B',)` of negatives.
        alpha: weight of the energy penalty.
    """
    return data.mean() - negatives.mean() + alpha * _penalty(data, negatives)


def logistic_loss(data: Tensor, negatives: Tensor, alpha: float = 0.0) -> Tensor:
    """Returns `mean softplus(E(data)) + mean softplus(-E(negatives))` plus the same penalty, a scalar.

    This is noise contrast (Gutmann and Hyvarinen 2012): pairs that are told apart already stop counting, so
    that the energy cannot run away on easy negatives. For energies near 0 it is the contrastive loss, halved.

    Args:
        data: energies `(B,)` of training views.
        negatives: energies `(B',)` of negatives.
        alpha: weight of the energy penalty.
    """
    return softplus(data).mean() + softplus(-negatives).mean() + alpha * _penalty(data, negatives)


LOSSES = {"contrastive": contrastive_loss, "logistic": logistic_loss}
"""The loss of each value of `training.objective`."""


def _penalty(data: Tensor, negatives: Tensor) -> Tensor:
    return data.square().mean() + negatives.square().mean()
