"""What a detector says of one picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """Score, verdict and map of one picture.

    Attributes:
        image: where the picture came from, or its number.
        score: higher = more anomalous; 0 is the mean of good parts, 1 their standard deviation.
        anomalous: whether the score is beyond the threshold.
        threshold: the threshold.
        levels: the score of each level, on the same scale.
        heat_map: `(H, W)` float32 at the picture's own size: how anomalous each pixel is, in standard
            deviations of what good parts show there; None if maps were not asked for.
        level_maps: the map of each level, of which `heat_map` is the mean.
    """

    image: str
    score: float
    anomalous: bool
    threshold: float
    levels: dict[str, float]
    heat_map: NDArray[np.float32] | None = None
    level_maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """The prediction as a JSON record, without the map."""
        return {
            "image": self.image,
            "score": self.score,
            "anomalous": self.anomalous,
            "threshold": self.threshold,
            "levels": self.levels,
        }
