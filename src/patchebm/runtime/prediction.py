"""This module holds what a model says of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.runtime.regions import Region

# So many regions a record holds at most: a line's message must stay small when a camera loses its focus.
RECORDED_REGIONS = 100


@dataclass(frozen=True)
class Prediction:
    """This class holds score, verdict and map of one image.

    Attributes:
        image: where the image came from, or its number.
        score: higher = more anomalous; 0 is the mean of good parts, 1 their standard deviation.
        anomalous: whether the score is beyond the threshold.
        threshold: the threshold.
        tail_probability: the share of good parts that score at least this high: one in 1 / tail_probability.
        extrapolated: whether that lies beyond what the good images can show, so that it rests on a fitted
            tail.
        levels: the score of each level, on the same scale.
        heat_map: `(H, W)` float32 at the image's own size: how anomalous each pixel is, in standard
            deviations of what good parts show there; None if maps were not asked for.
        level_maps: the map of each level, of which `heat_map` is the mean.
        mask: `(H, W)` bool, True where `heat_map` is hotter than what good parts show but for a stated share
            of their pixels; None if maps were not asked for, or the map is not finite.
        regions: the connected regions of `mask`, that of the highest peak first; None as for `mask`. The
            verdict does not depend on them: an image that is called good may have regions.
    """

    image: str
    score: float
    anomalous: bool
    threshold: float
    tail_probability: float
    extrapolated: bool
    levels: dict[str, float]
    heat_map: NDArray[np.float32] | None = None
    level_maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None
    regions: tuple[Region, ...] | None = None

    def record(self) -> dict[str, Any]:
        """Returns the prediction as a JSON record, without the map.

        Where maps were made, `regions` holds the `Region.record` of at most 100 regions, those with the
        highest peaks, and `region_count` how many there are.
        """
        record: dict[str, Any] = {
            "image": self.image,
            "score": self.score,
            "anomalous": self.anomalous,
            "threshold": self.threshold,
            "tail_probability": self.tail_probability,
            "extrapolated": self.extrapolated,
            "levels": self.levels,
        }
        if self.regions is not None:
            record["region_count"] = len(self.regions)
            record["regions"] = [region.record() for region in self.regions[:RECORDED_REGIONS]]
        return record


def one_in(prediction: Prediction) -> str:
    """Returns how rare such a score is among good parts: `1 in 40 good`, with `~` where extrapolated."""
    parts = min(1 / prediction.tail_probability, 1e9)
    return f"{'~' if prediction.extrapolated else ''}1 in {float(f'{parts:.2g}'):g} good"
