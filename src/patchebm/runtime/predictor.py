"""Scoring with a bundle: the same `predict` as a trained detector, without torch."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError, ImageError, ModelFileError, PatchebmError
from patchebm.runtime.bundle import Bundle, read_bundle
from patchebm.runtime.engines import Engine, Outputs, open_engine
from patchebm.runtime.inputs import Image, listed, name_of, pixels_of
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.tail import Tail
from patchebm.runtime.threshold import Threshold

# Pixels that go through the graph at once, at most, whatever the batch size: bounds memory.
MOST_PIXELS_AT_ONCE = 2**24


class BundlePredictor:
    """Scores images with an exported model; safe to call from several threads at once.

    >>> predictor = patchebm.load("part.patchebm")              # doctest: +SKIP
    >>> predictor.predict("new.png")[0].anomalous               # doctest: +SKIP

    Args:
        bundle: as read.
        engine: runs its graph.
        batch: images of one size that go through the graph together, at most.

    Attributes:
        card: what the model is; its keys stand in `docs/bundle-format.md`.
        threshold_: scores above it are anomalous.
        tail_: scores of good parts, which thresholds and tail probabilities stand on.
        level_names: names of the levels.
        seed: that the model was trained with.

    Raises:
        ModelFileError: the card lacks what scoring needs.
        ConfigError: a batch below 1.
    """

    threshold_: Threshold
    tail_: Tail

    def __init__(self, bundle: Bundle, engine: Engine, batch: int = 1) -> None:
        if batch < 1:
            raise ConfigError(f"batch {batch} is below 1; use 1 for the least latency")
        self.card = bundle.card
        self._engine = engine
        self._batch = batch
        try:
            tail, heat = self.card["tail"], self.card["heat"]
            self.tail_ = Tail(np.array(tail["scores"], dtype=np.float64), np.array(tail["weights"]))
            self.threshold_ = Threshold(**self.card["threshold"])
            self._heat_low, self._heat_high = float(heat["low"]), float(heat["high"])
            self.level_names = tuple(map(str, self.card["graph"]["levels"]))
            self.seed = int(self.card["config"]["seed"])
            self.size: tuple[int, int] = tuple(map(int, self.card["graph"]["size"]))  # type: ignore[assignment]
            if not np.isfinite([self.threshold_.value, self._heat_low, self._heat_high]).all():
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError, PatchebmError) as error:
            raise ModelFileError(
                f"{bundle.source}: its card lacks what scoring needs ({type(error).__name__}: {error}); "
                "export it again"
            ) from error

    def predict(self, images: Image | Iterable[Image], *, heat_maps: bool = True) -> list[Prediction]:
        """Score, verdict and heat map of one image or of each of several.

        Args:
            images: paths, bytes of files, Pillow images, or arrays `(H, W)` or `(H, W, 1 or 3)`: uint8,
                uint16, or floating point in [0, 1].
            heat_maps: whether maps at the images' own sizes are made.

        Raises:
            ImageError: an image cannot be read, or an array is of the wrong shape, type or range; names it.
        """
        return list(self.iterate(images, heat_maps=heat_maps))

    def iterate(self, images: Image | Iterable[Image], *, heat_maps: bool = True) -> Iterator[Prediction]:
        """As `predict`, one prediction at a time, in bounded memory."""
        waiting: list[tuple[str, NDArray[np.float32]]] = []
        for index, image in enumerate(listed(images)):
            pixels = pixels_of(image, index)
            if waiting and not self._fits(waiting, pixels):
                yield from self._score(waiting, heat_maps=heat_maps)
                waiting = []
            waiting.append((name_of(image, index), pixels))
        if waiting:
            yield from self._score(waiting, heat_maps=heat_maps)

    def at_false_alarm_rate(self, rate: float) -> BundlePredictor:
        """The same predictor with the threshold of another false-alarm rate.

        Raises:
            ConfigError: a rate outside (0, 1).
        """
        other = copy.copy(self)
        other.threshold_ = self.tail_.threshold(rate)
        return other

    def heat_range(self, heat_map: NDArray[np.float32]) -> tuple[float, float]:
        """Between which values a map is drawn; see `EnsembleDetector.heat_range`."""
        return self._heat_low, max(self._heat_high, float(heat_map.max()))

    def warm_up(self) -> None:
        """Score a grey image, so that the first real one does not wait for buffers to be laid out."""
        height, width = self.size
        self._engine.run(np.full((1, height, width, 3), 0.5, dtype=np.float32), ["score", "levels"])

    def _fits(self, waiting: list[tuple[str, NDArray[np.float32]]], pixels: NDArray[np.float32]) -> bool:
        together = (len(waiting) + 1) * pixels.shape[0] * pixels.shape[1]
        same = waiting[0][1].shape == pixels.shape
        return same and len(waiting) < self._batch and together <= MOST_PIXELS_AT_ONCE

    def _score(self, chunk: list[tuple[str, NDArray[np.float32]]], *, heat_maps: bool) -> list[Prediction]:
        wanted = ["score", "levels"]
        if heat_maps:
            wanted += ["heat_map", *(f"map_{name}" for name in self.level_names)]
        pixels = chunk[0][1][None] if len(chunk) == 1 else np.stack([pixels for _, pixels in chunk])
        found = self._engine.run(np.ascontiguousarray(pixels), wanted)
        return [self._prediction(name, found, i) for i, (name, _) in enumerate(chunk)]

    def _prediction(self, name: str, found: Outputs, i: int) -> Prediction:
        score = float(found["score"][i])
        if not np.isfinite(score):
            raise ImageError(f"{name}: its score is not a finite number; check the image")
        maps: dict[str, Any] = {
            level: found[f"map_{level}"][i] for level in self.level_names if "heat_map" in found
        }
        return Prediction(
            image=name,
            score=score,
            anomalous=score > self.threshold_.value,
            threshold=self.threshold_.value,
            tail_probability=self.tail_.probability(score),
            extrapolated=self.tail_.extrapolated(score),
            levels=dict(zip(self.level_names, map(float, found["levels"][i]), strict=True)),
            heat_map=found["heat_map"][i] if "heat_map" in found else None,
            level_maps=maps,
        )


def load_bundle(
    path: str | Path, *, threads: int | None = None, batch: int = 1, warm_up: bool = False
) -> BundlePredictor:
    """Open a bundle for scoring.

    Args:
        path: file that `patchebm export` wrote.
        threads: that one call uses; None takes all cores that this process may run on.
        batch: images of one size that go through the graph together, at most; 1 answers soonest.
        warm_up: whether a grey image is scored at once, so that the first real one does not wait.

    Raises:
        ModelFileError: missing, truncated, altered, of a newer version; says which.
        ConfigError: its runtime is not installed, or its precision is not offered on this CPU.
    """
    bundle = read_bundle(path)
    predictor = BundlePredictor(bundle, open_engine(bundle, threads), batch)
    if warm_up:
        predictor.warm_up()
    return predictor
