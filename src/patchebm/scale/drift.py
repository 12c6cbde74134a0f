"""This module says whether scores are distributed as those that a model was calibrated on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.runtime.tail import Tail

LEVEL = 0.01
"""Drift is called such below this p-value."""


@dataclass(frozen=True)
class Drift:
    """This class is the two-sample test of Kolmogorov and Smirnov of new scores against the calibration.

    It answers to any difference: another lamp, another product, or that many of the images show defects.
    Images of one part count together in the calibration.

    Attributes:
        statistic: the largest distance of the two distribution functions, 0 to 1.
        p_value: how often a distance at least as large comes about by chance; asymptotic (Smirnov 1948).
        above_median: the share of the new scores above the median of the calibration; 0.5 without drift.
        scores: how many new ones there are.
        parts: how many parts the calibration shows.
    """

    statistic: float
    p_value: float
    above_median: float
    scores: int
    parts: int

    @property
    def drifted(self) -> bool:
        """Returns whether the p-value is below `LEVEL`."""
        return self.p_value < LEVEL

    def to_dict(self) -> dict[str, Any]:
        """Returns the test as JSON can hold it."""
        return {
            "test": "two-sample Kolmogorov-Smirnov of the scores against the held-out scores of calibration",
            "statistic": self.statistic,
            "p_value": self.p_value,
            "level": LEVEL,
            "drifted": self.drifted,
            "share_above_calibration_median": self.above_median,
            "calibration_parts": self.parts,
        }

    def sentence(self) -> str:
        """Returns the test in words."""
        found = "differ from" if self.drifted else "are distributed as"
        return (
            f"the scores {found} those of the calibration (distance {self.statistic:.2f}, p = "
            f"{self.p_value:.2g}): {100 * self.above_median:.0f} % lie above its median"
        )


class DriftCounter:
    """This class counts scores between those of the calibration, which is all that the test needs.

    Args:
        tail: of the calibration.
    """

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._below = np.zeros(len(tail.scores), dtype=np.int64)
        self._up_to = np.zeros(len(tail.scores), dtype=np.int64)
        self._count = 0

    def add(self, scores: NDArray[np.float64]) -> None:
        """Counts scores `(N,)`."""
        ordered = np.sort(scores)
        self._below += np.searchsorted(ordered, self._tail.scores, side="left")
        self._up_to += np.searchsorted(ordered, self._tail.scores, side="right")
        self._count += len(scores)

    def result(self) -> Drift | None:
        """Returns the test; None without scores."""
        if not self._count:
            return None
        tail = self._tail
        total = np.cumsum(tail.weights)
        # Equal scores of the calibration are one jump.
        first = np.searchsorted(tail.scores, tail.scores, side="left")
        last = np.searchsorted(tail.scores, tail.scores, side="right") - 1
        before = np.where(first > 0, total[first - 1], 0.0) / total[-1]
        after = total[last] / total[-1]
        # Between two scores of the calibration one function is flat and the other rises: the largest distance
        # lies at an end.
        apart = np.maximum(
            np.abs(self._below / self._count - before), np.abs(self._up_to / self._count - after)
        )
        statistic = float(apart.max())
        effective = tail.parts * self._count / (tail.parts + self._count)
        middle = int(np.searchsorted(after, 0.5 - 1e-12))
        return Drift(
            statistic,
            kolmogorov(statistic * math.sqrt(effective)),
            1 - float(self._up_to[middle]) / self._count,
            self._count,
            tail.parts,
        )


def kolmogorov(distance: float) -> float:
    """Returns the probability that the limit of a scaled distance is larger (Kolmogorov 1933)."""
    if distance < 0.2:
        # There the series converges slowly, and the probability is 1 to twelve digits.
        return 1.0
    terms = (2 * (-1) ** (j - 1) * math.exp(-2 * (j * distance) ** 2) for j in range(1, 101))
    return min(1.0, max(0.0, math.fsum(terms)))
