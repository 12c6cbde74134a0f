"""Standardising each grid position by what normal images show there.

An edge that is always there stops being an alarm. The statistics come from images that the energy was
not fitted on, and those by which an image is standardised leave out its own value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

# Weight of the pooled variance of all positions: a handful of images cannot know each one's variance.
POOLED_VARIANCE = 0.2


class PositionStandardiser:
    """Mean and standard deviation at each grid position.

    Args:
        per_position: False takes one mean and standard deviation for all positions.
    """

    def __init__(self, *, per_position: bool = True) -> None:
        self.per_position = per_position

    def fit(self, values: Values) -> PositionStandardiser:
        """Take the statistics of normal values `(N, G)`, N >= 2."""
        self.mean_, self.std_ = self._statistics(
            np.array([len(values)]), values.sum(0)[None], np.square(values).sum(0)[None]
        )
        return self

    def transform(self, values: Values) -> Values:
        """Standardise values `(N, G)` of new images."""
        return (values - self.mean_) / self.std_

    def fit_transform_left_out(self, values: Values) -> Values:
        """Fit, and standardise each row by the statistics of the other rows.

        Without this the few images that calibrate would look more normal than new ones.
        """
        self.fit(values)
        n = np.full(len(values), len(values) - 1)
        total, squares = values.sum(0) - values, np.square(values).sum(0) - np.square(values)
        mean, std = self._statistics(n, total, squares)
        return (values - mean) / std

    def _statistics(self, n: NDArray[np.int_], total: Values, squares: Values) -> tuple[Values, Values]:
        count = n[:, None].astype(np.float64)
        if not self.per_position:
            count = count * total.shape[1]
            total, squares = total.sum(1, keepdims=True), squares.sum(1, keepdims=True)
        mean = total / count
        variance = np.maximum(squares / count - np.square(mean), 0)
        pooled = variance.mean(1, keepdims=True)
        variance = (1 - POOLED_VARIANCE) * variance + POOLED_VARIANCE * pooled
        # Identical images have no variance at all: any difference then is a large one, not infinite.
        floor = 1e-6 * np.maximum(1.0, np.abs(mean))
        return mean, np.maximum(np.sqrt(variance), floor)
