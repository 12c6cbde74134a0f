"""This module measures whether images that follow each other look alike.

A video, six views of a part in a row, light that drifts: then an image that is held out has neighbours in
training, and scores lower than one of another part or day would, so that a threshold may hold for such images
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Neighbours on either side. A part is seldom photographed more often in a row.
REACH = 3
# Enough to tell, and their distances take 32 MB.
MAX_IMAGES = 2000
# Below a quarter few thresholds would move; below this probability it is not chance.
MIN_SHARE, MAX_P = 0.25, 1e-3
# From a half on, images of a series are mostly told by their neighbours, and must be held out with them.
SERIES_SHARE = 0.5


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

    @property
    def series(self) -> bool:
        """Whether most images look most like a neighbour: then neighbours are held out together."""
        return self.p < MAX_P and self.alike >= SERIES_SHARE * self.images


def measure_order(vectors: NDArray[np.float64]) -> Order:
    """Count images whose nearest neighbour by looks is one by order.

    Args:
        vectors: `(N, d)` what images look like, in their order, N >= 2; the first `MAX_IMAGES` count.
    """
    x = vectors[:MAX_IMAGES]
    n = len(x)
    std = x.std(0)
    x = (x - x.mean(0)) / np.where(std > 0, std, 1)
    nearest = nearest_neighbours(x)
    index = np.arange(n)
    alike = int(np.count_nonzero(np.abs(nearest - index) <= REACH))
    within = np.minimum(index, REACH) + np.minimum(n - 1 - index, REACH)
    expected = float(within.sum() / (n - 1))
    return Order(n, alike, expected, at_least(alike, n, min(1.0, expected / n)))


def nearest_neighbours(vectors: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns for each of some vectors `(N, d)`, N >= 2, the index `(N,)` of the nearest other one."""
    lengths = (vectors**2).sum(1)
    distances = lengths[:, None] + lengths - 2 * (vectors @ vectors.T)
    np.fill_diagonal(distances, np.inf)
    return np.asarray(distances.argmin(1), dtype=np.int64)


def at_least(hits: int, trials: int, probability: float) -> float:
    """Returns the probability of so many hits or more in independent trials (binomial).

    Written out, because the base install has no scipy.
    """
    if hits <= 0 or probability >= 1:
        return float(hits <= trials)
    if probability <= 0:
        return 0.0
    odds = [math.log(probability), math.log1p(-probability)]
    terms = [
        math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        + k * odds[0] + (trials - k) * odds[1]
        for k in range(hits, trials + 1)
    ]  # fmt: skip
    return min(1.0, math.fsum(map(math.exp, terms)))
