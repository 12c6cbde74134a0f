"""This module holds what turns scores into verdicts and maps into colours, learned from good parts alone."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import PatchebmError
from patchebm.runtime.pixel_threshold import PixelThreshold
from patchebm.runtime.tail import Tail, part_shares
from patchebm.runtime.threshold import Threshold

# Heat this many standard deviations above what good parts show is drawn at full strength. The deviation
# counts as at least a quarter of a unit of heat, so that good parts that are all alike do not glow.
GLARING, MIN_HEAT_STD = 4.0, 0.25


@dataclass(frozen=True)
class Calibration:
    """This class holds what a model says of good parts, by which new images are measured.

    Attributes:
        level_names: the names of the levels, in the order of their scores.
        tail: out-of-sample scores of good parts, which thresholds and tail probabilities stand on.
        threshold: scores above it are anomalous.
        heat_low: the heat that good parts commonly show.
        heat_high: the heat from which a map is drawn at full strength.
        pixels: which pixels of a map are marked.
    """

    level_names: tuple[str, ...]
    tail: Tail
    threshold: Threshold
    heat_low: float
    heat_high: float
    pixels: PixelThreshold

    @classmethod
    def learned(
        cls,
        level_names: Sequence[str],
        scores: NDArray[np.float64],
        groups: Sequence[Hashable | None],
        heat: NDArray[np.float32],
        false_alarm_rate: float,
        false_pixel_rate: float,
        *,
        guess: bool = False,
    ) -> Calibration:
        """Returns the calibration that good images give which no energy was fitted on.

        Args:
            level_names: the names of the levels.
            scores: `(N,)` the score of each image.
            groups: `(N,)` the physical part that each image shows; None for a part of its own.
            heat: `(M, P)` the pixels of the anomaly maps of some of the images, at one size.
            false_alarm_rate: the share of good parts that may be called anomalous.
            false_pixel_rate: the share of the pixels of good parts that may be marked.
            guess: whether scores and heat are guessed, since there was a single good image.

        Raises:
            ConfigError: a rate out of bounds, fewer than two parts, or scores that are not finite.
        """
        tail = Tail(scores, part_shares(groups), guess=guess)
        pixels = PixelThreshold.learned(heat, false_pixel_rate)
        hottest = np.array(pixels.peaks)
        low = float(np.median(hottest))
        high = low + GLARING * max(float(np.std(hottest)), MIN_HEAT_STD)
        return cls(tuple(level_names), tail, tail.threshold(false_alarm_rate), low, high, pixels)

    def at_false_alarm_rate(self, rate: float) -> Calibration:
        """Returns the calibration with the threshold of another rate. Raises ConfigError outside (0, 1)."""
        return replace(self, threshold=self.tail.threshold(rate))

    def at_false_pixel_rate(self, rate: float) -> Calibration:
        """Returns the calibration with the mask of another rate. Raises as `PixelThreshold.at`."""
        return replace(self, pixels=self.pixels.at(rate))

    def heat_range(self, heat_map: NDArray[np.float32]) -> tuple[float, float]:
        """Returns the values between which a map is drawn: from what good parts show to its hottest pixel.

        A map that is nowhere hotter than `heat_high` is drawn up to that, so that good parts stay pale.
        """
        return self.heat_low, max(self.heat_high, float(heat_map.max()))

    def to_dict(self) -> dict[str, Any]:
        """Returns what `from_dict` takes, as JSON can hold it."""
        return {
            "levels": list(self.level_names),
            "threshold": asdict(self.threshold),
            "tail": {"scores": self.tail.scores.tolist(), "weights": self.tail.weights.tolist()},
            "heat": {"low": self.heat_low, "high": self.heat_high},
            "pixels": self.pixels.to_dict(),
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Calibration:
        """Returns the calibration that `to_dict` wrote; other keys are left alone.

        Raises:
            ValueError: a fact is missing, of another kind or not finite; says which.
        """
        try:
            tail, heat = facts["tail"], facts["heat"]
            threshold = Threshold(**facts["threshold"])
            calibration = cls(
                level_names=tuple(map(str, facts["levels"])),
                tail=Tail(
                    np.array(tail["scores"], dtype=np.float64),
                    np.array(tail["weights"]),
                    guess=bool(threshold.guess),
                ),
                threshold=threshold,
                heat_low=float(heat["low"]),
                heat_high=float(heat["high"]),
                pixels=PixelThreshold.from_dict(facts["pixels"]),
            )
            numbers = [calibration.threshold.value, calibration.heat_low, calibration.heat_high]
            if not np.isfinite(numbers).all():
                raise ValueError("a number is not finite")
        except (KeyError, TypeError, ValueError, PatchebmError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        return calibration
