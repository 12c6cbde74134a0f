"""This module computes control charts: is a figure still where it was when all was well?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Weight of the newest part in the moving average, and its limits in standard deviations: a chart of Lucas and
# Saccucci (1990) that finds shifts of one standard deviation in about 10 parts, and gives a false signal once
# in about 500 independent parts.
WEIGHT, LIMIT = 0.2, 2.96
# Probability that a group beyond a limit of the chart of NG occurs by chance, on each side: as for 3 sigma.
GROUP_TAIL = 0.00135
# Parts that say what is usual.
BASELINE = 100


@dataclass(frozen=True)
class Chart:
    """This class is a control chart.

    Attributes:
        values: `(N,)` float64, what is drawn.
        centre: what is usual.
        low, high: `(N,)` float64, limits.
    """

    values: NDArray[np.float64]
    centre: float
    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Returns `(N,)` which values lie beyond a limit."""
        return np.asarray((self.values < self.low) | (self.values > self.high))


def average_chart(values: Sequence[float], baseline: Sequence[float]) -> Chart | None:
    """Returns the chart of a moving average with exponential weights (EWMA, Roberts 1959).

    Args:
        values: `(N,)` figures of parts in order.
        baseline: figures of parts that say what is usual. Their median and median deviation count, so that
            defective parts among them do not widen the limits.

    Returns:
        None if the baseline has fewer than ten parts.
    """
    usual = np.asarray(baseline, dtype=np.float64)
    if len(usual) < 10:
        return None
    centre = float(np.median(usual))
    # 1.4826: so that it is the standard deviation of what is normally distributed.
    std = 1.4826 * float(np.median(np.abs(usual - centre)))
    average, drawn = centre, np.empty(len(values))
    for i, value in enumerate(values):
        average += WEIGHT * (value - average)
        drawn[i] = average
    steps = np.arange(1, len(values) + 1)
    # What rounding leaves is no signal.
    width = LIMIT * std * np.sqrt(WEIGHT / (2 - WEIGHT) * (1 - (1 - WEIGHT) ** (2 * steps))) + 1e-9
    return Chart(drawn, centre, centre - width, centre + width)


def share_chart(events: Sequence[bool], usual: float, group: int) -> Chart:
    """Returns the chart of a share in groups of parts (Shewhart's p chart, with exact binomial limits).

    Args:
        events: `(N,)` of parts in order, for instance whether each was NG; what is left over at the end waits
            for its group to be full.
        usual: the share that is usual.
        group: parts in a group.
    """
    count = len(events) // group
    shares = np.asarray(events[: count * group], dtype=np.float64).reshape(count, group).mean(axis=1)
    low, high = binomial_limits(usual, group)
    return Chart(shares, usual, np.full(count, low / group), np.full(count, high / group))


def binomial_limits(share: float, total: int) -> tuple[int, int]:
    """Returns the smallest and largest count that is no signal, each side at most `GROUP_TAIL` beyond it."""
    at, cumulated, low, high = (1 - share) ** total, 0.0, 0, total
    for k in range(total + 1):
        if k and at > 0:
            at *= (total - k + 1) / k * share / (1 - share) if share < 1 else 1
        if cumulated <= GROUP_TAIL:
            low = k
        cumulated += at
        if 1 - cumulated <= GROUP_TAIL:
            high = k
            break
    return low, high


def sharpness_figure(variance: float) -> float:
    """Returns the logarithm of a sharpness: it varies by factors, and a chart draws sums."""
    return math.log(max(variance, 1e-12))
