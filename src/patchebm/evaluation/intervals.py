"""How far a figure can be trusted: intervals, and tests between two detectors on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["Difference", "auroc_difference", "binomial_interval", "bootstrap_intervals"]

RESAMPLES = 1000
"""Resamples of a bootstrap: the ends of a 95 % interval then wander by about a tenth of its width."""

# Resampled counts held at once: 100 resamples of 10,000 images take 8 MB an array.
_CHUNK = 100

_Values = npt.NDArray[np.float64]


def binomial_interval(count: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of Clopper and Pearson for a rate of which `count` in `total` was observed.

    It covers the true rate in at least `confidence` of all samples, however few there are.

    Args:
        count: events; a mean of several counts of the same images may be fractional.
        total: trials.
        confidence: of the interval.

    Raises:
        ValueError: `count` is not among 0 to `total`, or `total` is 0.

    Source: Clopper and Pearson, Biometrika 1934, by quantiles of beta distributions.
    """
    if not 0 <= count <= total or total == 0:
        raise ValueError(f"{count} of {total} is no share")
    tail = (1 - confidence) / 2
    low = float(stats.beta.ppf(tail, count, total - count + 1)) if count > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return low, high


def bootstrap_intervals(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, list[float]]:
    """95 % percentile intervals of AUROC and average precision.

    Good and anomalous images are drawn again apart, as many of each as there are: a test set is made with so
    many of each. Where all anomalous images score above all good ones every resample reads 1, and the
    interval `[1, 1]` says less than it seems.

    Args:
        labels: (N,) bool, True for an anomalous image.
        scores: (N,) finite float.
        seed: decides the resamples.
        resamples: how many.

    Returns:
        `image_auroc_interval` and `image_ap_interval`, each `[low, high]`; empty for one class alone.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    if truth.all() or not truth.any():
        return {}
    auroc, precision = _resampled(truth, values[None], seed, resamples)
    return {"image_auroc_interval": _percentiles(auroc[0]), "image_ap_interval": _percentiles(precision[0])}


@dataclass(frozen=True)
class Difference:
    """AUROC of one detector less that of another, on the same images.

    Attributes:
        value: the difference.
        low, high: 95 % interval from a paired bootstrap.
        p_value: two-sided, of DeLong's test that there is none; None where neither detector's order of the
            images leaves room for chance, as where both are perfect.
    """

    value: float
    low: float
    high: float
    p_value: float | None


def auroc_difference(
    labels: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Difference:
    """Compare two detectors by their scores `(N,)` of the same images, whose `labels` hold both classes.

    Raises:
        ValueError: the lengths differ, or there is one class alone.

    Source: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver
    operating characteristic curves", Biometrics 1988; by midranks after Sun and Xu, IEEE SPL 2014.
    """
    truth = np.asarray(labels, dtype=bool)
    values = np.stack([np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)])
    if truth.shape != values.shape[1:]:
        raise ValueError(f"{values.shape[1]} scores were given for {truth.size} labels")
    if truth.all() or not truth.any():
        raise ValueError("an AUROC needs good and anomalous images")
    bad, good = values[:, truth], values[:, ~truth]
    # Each anomalous image's share of good ones below it, and each good one's of anomalous ones above it.
    ranks = stats.rankdata(values, axis=1)
    above = (ranks[:, truth] - stats.rankdata(bad, axis=1)) / good.shape[1]
    below = 1 - (ranks[:, ~truth] - stats.rankdata(good, axis=1)) / bad.shape[1]
    difference = float(above[0].mean() - above[1].mean())
    variance = 0.0
    for shares in (above, below):
        if shares.shape[1] > 1:
            variance += float((shares[0] - shares[1]).var(ddof=1)) / shares.shape[1]
    p_value = None
    if variance > 1e-12:
        p_value = float(2 * stats.norm.sf(abs(difference) / variance**0.5))
    auroc, _ = _resampled(truth, values, seed, resamples)
    low, high = _percentiles(auroc[0] - auroc[1])
    return Difference(difference, low, high, p_value)


def _resampled(
    truth: npt.NDArray[np.bool_], values: _Values, seed: int, resamples: int
) -> tuple[_Values, _Values]:
    """AUROC and average precision `(D, R)` of D detectors on R resamples, the same for all.

    Args:
        truth: (N,).
        values: (D, N) scores.
        seed: decides the resamples.
        resamples: R.
    """
    rng = np.random.default_rng(seed)
    bad, good = np.flatnonzero(truth), np.flatnonzero(~truth)
    orders = [np.argsort(-row) for row in values]
    auroc = np.empty((len(values), resamples))
    precision = np.empty_like(auroc)
    for begin in range(0, resamples, _CHUNK):
        part = slice(begin, min(begin + _CHUNK, resamples))
        rows = part.stop - part.start
        # How often each image was drawn.
        counts = np.zeros((rows, truth.size))
        counts[:, bad] = rng.multinomial(bad.size, np.full(bad.size, 1 / bad.size), rows)
        counts[:, good] = rng.multinomial(good.size, np.full(good.size, 1 / good.size), rows)
        for which, (row, order) in enumerate(zip(values, orders, strict=True)):
            # Equal scores rise over a threshold together: one column for each distinct score.
            descending = row[order]
            starts = np.flatnonzero(np.append(True, descending[1:] != descending[:-1]))
            drawn = counts[:, order]
            found = np.add.reduceat(drawn * truth[order], starts, axis=1)
            alarms = np.add.reduceat(drawn * ~truth[order], starts, axis=1)
            all_found, all_alarms = found.cumsum(1), alarms.cumsum(1)
            auroc[which, part] = (alarms * (all_found - found / 2)).sum(1) / (bad.size * good.size)
            share = all_found / np.maximum(all_found + all_alarms, 1)
            precision[which, part] = (found * share).sum(1) / bad.size
    return auroc, precision


def _percentiles(values: _Values) -> list[float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return [float(low), float(high)]
