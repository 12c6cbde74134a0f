"""Trivial detectors: a result that does not beat them is not a result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from patchebm.evaluation.metrics import MAIN, image_metrics
from patchebm.images.folders import ImageSet
from patchebm.images.reading import read_image

CONTROLS: dict[str, Callable[[NDArray[np.float32]], float]] = {
    "brightness": lambda image: float(image.mean()),
    "contrast": lambda image: float(image.std()),
}


def evaluate_controls(image_set: ImageSet) -> dict[str, dict[str, float]]:
    """Returns the image AUROC of the mean brightness and of the contrast of the images.

    Returns:
        For each control the main metric by its name: of the distance from the mean of the good training
        images, as a detector that knows only these would score; and the same with `oracle_` before its
        name: of the value itself, in whichever direction suits the test labels better, an upper bound.
    """
    images = [p for p in image_set.test if p.anomalous is not None]
    labels = np.array([bool(p.anomalous) for p in images])
    train = _values([p.path for p in image_set.train])
    test = _values([p.path for p in images])
    result = {}
    for name in CONTROLS:
        distance = np.abs(test[name] - train[name].mean())
        signed = image_metrics(labels, test[name])[MAIN.name]
        result[name] = {
            MAIN.name: image_metrics(labels, distance)[MAIN.name],
            f"oracle_{MAIN.name}": max(signed, 1 - signed),
        }
    return result


def _values(paths: Sequence[Path]) -> dict[str, NDArray[np.float64]]:
    rows = []
    for path in paths:
        image = read_image(path)
        rows.append([control(image) for control in CONTROLS.values()])
    return dict(zip(CONTROLS, np.array(rows, dtype=np.float64).T, strict=True))
