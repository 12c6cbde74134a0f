"""patchebm's detectors and the trivial controls as methods of the comparison."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import preset
from benchmarks.controls import CONTROLS
from benchmarks.features.__main__ import gaussian
from benchmarks.pixel.__main__ import untrained
from patchebm.detector import EnsembleDetector
from patchebm.detector.reading import Image, array_of

CONFIGS = {
    "features": preset("features"),
    "pixel-cpu": preset("pixel-cpu"),
    "image-baseline": preset("image-baseline"),
    "gaussian": preset("features", gaussian),
    "untrained": preset("pixel-cpu", untrained),
}


class Ours:
    """A preset of patchebm, or a part of one."""

    def __init__(self, name: str) -> None:
        self._config = CONFIGS[name]

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        self._detector = EnsembleDetector(self._config(seed)).fit(images, groups)
        return {}

    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        prediction = self._detector.predict([image], heat_maps=heat_map)[0]
        return prediction.score, prediction.heat_map

    def state_bytes(self) -> int:
        with tempfile.TemporaryDirectory() as folder:
            self._detector.save(folder)
            return sum(file.stat().st_size for file in Path(folder).iterdir())


class Control:
    """The distance of one number of an image from its mean over good ones."""

    def __init__(self, name: str) -> None:
        self._value = CONTROLS[name]

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups, seed
        self._mean = float(np.mean([self._value(array_of(image, i)) for i, image in enumerate(images)]))
        return {}

    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        del heat_map
        return abs(self._value(array_of(image, 0)) - self._mean), None

    def state_bytes(self) -> int:
        return 8
