"""The threshold of the verdict, from normal pictures alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError


@dataclass(frozen=True)
class Threshold:
    """A score above `value` is called anomalous.

    Attributes:
        value: the threshold.
        false_alarm_rate: share of good parts that may lie above it.
        extrapolated: whether the normals were too few to observe that rate, so that the value rests on a
            normal tail fitted to their scores.
        normals: how many normal pictures it stands on.
    """

    value: float
    false_alarm_rate: float
    extrapolated: bool
    normals: int

    @property
    def supported_rate(self) -> float:
        """The smallest false-alarm rate that so many normals can show without extrapolation."""
        return 1 / (self.normals + 1)


def fit_threshold(scores: NDArray[np.float64], false_alarm_rate: float) -> Threshold:
    """The conformal threshold at a false-alarm rate.

    With n exchangeable normal scores, a new one lies above the ceil((n + 1)(1 - rate))-th smallest with
    probability at most `rate` (Vovk et al. 2005, split conformal prediction). Where (n + 1) rate < 1 no
    observed score qualifies; then the quantile of a normal distribution fitted to the scores stands in,
    but never below the largest score seen.

    Args:
        scores: `(N,)` out-of-sample scores of normal pictures, N >= 2.
        false_alarm_rate: between 0 and 1, both excluded.

    Raises:
        ConfigError: a rate outside (0, 1), or fewer than two scores.
    """
    if not 0 < false_alarm_rate < 1:
        raise ConfigError(
            f"false_alarm_rate {false_alarm_rate} is not between 0 and 1; use for instance 0.05"
        )
    n = len(scores)
    if n < 2:
        raise ConfigError("a threshold needs at least two held-out good pictures; give more good pictures")
    rank = math.ceil((n + 1) * (1 - false_alarm_rate) - 1e-9)
    if rank <= n:
        return Threshold(float(np.sort(scores)[rank - 1]), false_alarm_rate, False, n)
    from scipy.stats import norm

    tail = scores.mean() + norm.isf(false_alarm_rate) * scores.std(ddof=1)
    return Threshold(float(max(tail, scores.max())), false_alarm_rate, True, n)
