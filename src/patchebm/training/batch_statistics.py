"""Which statistics batch norm normalises negatives by, and whether they leave a trace in the data's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def batch_statistics(energy: nn.Module, kind: Literal["data", "own", "shared"]) -> Iterator[None]:
    """Put an energy into the mode in which it is given negatives, for the length of a `with` block.

    After the block the energy is in evaluation mode.

    Args:
        energy: with any number of batch-norm layers.
        kind: `data` normalises by the running statistics and changes nothing; `own` by the statistics of the
            batch, and changes nothing; `shared` by those of the batch, which are mixed into the running ones.
    """
    energy.train(kind != "data")
    norms = [module for module in energy.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    if kind == "own":
        for norm in norms:
            norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        energy.eval()
