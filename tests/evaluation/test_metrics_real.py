"""Figures of real maps against torchmetrics, and AUPRO against its definition taken literally."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torchmetrics.classification import BinaryAUROC, BinaryAveragePrecision, BinaryF1Score

from patchebm.evaluation.metrics import Sample, image_metrics, measure, pixel_metrics
from patchebm.images.folders import ImageFile, open_image_set
from patchebm.images.reading import read_masks
from patchebm.runtime.prediction import Prediction
from tests.simple_predictor import SimplePredictor

Scored = list[tuple[ImageFile, Prediction, npt.NDArray[np.bool_]]]


@pytest.fixture(scope="module")
def scored(real_data: Path) -> Scored:
    """Six images of each defect and of good tiles, by a detector that is fitted in no time."""
    image_set = open_image_set(real_data / "magnetic_tile")
    detector = SimplePredictor([p.path for p in image_set.train[::40]])
    images = [
        image
        for defect in ("good", *image_set.defects)
        for image in [p for p in image_set.test if p.defect == defect][:6]
    ]
    result = []
    for image, prediction in zip(images, detector.iterate([p.path for p in images]), strict=True):
        assert prediction.heat_map is not None
        shape = prediction.heat_map.shape
        mask = read_masks(image.masks, shape).pixels if image.masks else np.zeros(shape, dtype=bool)
        result.append((image, prediction, mask))
    return result


def unit(values: npt.NDArray[np.floating]) -> torch.Tensor:
    """Scores in [0, 1], where torchmetrics takes them as they are; elsewhere it bends them."""
    wide = torch.from_numpy(np.asarray(values, dtype=np.float64))
    return (wide - wide.min()) / (wide.max() - wide.min())


def test_image_figures_equal_torchmetrics(scored: Scored) -> None:
    labels = np.array([bool(image.anomalous) for image, _, _ in scored])
    scores = np.array([prediction.score for _, prediction, _ in scored])
    truth = torch.from_numpy(labels).long()
    measured = image_metrics(labels, scores)
    assert measured["image_auroc"] == pytest.approx(float(BinaryAUROC()(unit(scores), truth)), abs=1e-6)
    precision = float(BinaryAveragePrecision()(unit(scores), truth))
    assert measured["image_ap"] == pytest.approx(precision, abs=1e-6)
    # The threshold of so quick a detector may call nothing anomalous; the middle score calls half.
    verdicts = scores > np.median(scores)
    f1 = float(BinaryF1Score()(torch.from_numpy(verdicts).long(), truth))
    assert measure(Sample(labels, scores, verdicts))["f1"] == pytest.approx(f1, abs=1e-6)
    # torchmetrics calls anomalous what is above a threshold, ours what is at it or above.
    below = [max(0.0, float(value) - 1e-12) for value in unit(scores)]
    rates = [float(BinaryF1Score(threshold=threshold)(unit(scores), truth)) for threshold in below]
    # No threshold in [0, 1] of torchmetrics calls all images anomalous.
    best = max(*rates, float(BinaryF1Score()(torch.ones_like(truth), truth)))
    assert measured["oracle_f1"] == pytest.approx(best, abs=1e-6)


def test_pixel_auroc_equals_torchmetrics(scored: Scored) -> None:
    maps = [p.heat_map for _, p, _ in scored if p.heat_map is not None]
    masks = [mask for _, _, mask in scored]
    values = unit(np.concatenate([heat.ravel() for heat in maps]))
    truth = torch.from_numpy(np.concatenate([mask.ravel() for mask in masks])).long()
    assert len(truth) > 1_000_000
    expected = float(BinaryAUROC()(values, truth))
    assert pixel_metrics(maps, masks)["pixel_auroc"] == pytest.approx(expected, abs=1e-6)


def regions_of(mask: npt.NDArray[np.bool_]) -> list[npt.NDArray[np.intp]]:
    """Flat indices of the 8-connected regions: labels grow into neighbours until nothing changes."""
    if not mask.any():
        return []
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    inside, own = mask[box], np.arange(mask.size).reshape(mask.shape)[box]
    labels = np.where(inside, own + 1, 0)
    while True:
        padded = np.pad(labels, 1)
        height, width = inside.shape
        around = [padded[y : y + height, x : x + width] for y in range(3) for x in range(3)]
        grown = np.where(inside, np.maximum.reduce(around), 0)
        if np.array_equal(grown, labels):
            return [own[labels == name] for name in np.unique(labels[inside])]
        labels = grown


def share_from(ascending: npt.NDArray[np.float32], threshold: float) -> float:
    """The share of values at or above a threshold."""
    return 1 - int(np.searchsorted(ascending, threshold, side="left")) / len(ascending)


Pieces = tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]


@pytest.fixture(scope="module")
def pieces(scored: Scored) -> Pieces:
    """The values of all normal pixels, and those of each region, ascending."""
    maps = [(p.heat_map, mask) for _, p, mask in scored if p.heat_map is not None]
    normal = np.sort(np.concatenate([heat[~mask] for heat, mask in maps]))
    return normal, [np.sort(heat.ravel()[region]) for heat, mask in maps for region in regions_of(mask)]


@pytest.mark.parametrize(("key", "limit"), [("aupro", 0.3), ("aupro_05", 0.05)])
def test_aupro_equals_its_definition(scored: Scored, pieces: Pieces, key: str, limit: float) -> None:
    """At each of 1500 thresholds: which share of the normal pixels and of each region is above it."""
    normal, regions = pieces
    assert len(regions) > 20
    # Even in the false positive rate, a little beyond the limit.
    thresholds = np.quantile(normal, 1 - np.linspace(0, limit * 1.05, 1500))
    rates, overlaps = [0.0], [0.0]
    for threshold in thresholds:
        rates.append(share_from(normal, threshold))
        overlaps.append(float(np.mean([share_from(region, threshold) for region in regions])))
    grid = np.linspace(0, limit, 100_001)
    expected = float(np.trapezoid(np.interp(grid, rates, overlaps), grid) / limit)
    maps = [p.heat_map for _, p, _ in scored if p.heat_map is not None]
    measured = pixel_metrics(maps, [mask for _, _, mask in scored])
    assert measured[key] == pytest.approx(expected, abs=1e-3)
