"""This module says how far a figure can be trusted, and compares two detectors on the same images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

RESAMPLES = 1000
"""Resamples of a bootstrap: the ends of a 95 % interval then wander by about a tenth of its width."""

# Resamples held at once: 100 of 10,000 scores take 8 MB an array.
_CHUNK = 100

_Values = npt.NDArray[np.float64]


def binomial_interval(count: float, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the interval of Clopper and Pearson for a rate of which `count` in `total` was observed.

    It covers the true rate in at least `confidence` of all samples, however few there are.

    Args:
        count: events; a mean of several counts on the same images may be fractional, which is why this is
            not `scipy.stats.binomtest`.
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


def auroc(bad: _Values, good: _Values) -> _Values:
    """Returns the share of pairs in the right order, ties half: AUROC by ranks.

    Args:
        bad: `(..., B)` scores of anomalous images.
        good: `(..., G)` scores of good images.

    Returns:
        `(...)`, one AUROC for each row.
    """
    ranks = stats.rankdata(np.concatenate((bad, good), axis=-1), axis=-1)[..., : bad.shape[-1]]
    return np.asarray((ranks.mean(-1) - (bad.shape[-1] + 1) / 2) / good.shape[-1])


def average_precision(bad: _Values, good: _Values) -> _Values:
    """Returns the mean, over the anomalous images, of the precision at each one's score as a threshold.

    That is the step-wise area under precision over recall. Arguments and result as those of `auroc`.
    """
    # The rank "max" of a negated score counts the scores that are at least as high.
    called = stats.rankdata(-np.concatenate((bad, good), axis=-1), method="max", axis=-1)
    right = stats.rankdata(-bad, method="max", axis=-1)
    return np.asarray((right / called[..., : bad.shape[-1]]).mean(-1))


def bootstrap_intervals(
    labels: npt.ArrayLike, scores: npt.ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> tuple[list[float], list[float]]:
    """Returns 95 % percentile intervals `[low, high]` of AUROC and of average precision.

    Good and anomalous images are drawn again apart, as many of each as there are: a test set is made with so
    many of each. Where all anomalous images score above all good ones every resample reads 1, and the
    interval `[1, 1]` says less than it seems.

    Args:
        labels: (N,) bool, True for an anomalous image; both classes must occur.
        scores: (N,) finite float.
        seed: decides the resamples.
        resamples: how many.
    """
    truth, values = np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64)
    bad, good = values[truth], values[~truth]
    drawn = [
        (auroc(bad[b], good[g]), average_precision(bad[b], good[g]))
        for b, g in _resamples(bad.size, good.size, seed, resamples)
    ]
    areas, precisions = (np.concatenate(column) for column in zip(*drawn, strict=True))
    return _percentiles(areas), _percentiles(precisions)


@dataclass(frozen=True)
class Difference:
    """This class is the AUROC of one detector less that of another, on the same images.

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
    """Compares two detectors by their scores `(N,)` of the same images, whose `labels` hold both classes.

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
    drawn = [
        auroc(bad[0][b], good[0][g]) - auroc(bad[1][b], good[1][g])
        for b, g in _resamples(bad.shape[1], good.shape[1], seed, resamples)
    ]
    low, high = _percentiles(np.concatenate(drawn))
    return Difference(difference, low, high, p_value)


def _resamples(
    bad: int, good: int, seed: int, resamples: int
) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Yields indices `(R, bad)` and `(R, good)` of images drawn with replacement, at most `_CHUNK` rows."""
    rng = np.random.default_rng(seed)

    def drawn(count: int, rows: int) -> npt.NDArray[np.intp]:
        times = rng.multinomial(count, np.full(count, 1 / count), rows)
        return np.repeat(np.tile(np.arange(count), rows), times.ravel()).reshape(rows, count)

    for begin in range(0, resamples, _CHUNK):
        rows = min(_CHUNK, resamples - begin)
        yield drawn(bad, rows), drawn(good, rows)


def _percentiles(values: _Values) -> list[float]:
    return [float(end) for end in np.percentile(values, (2.5, 97.5))]
