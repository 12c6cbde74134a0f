"""AUROC of scores of any range, for anomalib's evaluator."""

from __future__ import annotations

from typing import Any

from anomalib.metrics import AnomalibMetric
from torch import Tensor
from torchmetrics.classification import BinaryAUROC


class _AnyRange(BinaryAUROC):
    """torchmetrics takes what is not in [0, 1] for logits, batch by batch.

    A batch whose scores all happen to lie there would be ranked as it is among others that went through a
    sigmoid, where a score of 20 is as good as one of 40. So every score is mapped by one rule first.
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take predictions and labels of any shape."""
        super().update(squashed(preds.double()).flatten(), target.flatten())


# anomalib logs a metric under the name of its class.
class AUROC(AnomalibMetric, _AnyRange):  # type: ignore[misc]
    """As `anomalib.metrics.AUROC`, for scores that are not in [0, 1]."""

    def __init__(self, *fields: str, prefix: str, **settings: Any) -> None:
        super().__init__(fields=fields, prefix=prefix, **settings)


def squashed(values: Tensor) -> Tensor:
    """Strictly increasing from any number into (0, 1); 0 becomes 0.5."""
    return 0.5 + 0.5 * values / (1 + values.abs())
