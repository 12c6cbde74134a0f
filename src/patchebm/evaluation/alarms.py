"""This module tells whether as many good parts are called anomalous as was stated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from patchebm.evaluation.intervals import binomial_interval


def observed(counts: Sequence[int], good: int, stated: float) -> dict[str, Any]:
    """Returns what was observed of false alarms on one set.

    Seeds score the same images, so they do not multiply the number of trials: the interval is that of
    the mean count on so many images.

    Args:
        counts: false alarms by seed.
        good: good test images, at least 1.
        stated: the false-alarm rate that was asked for.

    Returns:
        `good`, `counts`, `rate` (mean over seeds), `interval` (95 %) and `within`: whether the stated rate
        lies in it. That is the same as asking whether the count lies within the binomial interval of the
        stated rate.
    """
    return _facts(float(np.mean(counts)), good, stated) | {"counts": list(counts)}


def pooled(sets: Sequence[dict[str, Any]], stated: float) -> dict[str, Any]:
    """Returns what was observed of false alarms over several sets together.

    Args:
        sets: what `observed` returned for each, at least one.
        stated: as there.

    Returns:
        `good`, `rate`, `interval` and `within` as there, and `largest_rate` of a single set.
    """
    count = sum(float(np.mean(facts["counts"])) for facts in sets)
    facts = _facts(count, sum(facts["good"] for facts in sets), stated)
    return facts | {"largest_rate": max(facts["rate"] for facts in sets)}


def _facts(count: float, good: int, stated: float) -> dict[str, Any]:
    low, high = binomial_interval(count, good)
    return {"good": good, "rate": count / good, "interval": [low, high], "within": low <= stated <= high}
