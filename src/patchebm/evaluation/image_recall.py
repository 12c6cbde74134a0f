"""This module computes how much of each image's defect is found where good images show hardly anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

LOWEST, HIGHEST = 1e-5, 1e-4
"""The false positive rates that AUPIMO is taken between."""


def image_recall_areas(
    maps: Sequence[npt.NDArray[np.float32]],
    masks: Sequence[npt.NDArray[np.bool_]],
    low: float = LOWEST,
    high: float = HIGHEST,
) -> npt.NDArray[np.float64]:
    """Computes AUPIMO for each image with a defect: the area under its per-image recall.

    The recall of an image is the share of its defect pixels at or above a threshold. It is taken over the
    shared false positive rate of that threshold: the mean, over the images without a defect pixel, of the
    share of their pixels at or above it. False positives in the other images do not count. The area is taken
    over the logarithm of the rate from `low` to `high` and divided by what a recall of 1 would have.

    The area is exact: at each rate the recall is that of the lowest threshold which does not exceed the rate.
    (anomalib approaches it by 300,000 thresholds evenly over the values of good images, and refuses good
    images that have too few pixels for the rates; where these have fewer than 1 / `low`, the recall above
    the hottest of them stands here.) Beside the maps it needs memory for a share `high` of the good images'
    pixels and for one image.

    Source: Bertoldo et al., "AUPIMO: Redefining Visual Anomaly Detection Benchmarks with High Speed and Low
    Tolerance", BMVC 2024, arXiv 2401.01984.

    Args:
        maps: anomaly maps, each (H, W), higher is more anomalous.
        masks: one per map, of the same size, (H, W) bool, True on defects.
        low: the lowest false positive rate, above 0.
        high: the highest, above `low`.

    Returns:
        (A,) in [0, 1] for the A images with a defect, in their order; empty if every image has a defect.
    """
    good = [heat for heat, mask in zip(maps, masks, strict=True) if not mask.any()]
    if not good:
        return np.empty(0)
    values, rates = _hottest(good, high)
    # Between one rate and the next the threshold lies just above the value that would be the next false one.
    edges = np.clip(np.concatenate(([0.0], rates)), low, high)
    widths = np.diff(np.log(edges)) / np.log(high / low)
    areas = []
    for heat, mask in zip(maps, masks, strict=True):
        if mask.any():
            defect = np.sort(heat[mask])
            found = 1 - np.searchsorted(defect, values, side="right") / defect.size
            areas.append(float(widths @ found))
    return np.clip(areas, 0.0, 1.0)


def _hottest(
    good: Sequence[npt.NDArray[np.float32]], high: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Returns the values of good images, falling, until the shared rate is beyond `high`, and these rates."""
    values, weights = np.empty(0, dtype=np.float32), np.empty(0)
    for heat in good:
        # No more of one image can count, however cool the others are.
        most = min(int(high * len(good) * heat.size) + 2, heat.size)
        one = np.partition(heat, heat.size - most, axis=None)[heat.size - most :]
        values = np.concatenate((values, one))
        weights = np.concatenate((weights, np.full(one.size, 1 / (len(good) * heat.size))))
        order = np.argsort(-values, kind="stable")
        values, weights = values[order], weights[order]
        enough = int(np.searchsorted(np.cumsum(weights), high * (1 + 1e-9))) + 1
        # Equal values come together: those of the last one stay whole.
        kept = values >= values[min(enough, values.size) - 1]
        values, weights = values[kept], weights[kept]
    last = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    return values[last], np.cumsum(weights)[last]
