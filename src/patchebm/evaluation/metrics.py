"""This module declares every metric once: its name, its needs, its computation, and which way is better.

All tables, comparisons, plots, files and sentences about metrics follow from `METRICS`; a new metric is one
entry there. Everywhere higher scores mean more anomalous, a label or mask is True where something is wrong,
and a metric that cannot be computed (one class only, no mask) is left out, never filled in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sklearn

from patchebm.evaluation.intervals import binomial_interval, bootstrap_intervals
from patchebm.evaluation.pixels import Pixels


class Need(Enum):
    """This class lists what test images must hold for a metric, with what is said where they do not."""

    ANOMALOUS = "no anomalous test images"
    GOOD = "no good test images"
    VERDICTS = "there are no verdicts of one level alone"
    ALARMS = "nothing was called anomalous"
    MASKS = "the set has no masks (ground_truth/<defect>/<name>_mask.png)"
    REGIONS = "the masks mark no pixel, or every one"
    GOOD_MAPS = "no good test images have maps"
    MARKED = "the detector makes no masks"


@dataclass(frozen=True, eq=False)
class Sample:
    """This class holds scored test images: all that a metric is computed from.

    Args:
        labels: (N,) bool, True for an anomalous image.
        scores: (N,) float, higher is more anomalous.
        verdicts: (N,) bool, reached at a threshold that was set without these labels, or None.
        pixels: what is known of the anomaly maps, or None.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """

    labels: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64]
    verdicts: npt.NDArray[np.bool_] | None = None
    pixels: Pixels | None = None

    def __post_init__(self) -> None:
        verdicts = self.labels if self.verdicts is None else self.verdicts
        shapes = {self.labels.shape, self.scores.shape, verdicts.shape}
        if len(shapes) > 1 or self.labels.ndim != 1:
            raise ValueError(f"labels, scores and verdicts must be vectors of one length, not {shapes}")
        if bad := int(np.count_nonzero(~np.isfinite(self.scores))):
            raise ValueError(f"{bad} of {self.scores.size} scores are not finite")

    def missing(self, needs: Sequence[Need]) -> Need | None:
        """Returns the first need that these images do not meet, or None."""
        met = {
            Need.ANOMALOUS: bool(self.labels.any()),
            Need.GOOD: not self.labels.all(),
            Need.VERDICTS: self.verdicts is not None,
            Need.ALARMS: self.verdicts is not None and bool(self.verdicts.any()),
            Need.MASKS: self.pixels is not None,
            Need.REGIONS: self.pixels is not None and self.pixels.curve.rate.size > 0,
            Need.GOOD_MAPS: self.pixels is not None and self.pixels.image_recalls.size > 0,
            Need.MARKED: self.pixels is not None and self.pixels.counts is not None,
        }
        return next((need for need in needs if not met[need]), None)

    @cached_property
    def counts(self) -> dict[str, int]:
        """Returns `good_count`, `anomalous_count` and, of verdicts, `false_alarm_count` and `miss_count`."""
        bad = int(np.count_nonzero(self.labels))
        found = {"good_count": self.labels.size - bad, "anomalous_count": bad}
        if self.verdicts is not None:
            found["false_alarm_count"] = int(np.count_nonzero(self.verdicts & ~self.labels))
            found["miss_count"] = int(np.count_nonzero(self.labels & ~self.verdicts))
        return found

    @cached_property
    def roc(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Returns the false and the true positive rates of every threshold."""
        # All points: scikit-learn drops those that do not bend the curve, among them the one at 95 %.
        rates = sklearn.roc_curve(self.labels, self.scores, drop_intermediate=False)
        return rates[0], rates[1]

    @cached_property
    def bootstrapped(self) -> tuple[list[float], list[float]]:
        """Returns the 95 % intervals of AUROC and of average precision."""
        return bootstrap_intervals(self.labels, self.scores)


@dataclass(frozen=True)
class Metric:
    """This class declares one metric.

    Attributes:
        name: key in results, in files and in Python.
        label: what tables call it.
        explanation: what it says, as a phrase.
        compute: from a sample that meets the needs.
        needs: without which it does not exist.
        higher_is_better: False where less is better.
        interval: its 95 % interval `[low, high]`, if there is one.
        headline: whether it is shown where there is room for a few only: the tiles of a report, the tables
            of a benchmark.
    """

    name: str
    label: str
    explanation: str
    compute: Callable[[Sample], float]
    needs: tuple[Need, ...]
    higher_is_better: bool = True
    interval: Callable[[Sample], list[float]] | None = None
    headline: bool = True

    @property
    def interval_name(self) -> str:
        """Returns the key of the interval in results."""
        return f"{self.name}_interval"

    @property
    def heading(self) -> str:
        """Returns the label, and which way is better where that is not up."""
        return self.label if self.higher_is_better else f"{self.label} (lower is better)"


def _fpr_at_95_tpr(sample: Sample) -> float:
    false_positive_rate, true_positive_rate = sample.roc
    # The share of found ones is a fraction of whole numbers: 19 of 20 must count as 95 %.
    return float(false_positive_rate[true_positive_rate >= 0.95 - 1e-12].min())


def _best_balanced_accuracy(sample: Sample) -> float:
    false_positive_rate, true_positive_rate = sample.roc
    return float(np.max(true_positive_rate + 1.0 - false_positive_rate) / 2.0)


def _best_f1(sample: Sample) -> float:
    precision, recall, _ = sklearn.precision_recall_curve(sample.labels, sample.scores)
    return float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300)))


def _interval_of(part: str, whole: str) -> Callable[[Sample], list[float]]:
    """Returns how the interval of a share of two counts is computed."""
    return lambda sample: list(binomial_interval(sample.counts[part], sample.counts[whole]))


def _of_pixels(compute: Callable[[Pixels], float]) -> Callable[[Sample], float]:
    """Returns how a metric of the pixels alone is computed."""
    return lambda sample: compute(sample.pixels) if sample.pixels is not None else float("nan")


_BOTH = (Need.ANOMALOUS, Need.GOOD)
_ranking = partial(Metric, needs=_BOTH)
_MASKED = (Need.ANOMALOUS, Need.MASKS, Need.REGIONS)
_pixels = partial(Metric, needs=_MASKED)

# fmt: off
METRICS: tuple[Metric, ...] = (
    _ranking("image_auroc", "image AUROC",
             "the share of pairs of a good and an anomalous image that the scores put in the right order",
             lambda s: float(sklearn.roc_auc_score(s.labels, s.scores)),
             interval=lambda s: s.bootstrapped[0]),
    _ranking("image_ap", "average precision",
             "the step-wise area under precision over recall, anomalous images being the positive class",
             lambda s: float(sklearn.average_precision_score(s.labels, s.scores)),
             interval=lambda s: s.bootstrapped[1]),
    _ranking("fpr_at_95_tpr", "FPR at 95 % TPR",
             "the share of good images above the highest threshold that finds 95 % of the anomalous ones",
             _fpr_at_95_tpr, higher_is_better=False),
    Metric("false_alarm_rate_observed", "false-alarm rate", "the share of good images called anomalous",
           lambda s: s.counts["false_alarm_count"] / s.counts["good_count"], (Need.GOOD, Need.VERDICTS),
           higher_is_better=False, interval=_interval_of("false_alarm_count", "good_count")),
    Metric("miss_rate", "miss rate", "the share of anomalous images called good",
           lambda s: s.counts["miss_count"] / s.counts["anomalous_count"], (Need.ANOMALOUS, Need.VERDICTS),
           higher_is_better=False, interval=_interval_of("miss_count", "anomalous_count")),
    Metric("recall", "recall", "the share of anomalous images called anomalous",
           lambda s: float(sklearn.recall_score(s.labels, s.verdicts)), (Need.ANOMALOUS, Need.VERDICTS),
           headline=False),
    # Without good images nothing can be a false alarm, and precision and F1 would flatter.
    Metric("precision", "precision", "the share of images called anomalous that are",
           lambda s: float(sklearn.precision_score(s.labels, s.verdicts)),
           (*_BOTH, Need.VERDICTS, Need.ALARMS), headline=False),
    Metric("f1", "F1", "the harmonic mean of precision and recall at the calibrated threshold",
           lambda s: float(sklearn.f1_score(s.labels, s.verdicts, zero_division=0.0)),
           (*_BOTH, Need.VERDICTS)),
    _pixels("pixel_auroc", "pixel AUROC", "AUROC over all pixels of all images",
            _of_pixels(lambda pixels: pixels.curve.auroc)),
    _pixels("aupro", "AUPRO to 0.3",
            "the mean share of each defect region that is found, over false positive rates up to 0.3",
            _of_pixels(lambda pixels: pixels.curve.pro_area(0.3))),
    _pixels("aupro_05", "AUPRO to 0.05", "the same over false positive rates up to 0.05",
            _of_pixels(lambda pixels: pixels.curve.pro_area(0.05))),
    _pixels("aupimo", "AUPIMO",
            "the mean share of an image's defect that is found, over false positive rates on good images "
            "from 0.00001 to 0.0001, evenly in their logarithm",
            _of_pixels(lambda pixels: float(pixels.image_recalls.mean())),
            needs=(*_MASKED, Need.GOOD_MAPS)),
    _pixels("seg_f1", "SegF1", "the F1 of all pixels of all images at the calibrated pixel threshold",
            _of_pixels(lambda pixels: pixels.counts.f1 if pixels.counts else float("nan")),
            needs=(*_MASKED, Need.MARKED)),
    _pixels("false_pixel_rate_observed", "false-pixel rate",
            "the share of the pixels of good images that are marked",
            _of_pixels(lambda pixels: pixels.counts.good_marked / pixels.counts.good
                       if pixels.counts else float("nan")),
            needs=(*_MASKED, Need.GOOD, Need.MARKED), higher_is_better=False, headline=False),
    # These two take the best threshold for the very labels. The thesis calls the first one AUROC, and most
    # tools print the second as their F1. On pure noise they are well above 0.5 where there are few images.
    _ranking("oracle_balanced_accuracy", "oracle balanced accuracy",
             "the best balanced accuracy over all thresholds for these very labels: an upper bound",
             _best_balanced_accuracy, headline=False),
    _ranking("oracle_f1", "oracle F1",
             "the best F1 over all thresholds for these very labels: an upper bound", _best_f1,
             headline=False),
)
# fmt: on
"""All metrics, in the order in which they are shown."""

MAIN = METRICS[0]
"""The metric by which levels, defects and runs are told apart where only one is shown."""


def measure(sample: Sample, metrics: Sequence[Metric] = METRICS, *, intervals: bool = True) -> dict[str, Any]:
    """Computes those of the metrics that the images allow.

    Args:
        sample: scored images.
        metrics: which, and in which order.
        intervals: whether the 95 % intervals are computed, too.

    Returns:
        For each metric its value by its name and, where it has one, its interval `[low, high]`.
    """
    found: dict[str, Any] = {}
    for metric in metrics:
        if sample.missing(metric.needs) is None:
            found[metric.name] = metric.compute(sample)
            if intervals and metric.interval is not None:
                found[metric.interval_name] = metric.interval(sample)
    return found


def image_metrics(labels: npt.ArrayLike, scores: npt.ArrayLike) -> dict[str, float]:
    """Computes the metrics of the order of images alone; empty where there is one class only.

    Args:
        labels: (N,) bool, True for an anomalous image.
        scores: (N,) float, higher is more anomalous.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """
    sample = Sample(np.asarray(labels, dtype=bool), np.asarray(scores, dtype=np.float64))
    return measure(sample, intervals=False)


def pixel_metrics(
    maps: Sequence[npt.NDArray[np.float32]], masks: Sequence[npt.NDArray[np.bool_]]
) -> dict[str, float]:
    """Computes the metrics of anomaly maps alone; arguments and errors are those of `PixelCurve.of`.

    The result is empty where no pixel, or every pixel, is a defect.
    """
    labels = np.array([bool(mask.any()) for mask in masks], dtype=bool)
    sample = Sample(labels, np.zeros(labels.size), pixels=Pixels.of(maps, masks))
    return measure(sample, [metric for metric in METRICS if Need.MASKS in metric.needs])
