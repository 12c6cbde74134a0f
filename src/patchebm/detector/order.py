"""Whether images that follow each other look alike, so that a threshold may hold for such images alone.

A video, six views of a part in a row, light that drifts: then an image that is held out has neighbours in
training, and scores lower than one of another part or day would.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Neighbours on either side. A part is seldom photographed more often in a row.
REACH = 3
# Enough to tell, and their distances take 32 MB.
MAX_IMAGES = 2000
# Below a quarter few thresholds would move; below this probability it is not chance.
MIN_SHARE, MAX_P = 0.25, 1e-3


@dataclass(frozen=True)
class Order:
    """How the order of images and their looks go together.

    Attributes:
        images: compared.
        alike: how many of them look most like one of the `REACH` next on either side.
        expected: how many would in random order.
        p: probability of so many in random order (binomial).
    """

    images: int
    alike: int
    expected: float
    p: float

    @property
    def matters(self) -> bool:
        """Whether thresholds may be too tight for images that are not neighbours of good ones."""
        return self.p < MAX_P and self.alike >= MIN_SHARE * self.images


def measure_order(vectors: NDArray[np.float64]) -> Order:
    """Count images whose nearest neighbour by looks is one by order.

    Args:
        vectors: `(N, d)` what images look like, in their order, N >= 2; the first `MAX_IMAGES` count.
    """
    # Imported here, so that scoring, which needs no order, does not take the time.
    from scipy.spatial.distance import cdist
    from scipy.stats import binom

    x = vectors[:MAX_IMAGES]
    n = len(x)
    std = x.std(0)
    x = (x - x.mean(0)) / np.where(std > 0, std, 1)
    distances = cdist(x, x)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.argmin(1)
    index = np.arange(n)
    alike = int(np.count_nonzero(np.abs(nearest - index) <= REACH))
    within = np.minimum(index, REACH) + np.minimum(n - 1 - index, REACH)
    expected = float(within.sum() / (n - 1))
    return Order(n, alike, expected, float(binom.sf(alike - 1, n, min(1.0, expected / n))))
