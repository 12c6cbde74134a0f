"""A real detector that is fitted in no time and needs no torch: brightness, contrast and colour."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import DataError
from patchebm.evaluation.benchmark import Job
from patchebm.evaluation.evaluate import Results, evaluate
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.images.reading import read_image
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.regions import find_regions
from patchebm.runtime.tail import Tail

Image = NDArray[np.float32]

VALUES: dict[str, Callable[[Image], float]] = {
    "brightness": lambda image: float(image.mean()),
    "contrast": lambda image: float(image.std()),
    "colour": lambda image: float(image.std(axis=2).mean()),
}
"""Levels by name: three of them, and none has a name that the product uses."""


HOT = 0.1
"""What is hotter than this is marked."""


class SimplePredictor:
    """How many standard deviations each value lies from its mean over good images; their mean is the score.

    Args:
        paths: good images.
        levels: which of `VALUES`.
        rate: false-alarm rate of the threshold.
    """

    seed = 0

    def __init__(
        self, paths: Sequence[Path], levels: Sequence[str] = tuple(VALUES), rate: float = 0.2
    ) -> None:
        images = [read_image(path) for path in paths]
        self.level_names = tuple(levels)
        rows = np.array([[VALUES[name](image) for name in levels] for image in images])
        self.mean, self.std = rows.mean(0), rows.std(0) + 1e-6
        # Anomaly maps are how far pixels are from it.
        self.grey = float(np.mean([image.mean() for image in images]))
        self.tail_ = Tail(np.abs((rows - self.mean) / self.std).mean(1))
        self.threshold_ = self.tail_.threshold(rate)

    def iterate(self, images: Sequence[Any], *, heat_maps: bool = True) -> Iterator[Prediction]:
        for path in images:
            image = read_image(path)
            values = np.array([VALUES[name](image) for name in self.level_names])
            levels = np.abs((values - self.mean) / self.std)
            score = float(levels.mean())
            maps = {}
            if heat_maps:
                brighter = (image.mean(axis=2) - self.grey).astype(np.float32)
                ways = (np.abs(brighter), brighter, -2 * brighter)
                maps = dict(zip(self.level_names, ways, strict=False))
            heat = np.mean(list(maps.values()), axis=0) if maps else None
            regions, mask = (None, None) if heat is None else find_regions(heat, HOT)
            yield Prediction(
                image=str(path),
                score=score,
                anomalous=score > self.threshold_.value,
                threshold=self.threshold_.value,
                tail_probability=self.tail_.probability(score),
                extrapolated=self.tail_.extrapolated(score),
                levels=dict(zip(self.level_names, map(float, levels), strict=True)),
                heat_map=heat,
                level_maps=maps,
                mask=mask,
                regions=regions,
            )

    def heat_range(self, heat_map: Image) -> tuple[float, float]:
        return 0.0, max(0.1, float(heat_map.max()))


def fit_and_evaluate(job: Job, images: ImageSet, tick: Callable[[int], object]) -> dict[str, Any]:
    """A run of a benchmark in a moment; as the real one it refuses too few images."""
    if len(images.train) < 4:
        raise DataError(f"{len(images.train)} good images are too few")
    predictor = SimplePredictor([image.path for image in images.train], rate=0.05 * (1 + job.seed))
    tick(len(images.train))
    results = evaluate(predictor, images, tick=lambda: tick(1))
    scalars = {key: value for key, value in results.items() if isinstance(value, (int, float))}
    return scalars | {
        "false_alarm_rate_stated": 0.05,
        "extrapolated": False,
        "fit_seconds": 0.1,
        "versions": {"patchebm": "1"},
    }


def evaluated(data: Path, levels: Sequence[str] = tuple(VALUES), **options: Any) -> Results:
    """Results on a set with all that `patchebm evaluate` adds to them."""
    predictor = SimplePredictor(sorted((data / "train" / "good").iterdir()), levels)
    results = evaluate(predictor, open_image_set(data), **options)
    return results | {
        "duplicates": [],
        "made_by": {
            "command": ["patchebm", "evaluate", "a run", str(data)],
            "data": str(data),
            "data_sha256": "0123",
            "seed": 0,
            "training": {},
            "versions": {"patchebm": "1"},
        },
    }
