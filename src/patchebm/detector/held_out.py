"""What training knows of each image that was held out: its score, its part, and, of the oddest, its map."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchebm.detector.outliers import ALPHA, Outliers, find_outliers
from patchebm.runtime.tail import Tail, part_shares
from patchebm.runtime.threshold import Threshold

Values = NDArray[np.float64]

MAPS = 24
"""Of so many images, those with the highest scores, the anomaly maps are kept."""


@dataclass(frozen=True)
class HeldOut:
    """What energies say of good images that they were not fitted on, one row for each image.

    Attributes:
        indices: `(N,)` of the images among those that were fitted on, ascending.
        folds: `(N,)` in which each was held out.
        groups: `(N,)` the physical part that each shows, if it is known.
        scores: `(N,)` as the detector gives them.
        levels: `(N,)` for each level by name.
        maps: `(H, W)` float32, the anomaly map of each of the `MAPS` oddest, by its index among the images.
    """

    indices: NDArray[np.int64]
    folds: NDArray[np.int64]
    groups: Sequence[Hashable | None]
    scores: Values
    levels: dict[str, Values]
    maps: dict[int, NDArray[np.float32]]

    def oddest(self, count: int) -> list[int]:
        """Return the indices of the images with the highest scores, the highest first."""
        return [int(i) for i in self.indices[np.argsort(-self.scores, kind="stable")[:count]]]

    def outliers(self, alpha: float = ALPHA) -> Outliers:
        """Return the images whose scores stand apart above all others, by their indices among the images.

        Args:
            alpha: as for `find_outliers`.
        """
        found = find_outliers(self.scores, alpha)
        return Outliers(tuple(int(self.indices[i]) for i in found.indices), found.p)

    def threshold_without(self, indices: Sequence[int], false_alarm_rate: float) -> Threshold:
        """Return what the threshold would be if some images had not been scored, the energies as they are.

        Raises:
            ConfigError: fewer than two parts are left.
        """
        kept = ~np.isin(self.indices, indices)
        groups = [group for group, keep in zip(self.groups, kept, strict=True) if keep]
        return Tail(self.scores[kept], part_shares(groups)).threshold(false_alarm_rate)
