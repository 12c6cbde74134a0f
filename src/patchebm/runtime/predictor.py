"""This module holds what models of every kind share: from images of any kind to predictions."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from patchebm.errors import ConfigError, ImageError, PatchebmError
from patchebm.images.decoding import STANDARD, Decoding
from patchebm.images.photo import Photo
from patchebm.images.profile import Profile
from patchebm.runtime.calibration import Calibration
from patchebm.runtime.expectation import SyntheticDefects
from patchebm.runtime.inputs import Image, listed, name_of, read_input
from patchebm.runtime.notices import Notices
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.regions import find_regions
from patchebm.runtime.tail import Tail
from patchebm.runtime.threshold import Threshold

# Pixels that are scored together at most, whatever the batch size: bounds memory at 200 MB of float32.
MAX_PIXELS_AT_ONCE = 2**24

P = TypeVar("P", bound="Predictor")


@dataclass(frozen=True)
class Outputs:
    """This class holds what a model says of N images of one size, before calibration.

    Attributes:
        score: `(N,)` higher = more anomalous.
        levels: `(N, L)` the score of each level.
        level_maps: `(N, H, W)` float32 for each level by name; empty where maps were not asked for.
        heat_map: `(N, H, W)` float32, the mean of `level_maps`; None where maps were not asked for.
    """

    score: NDArray[np.floating[Any]]
    levels: NDArray[np.floating[Any]]
    level_maps: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    heat_map: NDArray[np.float32] | None = None


class _Pending(NamedTuple):
    """This class is an image that waits to be scored with others of its size."""

    image: Image
    name: str
    pixels: NDArray[np.float32]


class Predictor(ABC):
    """This class scores images with a model that subclasses run.

    Attributes:
        calibration_: what turns scores into verdicts; missing before a model is fitted.
        decoding_: what the numbers of image files and of uint16 arrays mean, as in training.
        batch: the number of images of one size that are scored together, at most.
        smallest_region: regions of fewer pixels of the image are neither marked nor listed.
        synthetic_defects_: what scores say of these in held-out images; None where the model keeps none, as
            after it was calibrated on other images.
    """

    synthetic_defects_: SyntheticDefects | None = None
    calibration_: Calibration
    decoding_: Decoding = STANDARD
    batch: int = 1
    smallest_region: int = 1

    @cached_property
    def notices(self) -> Notices:
        """Returns what says once in which ways images do not fit what the model was trained on."""
        return Notices()

    @abstractmethod
    def run(self, images: NDArray[np.float32], *, maps: bool) -> Outputs:
        """Returns what the model says of images `(N, H, W, 1 or 3)` float32 in [0, 1], C-contiguous.

        Args:
            images: of one size.
            maps: whether maps at the images' own size are made.
        """

    @property
    @abstractmethod
    def seed(self) -> int:
        """Returns the seed that the model was trained with."""

    @property
    def profile(self) -> Profile | None:
        """Returns what the images have in common that the model was trained on; None if that is not known."""
        return None

    @property
    def inspected(self) -> str | None:
        """Returns what part of images is inspected, as half a sentence; None where that is not known."""
        return None

    def expectation(self) -> str | None:
        """Returns a sentence on what the model can be expected to find at its threshold, if it knows that."""
        if self.synthetic_defects_ is None:
            return None
        found = self.synthetic_defects_.at(self.threshold_.value)
        return found.describe(self.threshold_.false_alarm_rate)

    def about(self) -> list[str]:
        """Returns sentences on what is inspected, and on what the model can be expected to find."""
        said = [] if self.inspected is None else [f"the model {self.inspected}"]
        return said + ([] if (expected := self.expectation()) is None else [expected])

    def predict(self, images: Image | Iterable[Image], *, heat_maps: bool = True) -> list[Prediction]:
        """Returns score, verdict and anomaly map of one image or of each of several.

        Args:
            images: paths, photos, bytes of files, Pillow images, or arrays `(H, W)` or `(H, W, 1 or 3)`:
                uint8, uint16, or floating point in [0, 1].
            heat_maps: whether maps at the images' own sizes are made.

        Raises:
            ImageError: an image cannot be read, or an array is of the wrong shape, type or range; names it.
        """
        return list(self.iterate(images, heat_maps=heat_maps))

    def score(self, images: Image | Iterable[Image]) -> NDArray[np.float64]:
        """Returns scores `(N,)`; higher = more anomalous, about 0 for good parts."""
        return np.array([p.score for p in self.iterate(images, heat_maps=False)], dtype=np.float64)

    def iterate(self, images: Image | Iterable[Image], *, heat_maps: bool = True) -> Iterator[Prediction]:
        """Yields what `predict` returns one by one, in bounded memory.

        A photo is released once the prediction after its own is asked for.
        """
        for outcome in self.outcomes(images, heat_maps=heat_maps):
            if isinstance(outcome, ImageError):
                raise outcome
            yield outcome

    def outcomes(
        self, images: Image | Iterable[Image], *, heat_maps: bool = True
    ) -> Iterator[Prediction | ImageError]:
        """Yields what `iterate` does, and for each image that cannot be scored the error that says why.

        One bad image among thousands does not cost the others.
        """
        self.require_fitted()
        chunk: list[_Pending] = []
        for index, image in enumerate(listed(images)):
            try:
                read = read_input(image, index, self.decoding_)
            except ImageError as error:
                yield from self._outcomes(chunk, heat_maps=heat_maps)
                chunk = []
                if isinstance(image, Photo):
                    image.release()
                yield error
                continue
            self.notices.note(read.misfit)
            pending = _Pending(image, name_of(image, index), read.pixels)
            if chunk and not self._fits(chunk, pending.pixels):
                yield from self._outcomes(chunk, heat_maps=heat_maps)
                chunk = []
            chunk.append(pending)
        yield from self._outcomes(chunk, heat_maps=heat_maps)

    def at_false_alarm_rate(self: P, rate: float) -> P:
        """Returns the same predictor with the threshold of another false-alarm rate.

        Raises:
            ConfigError: a rate outside (0, 1).
        """
        other = copy.copy(self)
        other.calibration_ = self.require_fitted().at_false_alarm_rate(rate)
        return other

    def at_false_pixel_rate(self: P, rate: float) -> P:
        """Returns the same predictor with the masks and regions of another false-pixel rate.

        Raises:
            ConfigError: a rate that the calibration does not know.
        """
        other = copy.copy(self)
        other.calibration_ = self.require_fitted().at_false_pixel_rate(rate)
        return other

    def with_smallest_region(self: P, pixels: int) -> P:
        """Returns the same predictor with another `smallest_region`. Raises ConfigError below 1."""
        if pixels < 1:
            raise ConfigError(f"smallest_region is {pixels}; give a number of pixels of at least 1")
        other = copy.copy(self)
        other.smallest_region = pixels
        return other

    def heat_range(self, heat_map: NDArray[np.float32]) -> tuple[float, float]:
        """Returns the values between which a map is drawn; see `Calibration.heat_range`."""
        return self.require_fitted().heat_range(heat_map)

    def require_fitted(self) -> Calibration:
        """Returns the calibration. Raises PatchebmError if there is none yet."""
        if not hasattr(self, "calibration_"):
            raise PatchebmError("this detector is not fitted; call fit, or load a saved one")
        return self.calibration_

    @property
    def threshold_(self) -> Threshold:
        """Returns the threshold: scores above it are anomalous."""
        return self.require_fitted().threshold

    @property
    def tail_(self) -> Tail:
        """Returns the out-of-sample scores of good parts, which thresholds stand on."""
        return self.require_fitted().tail

    def _fits(self, chunk: list[_Pending], pixels: NDArray[np.float32]) -> bool:
        together = (len(chunk) + 1) * pixels.shape[0] * pixels.shape[1]
        same = chunk[0].pixels.shape == pixels.shape
        return same and len(chunk) < self.batch and together <= MAX_PIXELS_AT_ONCE

    def _outcomes(self, chunk: list[_Pending], *, heat_maps: bool) -> Iterator[Prediction | ImageError]:
        if not chunk:
            return
        pixels = [pending.pixels for pending in chunk]
        images = pixels[0][None] if len(pixels) == 1 else np.stack(pixels)
        try:
            outputs = self.run(np.ascontiguousarray(images), maps=heat_maps)
        except ImageError as error:
            if len(chunk) == 1:
                yield ImageError(f"{chunk[0].name}: {error}")
                return
            # One of them cannot be used; one at a time, the others can.
            for pending in chunk:
                yield from self._outcomes([pending], heat_maps=heat_maps)
            return
        for i, pending in enumerate(chunk):
            try:
                outcome: Prediction | ImageError = self._prediction(pending.name, outputs, i)
            except ImageError as error:
                outcome = error
            yield outcome
            if isinstance(pending.image, Photo):
                pending.image.release()

    def _prediction(self, name: str, outputs: Outputs, i: int) -> Prediction:
        calibration = self.calibration_
        score = float(outputs.score[i])
        if not np.isfinite(score):
            raise ImageError(f"{name}: its score is not a finite number; check the image")
        heat_map = None if outputs.heat_map is None else outputs.heat_map[i]
        regions = mask = None
        if heat_map is not None:
            # A map that is not finite marks nothing; the score counts all the same.
            with suppress(ValueError):
                regions, mask = find_regions(heat_map, calibration.pixels.value, self.smallest_region)
        return Prediction(
            image=name,
            score=score,
            anomalous=score > calibration.threshold.value,
            threshold=calibration.threshold.value,
            tail_probability=calibration.tail.probability(score),
            extrapolated=calibration.tail.extrapolated(score),
            levels=dict(zip(calibration.level_names, map(float, outputs.levels[i]), strict=True)),
            heat_map=heat_map,
            level_maps={level: maps[i] for level, maps in outputs.level_maps.items()},
            mask=mask,
            regions=regions,
        )
