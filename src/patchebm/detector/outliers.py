"""This module names images of good parts whose held-out scores stand apart from those of all others.

A defect among the training images scores high, and takes mean, spread and threshold with it, so that no rule
built on them finds it. Here nothing is estimated from what is suspected. Scores of good parts, which are
largest values over a map, have a right tail that is about exponential, from which some always stick out. Of
an exponential tail the normalised spacings `j (x_(j) - x_(j+1))` of the scores in descending order are
independent with one mean (Rényi 1953), so that the mean of the first k, over the mean of those down to the
median, follows an F distribution with 2k and 2(m - k) degrees of freedom. The smallest p-value over k is
compared with what it is in simulated exponential samples, which makes it one test (Kimber 1982 compares
k upper outliers of an exponential sample with the rest in the same spirit).

`ALPHA` is the share of sets of clean images of which any is named, if their tail is exponential; where it is
lighter, fewer are. `benchmarks/outliers` measures it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc

Values = NDArray[np.float64]

ALPHA = 0.1
"""Probability that an image is named though all are of good parts with an exponential tail of scores.

A name that is wrong costs a look at an image; a defect that nobody names hides those to come. Tails that were
measured are lighter, and give fewer.
"""

MAX_SHARE, MAX_NAMED = 0.15, 30
"""At most this share of the images, and so many, are named at once."""

MIN_IMAGES = 12
"""Of fewer images none is named: there is nothing to tell a tail from."""

# A group of outliers ends at the first gap that one in so many exponential samples shows at this place.
_GAP = 0.05
_SAMPLES = 20_000


@dataclass(frozen=True)
class Outliers:
    """This class holds which images stand apart.

    Attributes:
        indices: of the images, the oddest first; empty if none does.
        p: probability that scores of good parts alone look like this.
    """

    indices: tuple[int, ...]
    p: float


def find_outliers(scores: Values, alpha: float = ALPHA) -> Outliers:
    """Returns the images whose scores stand apart above the others.

    Args:
        scores: `(N,)` held-out scores, higher = more anomalous; only their order and gaps count, not their
            origin and scale. Those that are not finite are left out of account.
        alpha: probability with which scores with an exponential tail give a name.
    """
    values = np.asarray(scores, dtype=np.float64)
    known = np.flatnonzero(np.isfinite(values))
    if len(known) < MIN_IMAGES:
        return Outliers((), 1.0)
    order = known[np.argsort(-values[known], kind="stable")]
    descending, n = values[order], len(order)
    most, remaining = _sizes(n)
    spacings = np.arange(1, n) * (descending[:-1] - descending[1:])
    rest = spacings[most : most + remaining].sum(keepdims=True)
    blocks, gaps = _p_values(spacings[None, :most], rest, remaining)
    null = _null(n)
    p = float((1 + np.searchsorted(null, blocks.min(), side="right")) / (len(null) + 1))
    if p > alpha:
        return Outliers((), p)
    clear = np.flatnonzero(gaps[0] <= _GAP)
    # Rather too few than too many: what is hidden behind the first group is found when that is left out.
    count = int(clear[0] if len(clear) else gaps[0].argmin()) + 1
    return Outliers(tuple(map(int, order[:count])), p)


def _p_values(spacings: Values, rest: Values, remaining: int) -> tuple[Values, Values]:
    """Returns p-values `(S, K)`: that the first k spacings are large, and that the k-th is.

    Args:
        spacings: `(S, K)` of the largest scores, normalised.
        rest: `(S,)` the sum of the further ones down to the median.
        remaining: how many these are.
    """
    most = spacings.shape[1]
    k = np.arange(1, most + 1)
    others = most - k + remaining
    mean = (rest[:, None] + spacings.sum(1, keepdims=True) - spacings.cumsum(1)) / others
    mean = np.maximum(mean, np.finfo(np.float64).tiny)
    # Upper tails of F distributions; `scipy.stats` would take a second to import.
    blocks = fdtrc(2 * k, 2 * others, spacings.cumsum(1) / k / mean)
    return blocks, fdtrc(2, 2 * others, spacings / mean)


def _sizes(n: int) -> tuple[int, int]:
    """Returns how many of n images are named at most, and the spacings from these down to the median."""
    most = max(1, min(int(MAX_SHARE * n), MAX_NAMED))
    return most, n // 2 - most


@cache
def _null(n: int) -> Values:
    """Returns the smallest p-value of each of many exponential samples of n, ascending."""
    rng = np.random.default_rng(0)
    most, remaining = _sizes(n)
    spacings = rng.exponential(size=(_SAMPLES, most))
    return np.sort(_p_values(spacings, rng.gamma(remaining, size=_SAMPLES), remaining)[0].min(1))
