"""This module measures a detector on images of known truth, each of which is scored once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import DataError
from patchebm.evaluation.metrics import METRICS, Metric, Need, Sample, measure
from patchebm.evaluation.pixels import MaskCounts, Pixels
from patchebm.files import as_unicode
from patchebm.images.folders import ImageFile, ImageSet
from patchebm.images.masks import Mask
from patchebm.images.reading import read_masks
from patchebm.images.truth import truth_findings
from patchebm.provenance import name_below
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.threshold import Threshold

ENSEMBLE = "ensemble"
"""What the levels together are called beside their own names."""


class Predictor(Protocol):
    """This class is what can be evaluated: a fitted or exported detector, or anything else that scores files.

    Attributes:
        threshold_: that the verdicts stand on.
    """

    @property
    def threshold_(self) -> Threshold:
        """The threshold that the verdicts stand on."""
        ...

    def iterate(self, images: Sequence[Any], *, heat_maps: bool = True) -> Iterator[Prediction]:
        """Scores image files one by one."""
        ...


Results = dict[str, Any]
"""What `evaluate` returns, or what was read back from its JSON file."""


@dataclass
class _Scored:
    """This class keeps predictions without maps, the maps by level, and the true masks of these."""

    predictions: list[Prediction] = field(default_factory=list)
    maps: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    read: list[tuple[ImageFile, Mask]] = field(default_factory=list)
    counts: MaskCounts | None = None

    def add(self, image: ImageFile, prediction: Prediction, *, with_maps: bool) -> None:
        # A defect without a mask file says nothing about its pixels; a good image's are all good.
        if with_maps and prediction.heat_map is not None and (image.masks or not image.anomalous):
            height, width = prediction.heat_map.shape
            if image.masks:
                mask = read_masks(image.masks, (height, width))
                self.read.append((image, mask))
                self.masks.append(mask.pixels)
            else:
                self.masks.append(np.zeros((height, width), dtype=bool))
            for name, level_map in {**prediction.level_maps, ENSEMBLE: prediction.heat_map}.items():
                self.maps.setdefault(name, []).append(level_map)
            if prediction.mask is not None:
                self.counts = self.counts or MaskCounts()
                self.counts.add(prediction.mask, self.masks[-1], good=not image.anomalous)
        self.predictions.append(replace(prediction, heat_map=None, level_maps={}, mask=None))


def evaluate(
    detector: Predictor,
    image_set: ImageSet,
    *,
    pixels: bool = True,
    observe: Callable[[ImageFile, Prediction], object] | None = None,
    tick: Callable[[], object] = lambda: None,
    metrics: Sequence[Metric] = METRICS,
) -> Results:
    """Scores all test images once and computes the metrics of scores, verdicts and maps.

    Args:
        detector: fitted, or exported.
        image_set: with test images.
        pixels: whether maps are measured, where there are masks.
        observe: called with each image and its prediction, anomaly map included.
        tick: called after each image.
        metrics: which are computed.

    Returns:
        What JSON can hold: the metrics with their intervals, and the counts; `threshold`, and `calibration`
        with what it rests on; `per_defect` with the metrics of each defect against all good images, and how
        many of it were missed; `per_kind` where the set says which defects are local and which global;
        `levels` with the same for each level and the ensemble; `seconds`; `not_computed`, which says why
        something is left out; `warnings`, sentences on what of the test images could not be used as one would
        expect; and `predictions`, for each image its `Prediction.record` with `image` relative to the set,
        and its `defect`.

    Raises:
        DataError: there are no test images, or none whose truth is known.
        ImageError: an image or mask cannot be read.
    """
    images = [p for p in image_set.test if p.anomalous is not None]
    if not images:
        raise DataError(
            f"{image_set.root} has no test images of known truth; put them in test/good and test/<defect>"
        )
    with_maps = pixels and image_set.has_masks
    scored = _Scored()
    began = time.perf_counter()
    found = detector.iterate([p.path for p in images], heat_maps=with_maps or observe is not None)
    for image, prediction in zip(images, found, strict=True):
        if observe is not None:
            observe(image, prediction)
        scored.add(image, prediction, with_maps=with_maps)
        tick()
    scoring = time.perf_counter() - began
    predictions = scored.predictions
    labels = np.array([bool(p.anomalous) for p in images])
    verdicts = np.array([p.anomalous for p in predictions])
    columns = {name: np.array([p.levels[name] for p in predictions]) for name in predictions[0].levels}
    # One level alone is the whole detector. The whole comes last.
    whole = ENSEMBLE if len(columns) > 1 else next(iter(columns))
    columns[whole] = np.array([p.score for p in predictions])
    levels: dict[str, dict[str, Any]] = {}
    # Level by level, so that the maps of one are freed before those of the next are sorted.
    for name, column in columns.items():
        own = scored.maps.pop(ENSEMBLE if name == whole else name, None)
        # Verdicts and masks are those of the whole detector; a level alone has none.
        counts = scored.counts if name == whole else None
        maps = None if own is None else Pixels.of(own, scored.masks, counts)
        sample = Sample(labels, column, verdicts if name == whole else None, maps)
        levels[name] = measure(sample, metrics) | _breakdown(image_set, images, sample, metrics)
    return {
        "image_set": image_set.name,
        **levels[whole],
        **sample.counts,
        "threshold": predictions[0].threshold,
        "calibration": asdict(detector.threshold_),
        "levels": levels,
        "not_computed": _not_computed(sample, metrics, pixels=pixels),
        "warnings": [str(finding) for finding in truth_findings(image_set, scored.read)],
        "seconds": {
            "score": round(scoring, 3),
            "score_per_image": round(scoring / len(images), 5),
            "metrics": round(time.perf_counter() - began - scoring, 3),
        },
        "predictions": [
            prediction.record()
            | {"image": as_unicode(name_below(image.path, image_set.root)), "defect": image.defect}
            for image, prediction in zip(images, predictions, strict=True)
        ],
    }


def _not_computed(sample: Sample, metrics: Sequence[Metric], *, pixels: bool) -> dict[str, str]:
    """Returns why metrics that a reader will look for are not there."""
    reasons = {}
    for metric in metrics:
        need = sample.missing(metric.needs)
        if need is not None:
            unasked = Need.MASKS in metric.needs and not pixels
            reasons[metric.name] = "not asked for" if unasked else need.value
    return reasons


def _breakdown(
    image_set: ImageSet, images: Sequence[ImageFile], sample: Sample, metrics: Sequence[Metric]
) -> dict[str, Any]:
    """Returns the metrics of each defect, and of each kind of defect, against all good images."""
    defects = np.array([p.defect for p in images])
    kinds = np.array([image_set.kinds.get(p.defect, "") for p in images])

    def against_good(chosen: NDArray[np.bool_]) -> dict[str, Any]:
        rows = chosen | ~sample.labels
        facts: dict[str, Any] = {"count": int(chosen.sum())}
        if sample.verdicts is not None:
            facts["miss_count"] = int(np.count_nonzero(chosen & ~sample.verdicts))
        return facts | measure(Sample(sample.labels[rows], sample.scores[rows]), metrics, intervals=False)

    names = sorted(set(defects[sample.labels]))
    result = {"per_defect": {str(name): against_good(defects == name) for name in names}}
    if named := sorted(set(kinds[sample.labels]) - {""}):
        result["per_kind"] = {str(kind): against_good((kinds == kind) & sample.labels) for kind in named}
    return result
