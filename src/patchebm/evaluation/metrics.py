"""How well scores and heat maps separate good from anomalous.

Everywhere higher means more anomalous, a label or mask is True where something is wrong, and a figure
that cannot be computed (one class only, no mask) is left out of the result, never filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from patchebm.evaluation.intervals import binomial_interval

__all__ = ["image_metrics", "pixel_metrics", "threshold_metrics"]

# Pixels that touch at a corner belong to one region, as in the evaluation code of MVTec AD.
_EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def image_metrics(labels: npt.ArrayLike, scores: npt.ArrayLike) -> dict[str, float]:
    """Measure how well scores rank anomalous images above good ones.

    What starts with `oracle_` takes the best of all thresholds for these very labels: an upper bound, and no
    detector's figure. `oracle_balanced_accuracy` is the figure that the thesis calls AUROC: the balanced
    accuracy, (true positive rate + true negative rate) / 2. It is at least 0.5 and on pure noise well above
    it, the more so the fewer images there are. `oracle_f1` is the best F1, that most tools print as theirs.

    Args:
        labels: (N,) bool, True for an anomalous image.
        scores: (N,) float, higher is more anomalous.

    Returns:
        `image_auroc` (ties count half), `image_ap` (average precision, the step-wise area under precision
        over recall, anomalous as the positive class), `fpr_at_95_tpr` (the share of good images above the
        highest threshold that finds at least 95 % of the anomalous ones), `oracle_balanced_accuracy` and
        `oracle_f1`. Empty where there are only good or only anomalous images.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """
    truth = np.asarray(labels, dtype=bool)
    values = np.asarray(scores, dtype=np.float64)
    if truth.ndim != 1 or truth.shape != values.shape:
        raise ValueError(f"labels and scores must be vectors of one length: {truth.shape}, {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{np.count_nonzero(~np.isfinite(values))} of {values.size} scores are not finite")
    if truth.all() or not truth.any():
        return {}
    # All points: scikit-learn drops those that do not bend the curve, among them the one at 95 %.
    false_positive_rate, true_positive_rate, _ = roc_curve(truth, values, drop_intermediate=False)
    precision, recall, _ = precision_recall_curve(truth, values)
    # The share of found ones is a fraction of whole numbers: 19 of 20 must count as 95 %.
    enough = true_positive_rate >= 0.95 - 1e-12
    return {
        "image_auroc": float(roc_auc_score(truth, values)),
        "image_ap": float(average_precision_score(truth, values)),
        "fpr_at_95_tpr": float(false_positive_rate[enough].min()),
        "oracle_balanced_accuracy": float(np.max(true_positive_rate + 1.0 - false_positive_rate) / 2.0),
        "oracle_f1": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))),
    }


def threshold_metrics(labels: npt.ArrayLike, anomalous: npt.ArrayLike) -> dict[str, Any]:
    """Count the errors of verdicts that were reached at a threshold set without these labels.

    Args:
        labels: (N,) bool, True for an anomalous image.
        anomalous: (N,) bool, the detector's verdicts.

    Returns:
        The integers `good_count`, `anomalous_count`, `false_alarm_count` and `miss_count`; where there are
        good images `false_alarm_rate_observed` (false alarms per good image) and its 95 % interval
        `false_alarm_rate_interval` `[low, high]`; where there are anomalous ones `miss_rate` (misses per
        anomalous image), `miss_rate_interval` and `recall` (1 - `miss_rate`); where there are both, `f1`
        (0 where nothing was found) and, if anything was called anomalous, `precision`.

    Raises:
        ValueError: the lengths differ.
    """
    truth = np.asarray(labels, dtype=bool)
    verdicts = np.asarray(anomalous, dtype=bool)
    if truth.ndim != 1 or truth.shape != verdicts.shape:
        raise ValueError(
            f"labels and verdicts must be vectors of one length: {truth.shape}, {verdicts.shape}"
        )
    bad = int(np.count_nonzero(truth))
    good = truth.size - bad
    false_alarms = int(np.count_nonzero(verdicts & ~truth))
    misses = int(np.count_nonzero(truth & ~verdicts))
    result: dict[str, Any] = {
        "good_count": good,
        "anomalous_count": bad,
        "false_alarm_count": false_alarms,
        "miss_count": misses,
    }
    if good:
        result["false_alarm_rate_observed"] = false_alarms / good
        result["false_alarm_rate_interval"] = list(binomial_interval(false_alarms, good))
    if bad:
        result["miss_rate"] = misses / bad
        result["miss_rate_interval"] = list(binomial_interval(misses, bad))
        found = bad - misses
        result["recall"] = found / bad
        # Without good images nothing can be a false alarm, and precision and F1 would flatter.
        if good:
            result["f1"] = 2 * found / (2 * found + false_alarms + misses)
            if found + false_alarms:
                result["precision"] = found / (found + false_alarms)
    return result


def pixel_metrics(
    maps: Sequence[npt.NDArray[np.float32]], masks: Sequence[npt.NDArray[np.bool_]]
) -> dict[str, float]:
    """Measure how well heat maps point at the defects.

    All figures come from the exact curves over every distinct value of the maps, not from a grid of
    thresholds. As in the evaluation code of MVTec AD, every pixel outside a mask counts as normal,
    whichever image it is from. An anomalous image whose mask is empty therefore adds normal pixels
    and no region: leave such images out of both arguments if their masks are missing rather than empty.

    60 million pixels, 7 % of them defects, take 8 s and 0.8 GB beside the maps; half of them defects,
    22 s and 3 GB (measured on one core).

    Args:
        maps: heat maps, each (H, W) float32 (other types are converted), higher is more anomalous. The
            size may differ from image to image. Pass those of good test images as well.
        masks: one per map, of the same size, (H, W) bool, True on defects; all False for a good image.

    Returns:
        `pixel_auroc`: over all pixels of all images (ties count half).
        `aupro`: area under the per-region overlap (the mean, over the 8-connected regions of all masks, of
        the share of a region that is above the threshold) as a function of the false positive rate, up to
        a rate of 0.3 and divided by it; the curve is linear between its points, also at the limit.
        `aupro_05`: the same up to a rate of 0.05.
        Empty where no pixel, or every pixel, is a defect.

    Raises:
        ValueError: the numbers of maps and masks or the sizes of a pair differ, or a map has a value that
            is not finite.

    Source: Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021 (PRO curve).
    """
    if len(maps) != len(masks):
        raise ValueError(f"there must be one mask per map, got {len(maps)} maps and {len(masks)} masks")
    for index, (heat, mask) in enumerate(zip(maps, masks, strict=True)):
        if heat.ndim != 2 or heat.shape != mask.shape:
            raise ValueError(f"map {index} of shape {heat.shape} does not fit its mask of shape {mask.shape}")
        if not np.isfinite(heat).all():
            raise ValueError(f"map {index} has values that are not finite")

    normal, defect, weights = _split(maps, masks)
    if not normal.size or not defect.size:
        return {}
    normal.sort()
    order = np.argsort(defect)[::-1]
    descending = defect[order]
    # A threshold admits equal values together: the curve has a point only behind the last of each tie.
    last = np.flatnonzero(np.append(descending[1:] != descending[:-1], True))
    thresholds = descending[last]
    found = (last + 1) / defect.size
    overlap = np.cumsum(weights[order])[last]
    # Divided by its own end, so that rounding in the sum cannot leave the curve above or below 1.
    overlap /= overlap[-1]

    # Between two values of defect pixels only normal pixels are added and the curve is flat, so the points
    # just before and at each such value describe it exactly; normal pixels need no points of their own.
    before = (normal.size - np.searchsorted(normal, thresholds, side="right")) / normal.size
    at = (normal.size - np.searchsorted(normal, thresholds, side="left")) / normal.size
    rate = _corners(before, at)
    return {
        "pixel_auroc": _area(rate, _steps(found), 1.0),
        "aupro": _area(rate, _steps(overlap), 0.3),
        "aupro_05": _area(rate, _steps(overlap), 0.05),
    }


def _split(
    maps: Sequence[npt.NDArray[np.float32]], masks: Sequence[npt.NDArray[np.bool_]]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Values of the normal pixels, of the defect pixels, and 1 / region size for each defect pixel."""
    total = sum(mask.size for mask in masks)
    defects = sum(int(np.count_nonzero(mask)) for mask in masks)
    # Filled in place: lists to concatenate would double the memory at its peak.
    normal = np.empty(total - defects, dtype=np.float32)
    defect = np.empty(defects, dtype=np.float32)
    weights = np.empty(defects, dtype=np.float64)
    normal_end = defect_end = 0
    for heat, mask in zip(maps, masks, strict=True):
        inside = np.asarray(mask, dtype=bool)
        outside_values = heat[~inside]
        normal[normal_end : normal_end + outside_values.size] = outside_values
        normal_end += outside_values.size
        if not inside.any():
            continue
        regions, _ = ndimage.label(inside, structure=_EIGHT_NEIGHBOURS)
        region_of_pixel = regions[inside]
        part = slice(defect_end, defect_end + region_of_pixel.size)
        defect[part] = heat[inside]
        weights[part] = 1.0 / np.bincount(region_of_pixel)[region_of_pixel]
        defect_end = part.stop
    return normal, defect, weights


def _corners(before: npt.NDArray[np.float64], at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Interleave the false positive rates before and at each threshold, from 0 to 1."""
    return np.concatenate(([0.0], np.stack((before, at), axis=1).ravel(), [1.0]))


def _steps(level: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Heights that belong to `_corners`: the level reached so far, and the one reached at the threshold."""
    return _corners(np.concatenate(([0.0], level[:-1])), level)


def _area(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], limit: float) -> float:
    """Area under the polygon (x ascending, from 0 to 1) up to `limit`, divided by `limit`."""
    # side="right": at a vertical piece on the limit itself the curve has climbed all of it.
    inside = int(np.searchsorted(x, limit, side="right"))
    area = float(np.sum(np.diff(x[:inside]) * (y[1:inside] + y[: inside - 1])) / 2.0)
    if inside < x.size:
        width = limit - x[inside - 1]
        end = y[inside - 1] + (y[inside] - y[inside - 1]) * width / (x[inside] - x[inside - 1])
        area += float((y[inside - 1] + end) / 2.0 * width)
    return area / limit
