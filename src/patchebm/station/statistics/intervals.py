"""This module says how far a share can be trusted, without scipy, which the station does not install."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# Halvings of an interval of length 1: beyond 60 a float does not change any more.
_HALVINGS = 60


@dataclass(frozen=True)
class Share:
    """This class is an estimated share with its interval.

    Attributes:
        value: in [0, 1].
        low, high: 95 % interval.
        parts: parts that it stands on.
    """

    value: float
    low: float
    high: float
    parts: int


def binomial_interval(count: float, total: float, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the interval of Clopper and Pearson (1934) for a share of which `count` in `total` was seen.

    Args:
        count: events; may be fractional, as those of weighted samples are.
        total: trials, at least `count`; may be fractional; 0 gives (0, 1).
        confidence: of the interval.

    Raises:
        ValueError: `count` is not among 0 to `total`.
    """
    if not 0 <= count <= total:
        raise ValueError(f"{count} of {total} is no share")
    tail = (1 - confidence) / 2
    low = _beta_quantile(tail, count, total - count + 1) if count > 0 else 0.0
    high = _beta_quantile(1 - tail, count + 1, total - count) if count < total else 1.0
    return low, high


def weighted_share(events: Sequence[bool], weights: Sequence[float]) -> Share | None:
    """Returns the share of a population in which an event holds, from a sample of unequal probabilities.

    The estimate is Hajek's form of Horvitz and Thompson's: each part of the sample stands for 1 / (its
    probability of being in the sample) parts. The interval is that of Korn and Graubard (1998): Clopper and
    Pearson's, for a sample of the size that would be as good if all weights were equal (Kish 1965).

    Args:
        events: `(N,)` whether it holds.
        weights: `(N,)` how many parts of the population each stands for; above 0.

    Returns:
        None for an empty sample.
    """
    if not weights:
        return None
    total = math.fsum(weights)
    held = math.fsum(weight for event, weight in zip(events, weights, strict=True) if event)
    value = min(1.0, held / total)
    effective = total**2 / math.fsum(weight**2 for weight in weights)
    low, high = binomial_interval(value * effective, effective)
    return Share(value, low, high, len(weights))


def _beta_quantile(probability: float, a: float, b: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if _beta_distribution(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta_distribution(x: float, a: float, b: float) -> float:
    """Returns the regularised incomplete beta function I_x(a, b), by its fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # Where it converges slowly, the mirrored one does not.
        return 1 - _beta_distribution(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    return front / a / _fraction(x, a, b)


def _fraction(x: float, a: float, b: float) -> float:
    """Returns 1 + d1 / (1 + d2 / (1 + ...)) by the algorithm of Lentz."""
    value, c, d = 1.0, 1.0, 0.0
    for i in range(1, 10_000):
        m = i // 2
        if i % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d)
        c = 1 + term / c
        value *= c * d
        if abs(c * d - 1) < 1e-14:
            break
    return value
