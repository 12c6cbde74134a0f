"""What a model can be expected to find, told from synthetic defects in images that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A size is found reliably if four fifths of the defects of that size and larger ones are found.
RELIABLE = 0.8
# Fewer defects than this say nothing of a size.
MIN_DEFECTS = 15


@dataclass(frozen=True)
class Expectation:
    """How many synthetic defects a model finds at its threshold.

    Attributes:
        found: how many lie above it.
        defects: drawn into held-out images, one in each.
        smallest: extent in pixels of the camera's image from which defects are found reliably; None if not
            even the largest are.
    """

    found: int
    defects: int
    smallest: float | None

    @classmethod
    def of(
        cls, scores: NDArray[np.float64], extents: Sequence[float], threshold: float, pixels: float
    ) -> Expectation:
        """Count what is found.

        Args:
            scores: `(D,)` of held-out images with one local defect each.
            extents: `(D,)` of the defects, as a share of the side of what is inspected.
            threshold: scores above it are anomalous.
            pixels: the side of what is inspected, in pixels of the camera's image.
        """
        found = scores > threshold
        order = np.argsort(extents)[::-1]
        share = np.cumsum(found[order]) / np.arange(1, len(order) + 1)
        reliable = np.flatnonzero(share[MIN_DEFECTS - 1 :] >= RELIABLE)
        smallest = None
        if len(reliable):
            smallest = float(np.asarray(extents)[order][reliable[-1] + MIN_DEFECTS - 1]) * pixels
        return cls(int(found.sum()), len(scores), smallest)

    def describe(self, rate: float) -> str:
        """Say in a sentence what is found at a stated false-alarm rate."""
        share = 100 * self.found / self.defects
        size = (
            "not even large ones are found reliably"
            if self.smallest is None
            else f"those of about {self.smallest:.0f} px and more are found reliably"
        )
        return (
            f"at a false-alarm rate of {rate:g} this model finds about {share:.0f} in 100 of the synthetic "
            f"defects drawn into images that it was not fitted on; {size}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)
