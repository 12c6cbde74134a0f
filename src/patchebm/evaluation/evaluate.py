"""Measure a fitted detector on images with known truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import DataError
from patchebm.evaluation.intervals import bootstrap_intervals
from patchebm.evaluation.metrics import image_metrics, pixel_metrics, threshold_metrics
from patchebm.images.folders import ImageFile, ImageSet
from patchebm.images.reading import read_mask

if TYPE_CHECKING:
    from patchebm.detector import EnsembleDetector
    from patchebm.runtime.prediction import Prediction
    from patchebm.runtime.predictor import Predictor


# Figures that need good and anomalous test images.
RANKING = ("image_auroc", "image_ap", "fpr_at_95_tpr", "oracle_balanced_accuracy", "oracle_f1")
PIXEL = ("pixel_auroc", "aupro", "aupro_05")


@dataclass(frozen=True)
class Evaluation:
    """Figures, and the predictions that they come from.

    Attributes:
        figures: what JSON can hold; see `evaluate`.
        images: the test images of known truth.
        predictions: one for each, without maps.
    """

    figures: dict[str, Any]
    images: tuple[ImageFile, ...]
    predictions: list[Prediction]

    @property
    def labels(self) -> NDArray[np.bool_]:
        """Whether each image is anomalous `(N,)`."""
        return np.array([bool(p.anomalous) for p in self.images])

    @property
    def scores(self) -> NDArray[np.float64]:
        """The score of each image `(N,)`."""
        return np.array([p.score for p in self.predictions])


def evaluate(
    detector: EnsembleDetector | Predictor,
    image_set: ImageSet,
    *,
    pixels: bool = True,
    watch: Callable[[ImageFile, Prediction], object] | None = None,
    tick: Callable[[], object] = lambda: None,
) -> Evaluation:
    """Score all test images once and measure the scores, verdicts and maps.

    The figures are those of `metrics.image_metrics` with bootstrap intervals of AUROC and average precision,
    of `metrics.threshold_metrics` and, with masks, of `metrics.pixel_metrics`; `threshold`, and `calibration`
    with what it rests on; `per_defect` with the AUROC of each defect against all good images, and how many
    of it were missed; `per_kind` where the set says which defects are local and which global; `levels` with
    the same for each level and the ensemble; `seconds`. What cannot be computed is left out, and
    `not_computed` says why; `warnings` holds sentences on what of the test images could not be used as one
    would expect.

    Args:
        detector: fitted, or exported.
        image_set: with test images.
        pixels: whether maps are measured, where there are masks.
        watch: called with each image and its prediction, heat map included.
        tick: called after each image.

    Raises:
        DataError: there are no test images, or none whose truth is known.
        ImageError: an image or mask cannot be read.
    """
    images = tuple(p for p in image_set.test if p.anomalous is not None)
    if not images:
        raise DataError(
            f"{image_set.root} has no test images of known truth; put them in test/good and test/<defect>"
        )
    measured = pixels and image_set.has_masks
    predictions: list[Prediction] = []
    maps: dict[str, list[NDArray[np.float32]]] = {}
    masks: list[NDArray[np.bool_]] = []
    empty: list[ImageFile] = []
    began = time.perf_counter()
    for image, prediction in zip(
        images,
        detector.iterate([p.path for p in images], heat_maps=measured or watch is not None),
        strict=True,
    ):
        if watch is not None:
            watch(image, prediction)
        # A defect without a mask file says nothing about its pixels; a good image's are all good.
        if measured and prediction.heat_map is not None and (image.mask or not image.anomalous):
            shape = prediction.heat_map.shape
            masks.append(read_mask(image.mask, shape) if image.mask else np.zeros(shape, dtype=bool))
            if image.anomalous and not masks[-1].any():
                empty.append(image)
            for name, level_map in {**prediction.level_maps, "ensemble": prediction.heat_map}.items():
                maps.setdefault(name, []).append(level_map)
        predictions.append(replace(prediction, heat_map=None, level_maps={}))
        tick()
    scoring = time.perf_counter() - began
    evaluation = Evaluation({}, images, predictions)
    labels, scores = evaluation.labels, evaluation.scores
    columns = {name: np.array([p.levels[name] for p in predictions]) for name in predictions[0].levels}
    if len(columns) > 1:
        columns["ensemble"] = scores
    # Level by level, so that the maps of one are freed before those of the next are sorted.
    pixel_figures = {name: pixel_metrics(maps.pop(name), masks) for name in list(maps)}
    verdicts = np.array([p.anomalous for p in predictions])
    figures: dict[str, Any] = {
        "image_set": image_set.name,
        **image_metrics(labels, scores),
        **bootstrap_intervals(labels, scores),
        **pixel_figures.get("ensemble", {}),
        "threshold": predictions[0].threshold,
        "calibration": asdict(detector.threshold_),
        **threshold_metrics(labels, verdicts),
        **_breakdown(image_set, images, labels, scores),
        "levels": {
            name: image_metrics(labels, column)
            | bootstrap_intervals(labels, column)
            | pixel_figures.get(name, {})
            | _breakdown(image_set, images, labels, column)
            for name, column in columns.items()
        },
    }
    for defect, facts in figures["per_defect"].items():
        own = np.array([p.defect == defect for p in images])
        facts["miss_count"] = int(np.count_nonzero(own & ~verdicts))
    figures["not_computed"] = _not_computed(figures, image_set, pixels)
    figures["warnings"] = _warnings(image_set, empty if measured else [])
    figures["seconds"] = {
        "score": round(scoring, 3),
        "score_per_image": round(scoring / len(images), 5),
        "metrics": round(time.perf_counter() - began - scoring, 3),
    }
    return replace(evaluation, figures=figures)


def counted(number: int, what: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _not_computed(figures: dict[str, Any], image_set: ImageSet, pixels: bool) -> dict[str, str]:
    """Why figures that a reader will look for are not there."""
    if not figures["anomalous_count"]:
        missing = "no anomalous test images"
    elif not figures["good_count"]:
        missing = "no good test images"
    else:
        missing = "nothing was called anomalous"
    reasons = dict.fromkeys(
        (*RANKING, "false_alarm_rate_observed", "miss_rate", "recall", "f1", "precision"), missing
    )
    if not pixels:
        pixel_reason = "not asked for"
    elif not figures["anomalous_count"]:
        pixel_reason = missing
    elif not image_set.has_masks:
        pixel_reason = "the set has no masks (ground_truth/<defect>/<name>_mask.png)"
    else:
        pixel_reason = "the masks mark no pixel, or every one"
    reasons |= dict.fromkeys(PIXEL, pixel_reason)
    return {name: reason for name, reason in reasons.items() if name not in figures}


def _warnings(image_set: ImageSet, empty: Sequence[ImageFile]) -> list[str]:
    """Sentences on test images that do not count as one would expect."""
    result = []
    unlabelled = [p for p in image_set.test if p.anomalous is None]
    if unlabelled:
        result.append(
            f"{counted(len(unlabelled), 'test image')} of unknown truth left out, such as "
            f"{unlabelled[0].path}; put such in test/good or test/<defect>"
        )
    if empty:
        names = ", ".join(str(p.mask) for p in empty[:5]) + (", ..." if len(empty) > 5 else "")
        result.append(
            f"the masks of {counted(len(empty), 'anomalous image')} mark no pixel, so that all there "
            f"counts as good: {names}"
        )
    bare = {p.defect for p in image_set.test if p.anomalous and p.mask is None}
    if bare and image_set.has_masks:
        result.append(f"no masks for {', '.join(sorted(bare))}: left out of the pixel figures")
    return result


def _breakdown(
    image_set: ImageSet,
    images: Sequence[ImageFile],
    labels: NDArray[np.bool_],
    scores: NDArray[np.float64],
) -> dict[str, Any]:
    """AUROC of each defect, and of each kind of defect, against all good images."""
    defects = np.array([p.defect for p in images])
    kinds = np.array([image_set.kinds.get(p.defect, "") for p in images])

    def against_good(chosen: NDArray[np.bool_]) -> dict[str, float]:
        rows = chosen | ~labels
        return {"count": int(chosen.sum())} | image_metrics(labels[rows], scores[rows])

    result = {"per_defect": {str(d): against_good(defects == d) for d in sorted(set(defects[labels]))}}
    if named := sorted(set(kinds[labels]) - {""}):
        result["per_kind"] = {str(k): against_good((kinds == k) & labels) for k in named}
    return result
