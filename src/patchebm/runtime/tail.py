"""This module says how rare a score is among good parts: tail probabilities and thresholds.

It needs numpy alone, so that an exported model says the same as the one that was trained.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError
from patchebm.runtime.threshold import Threshold, rate_shown_by

# Exceedances that the tail is fitted to, in square roots of the number of parts: 7 of 20, 21 of 200.
EXCEEDANCES = 1.5


def part_shares(groups: Sequence[Hashable | None]) -> NDArray[np.float64]:
    """Returns the share `(N,)` of each image in its part: one over the number of images of that part.

    Args:
        groups: `(N,)` the physical part that each image shows; None for a part of its own.
    """
    count = Counter(group for group in groups if group is not None)
    return np.array([1.0 if group is None else 1 / count[group] for group in groups], dtype=np.float64)


class Tail:
    """This class turns scores into tail probabilities, by those of good parts that no energy was fitted on.

    Up to the largest normal score probabilities are conformal: of K parts and a new one, all exchangeable,
    the new one is as odd as any (Vovk et al. 2005; for several images of a part, each of which then counts
    for its share of the part, Lee, Barber and Willett 2023, arXiv 2306.06342, HCP). No probability below
    1 / (K + 1) can be observed. Beyond the largest score an exponential tail is fitted to the m largest;
    since its scale is estimated, too, a new excess x survives with probability (1 + x / S)^-m, S the sum of
    the m excesses: exact where the tail is exponential, cautious where it is lighter.

    Args:
        scores: `(N,)` out-of-sample scores of good images, N >= 2.
        weights: `(N,)` the share of each image in its part, as `part_shares` gives them; None takes each
            for a part of its own.
        guess: whether these are no scores of good parts but what is guessed of them from a single image. Then
            every probability is extrapolated, and thresholds are guesses.

    Raises:
        ConfigError: fewer than two scores or parts, or scores that are not finite.

    Attributes:
        scores: `(N,)` float64, ascending.
        weights: `(N,)` float64, in the order of the scores; they sum to `parts`.
        parts: K.
        guess: as given.
    """

    def __init__(
        self,
        scores: NDArray[np.float64],
        weights: NDArray[np.float64] | None = None,
        *,
        guess: bool = False,
    ) -> None:
        values = np.asarray(scores, dtype=np.float64)
        weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=np.float64)
        if weights.shape != values.shape or values.ndim != 1:
            raise ConfigError(f"weights {weights.shape} do not fit scores {values.shape}; give one each")
        parts = round(float(weights.sum()))
        if parts < 2:
            raise ConfigError(
                f"a threshold needs good images of at least two parts, and {len(values)} images of "
                f"{parts} were held out; give more good images"
            )
        if not np.isfinite(values).all():
            raise ConfigError("scores of good images are not finite; train again with a lower training.lr")
        order = np.argsort(values, kind="stable")
        self.scores = values[order]
        self.weights = weights[order]
        self.parts = parts
        self.guess = guess
        # For each score, and for one beyond all: parts at or above it.
        self._at_or_above = np.append(np.cumsum(self.weights[::-1])[::-1], 0.0)
        self._fit()

    def _fit(self) -> None:
        """Finds where the fitted tail starts, its exponent m and the sum S of its excesses."""
        m = min(self.parts - 1, max(2, round(EXCEEDANCES * math.sqrt(self.parts))))
        # The start is the (m + 1)-th largest score, counted in parts.
        first = int(np.searchsorted(-self._at_or_above, -(m + 1) + 1e-9, side="right")) - 1
        first = min(max(first, 0), len(self.scores) - 2)
        above = self.scores[first + 1 :] - self.scores[first]
        weight = self.weights[first + 1 :]
        self._start = float(self.scores[first])
        self._exponent = max(float(weight.sum()), 1.0)
        std = float(np.std(self.scores))
        # Normals that are all alike have no tail: then anything beyond them is far beyond.
        self._excess = max(float((weight * above).sum()), 1e-6 * max(std, abs(self._start), 1e-6))

    @property
    def supported_rate(self) -> float:
        """Returns the smallest false-alarm rate that so many parts can show without extrapolation."""
        return 1 / 2 if self.guess else rate_shown_by(self.parts)

    def probability(self, score: float) -> float:
        """Returns the share of good parts that score at least this high, in (0, 1]; NaN for NaN."""
        if math.isnan(score):
            return math.nan
        if score > self.scores[-1]:
            return self._fitted(score)
        return min(1.0, float(1 + self._at_or_above[np.searchsorted(self.scores, score)]) / (self.parts + 1))

    def extrapolated(self, score: float) -> bool:
        """Says whether a score lies beyond all normal ones: its probability rests on the fitted tail then."""
        return self.guess or bool(score > self.scores[-1])

    def threshold(self, false_alarm_rate: float) -> Threshold:
        """Returns the score above which a share `false_alarm_rate` of good parts lies, at most.

        Where the parts are too few to observe that rate the fitted tail stands in, and never gives less than
        the largest score.

        Raises:
            ConfigError: a rate outside (0, 1).
        """
        if not 0 < false_alarm_rate < 1:
            raise ConfigError(
                f"false_alarm_rate {false_alarm_rate} is not between 0 and 1; use for instance 0.05"
            )
        # Just above each score: what lies at or above the next larger one.
        above = (1 + self._at_or_above[np.searchsorted(self.scores, self.scores, side="right")]) / (
            self.parts + 1
        )
        enough = np.flatnonzero(above <= false_alarm_rate + 1e-12)
        if len(enough):
            value = float(self.scores[enough[0]])
        else:
            m = self._exponent
            ratio = (m + 1) / ((self.parts + 1) * false_alarm_rate)
            fitted = self._start + self._excess * (ratio ** (1 / m) - 1)
            value = max(fitted, float(self.scores[-1]))
        if self.guess:
            return Threshold(value, false_alarm_rate, True, 1, 1, guess=True)
        return Threshold(value, false_alarm_rate, not len(enough), len(self.scores), self.parts)

    def _fitted(self, score: float) -> float:
        m = self._exponent
        survival = (1 + (score - self._start) / self._excess) ** -m
        return float(min((m + 1) * survival, 1.0) / (self.parts + 1))
