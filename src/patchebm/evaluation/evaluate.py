"""Measure a fitted detector on pictures with known truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from patchebm.data.folders import ImageSet, Picture
from patchebm.data.images import read_mask
from patchebm.errors import DataError
from patchebm.evaluation.metrics import image_metrics, pixel_metrics, threshold_metrics

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.prediction import Prediction


@dataclass(frozen=True)
class Evaluation:
    """Figures, and the predictions that they come from.

    Attributes:
        figures: what JSON can hold; see `evaluate`.
        pictures: the test pictures.
        predictions: one for each, without maps.
    """

    figures: dict[str, Any]
    pictures: tuple[Picture, ...]
    predictions: list[Prediction]


def evaluate(
    detector: EnsembleDetector,
    image_set: ImageSet,
    *,
    pixels: bool = True,
    tick: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score all test pictures once and measure the scores, verdicts and maps.

    The figures are `image_auroc`, `image_ap` and `oracle_balanced_accuracy`, with masks `pixel_auroc`,
    `aupro` and `aupro_05`; `threshold`, observed false alarms and misses; `per_defect` with the AUROC of
    each defect against all good pictures; `per_kind` where the set says which defects are local and
    which global; `levels` with the same for each level and the ensemble; `seconds`. What cannot be
    computed is left out.

    Args:
        detector: fitted.
        image_set: with test pictures.
        pixels: whether maps are made and measured, where there are masks.
        tick: called after each picture.

    Raises:
        DataError: there are no test pictures, or none whose truth is known.
        ImageError: a picture or mask cannot be read.
    """
    pictures = tuple(p for p in image_set.test if p.anomalous is not None)
    if not pictures:
        raise DataError(
            f"{image_set.root} has no test pictures of known truth; put them in test/good and test/<defect>"
        )
    predictions: list[Prediction] = []
    maps: dict[str, list[NDArray[np.float32]]] = {}
    masks: list[NDArray[np.bool_]] = []
    began = time.perf_counter()
    for picture, prediction in zip(
        pictures,
        detector.iterate([p.path for p in pictures], heat_maps=pixels and image_set.has_masks),
        strict=True,
    ):
        # A defect without a mask file says nothing about its pixels; a good picture's are all good.
        if prediction.heat_map is not None and (picture.mask or not picture.anomalous):
            shape = prediction.heat_map.shape
            masks.append(read_mask(picture.mask, shape) if picture.mask else np.zeros(shape, dtype=bool))
            for name, level_map in {**prediction.level_maps, "ensemble": prediction.heat_map}.items():
                maps.setdefault(name, []).append(level_map)
        predictions.append(replace(prediction, heat_map=None, level_maps={}))
        tick()
    scoring = time.perf_counter() - began
    labels = np.array([bool(p.anomalous) for p in pictures])
    columns = {name: np.array([p.levels[name] for p in predictions]) for name in predictions[0].levels}
    if len(columns) > 1:
        columns["ensemble"] = np.array([p.score for p in predictions])
    scores = np.array([p.score for p in predictions])
    pixel_figures = {name: pixel_metrics(level, masks) for name, level in maps.items()}
    figures: dict[str, Any] = {
        "image_set": image_set.name,
        **image_metrics(labels, scores),
        **pixel_figures.get("ensemble", {}),
        "threshold": predictions[0].threshold,
        **threshold_metrics(labels, [p.anomalous for p in predictions]),
        **_breakdown(image_set, pictures, labels, scores),
        "levels": {
            name: image_metrics(labels, column)
            | pixel_figures.get(name, {})
            | _breakdown(image_set, pictures, labels, column)
            for name, column in columns.items()
        },
        "seconds": {
            "score": round(scoring, 3),
            "score_per_image": round(scoring / len(pictures), 5),
            "metrics": round(time.perf_counter() - began - scoring, 3),
        },
    }
    return Evaluation(figures, pictures, predictions)


def _breakdown(
    image_set: ImageSet,
    pictures: Sequence[Picture],
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
) -> dict[str, Any]:
    """AUROC of each defect, and of each kind of defect, against all good pictures."""
    defects = np.array([p.defect for p in pictures])
    kinds = np.array([image_set.kinds.get(p.defect, "") for p in pictures])

    def against_good(chosen: NDArray[np.bool_]) -> dict[str, float]:
        rows = chosen | ~labels
        return {"count": int(chosen.sum())} | image_metrics(labels[rows], scores[rows])

    result = {"per_defect": {str(d): against_good(defects == d) for d in sorted(set(defects[labels]))}}
    if named := sorted(set(kinds[labels]) - {""}):
        result["per_kind"] = {str(k): against_good((kinds == k) & labels) for k in named}
    return result
