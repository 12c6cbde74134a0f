"""This module tells what a model can be expected to find, from synthetic defects in held-out images."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A size is found reliably if four fifths of the defects of that size and larger ones are found.
RELIABLE = 0.8
# Fewer defects than this say nothing of a size.
MIN_DEFECTS = 15
# Defects that a model keeps at most: they tell a share to within two hundredths.
MOST = 1000


@dataclass(frozen=True)
class Expectation:
    """This class holds how many synthetic defects a model finds at a threshold.

    Attributes:
        found: how many lie above it.
        defects: drawn into held-out images, one in each.
        smallest: extent in pixels of the camera's image from which defects are found reliably; None if not
            even the largest are.
    """

    found: int
    defects: int
    smallest: float | None

    def describe(self, rate: float) -> str:
        """Returns a sentence on what is found at a stated false-alarm rate."""
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
        """Returns plain values."""
        return asdict(self)


@dataclass(frozen=True)
class SyntheticDefects:
    """This class holds scores of images with one local synthetic defect each, drawn into held-out images.

    Attributes:
        scores: `(D,)` float64, D at least 1; scores above a threshold are anomalous.
        extents: `(D,)` float64, the longer side of the box around each defect, in pixels of the camera's
            image.
    """

    scores: NDArray[np.float64]
    extents: NDArray[np.float64]

    def at(self, threshold: float) -> Expectation:
        """Returns what is found at a threshold."""
        found = self.scores > threshold
        order = np.argsort(self.extents)[::-1]
        share = np.cumsum(found[order]) / np.arange(1, len(order) + 1)
        reliable = np.flatnonzero(share[MIN_DEFECTS - 1 :] >= RELIABLE)
        smallest = None
        if len(reliable):
            smallest = float(self.extents[order][reliable[-1] + MIN_DEFECTS - 1])
        return Expectation(int(found.sum()), len(found), smallest)

    def to_dict(self) -> dict[str, list[float]]:
        """Returns plain values, of `MOST` defects at most that are spread over all."""
        chosen = np.unique(np.linspace(0, len(self.scores) - 1, MOST).round().astype(int))
        return {
            "scores": [round(float(score), 4) for score in self.scores[chosen]],
            "extents": [round(float(extent), 1) for extent in self.extents[chosen]],
        }

    @classmethod
    def from_dict(cls, values: Any) -> SyntheticDefects | None:
        """Takes back what `to_dict` gave; None where a model keeps none.

        Raises:
            KeyError, TypeError, ValueError: these are not such values.
        """
        if values is None:
            return None
        scores, extents = (np.asarray(values[key], dtype=np.float64) for key in ("scores", "extents"))
        if scores.shape != extents.shape or scores.ndim != 1 or not scores.size:
            raise ValueError("each synthetic defect needs a score and an extent")
        return cls(scores, extents)
