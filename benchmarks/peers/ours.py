"""patchebm's detectors and the trivial controls as methods of the comparison."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.controls import CONTROLS
from benchmarks.variants import GAUSSIAN, PIXELS, preset
from patchebm.detector import EnsembleDetector, load
from patchebm.runtime.inputs import Image, pixels_of

VARIANTS = {"gaussian": GAUSSIAN, "untrained": PIXELS["untrained"]}


class Ours:
    """A preset of patchebm, or a part of one.

    Args:
        name: of the preset, or a key of `VARIANTS`.
    """

    def __init__(self, name: str) -> None:
        self._variant = VARIANTS.get(name) or preset(name)

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        self._detector = EnsembleDetector(self._variant(seed), device="cpu").fit(images, groups)
        return {}

    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        prediction = self._detector.predict([image], heat_maps=heat_map)[0]
        return prediction.score, prediction.heat_map

    def save(self, folder: Path) -> None:
        self._detector.save(folder)

    def load(self, folder: Path) -> None:
        self._detector = load(folder, device="cpu")


class Control:
    """The distance of one number of an image from its mean over good ones.

    Args:
        name: of the number.
    """

    def __init__(self, name: str) -> None:
        self._value = CONTROLS[name]

    def fit(self, images: Sequence[Image], groups: Sequence[str | None], seed: int) -> dict[str, Any]:
        del groups, seed
        self._mean = float(np.mean([self._value(pixels_of(image, i)) for i, image in enumerate(images)]))
        return {}

    def score(self, image: Image, *, heat_map: bool) -> tuple[float, NDArray[np.float32] | None]:
        del heat_map
        return abs(self._value(pixels_of(image, 0)) - self._mean), None

    def save(self, folder: Path) -> None:
        (folder / "mean.json").write_text(json.dumps(self._mean))

    def load(self, folder: Path) -> None:
        self._mean = json.loads((folder / "mean.json").read_text())
