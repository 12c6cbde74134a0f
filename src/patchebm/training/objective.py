"""The contrastive objective."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus


def contrastive_loss(data: Tensor, chains: Tensor, alpha: float = 0.0) -> Tensor:
    """`mean E(data) - mean E(chains) + alpha * (mean E(data)^2 + mean E(chains)^2)`, a scalar.

    Its gradient is that of the negative log-likelihood where the chains are samples of the model (Hinton
    2002; Grathwohl et al. 2020, eq. 1). alpha = 0 is the thesis; a small alpha keeps the free offset of
    the energy from drifting (Du and Mordatch 2019, arXiv 1903.08689, section 3).

    Args:
        data: energies `(B,)` of training views.
        chains: energies `(B',)` of the ends of chains.
        alpha: weight of the energy penalty.
    """
    loss = data.mean() - chains.mean()
    if alpha:
        loss = loss + alpha * (data.square().mean() + chains.square().mean())
    return loss


def logistic_loss(data: Tensor, chains: Tensor, alpha: float = 0.0) -> Tensor:
    """`mean softplus(E(data)) + mean softplus(-E(chains))` plus the same penalty, a scalar.

    Noise contrast (Gutmann and Hyvarinen 2012): pairs that are told apart already stop counting, so that
    the energy cannot run away on easy negatives. For energies near 0 it is the contrastive loss, halved.

    Args:
        data: energies `(B,)` of training views.
        chains: energies `(B',)` of the ends of chains.
        alpha: weight of the energy penalty.
    """
    loss = softplus(data).mean() + softplus(-chains).mean()
    if alpha:
        loss = loss + alpha * (data.square().mean() + chains.square().mean())
    return loss
