"""The detectors that users meet: patch level, image level, and the ensemble of both."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.config.parser import check_config
from patchebm.config.schema import Config, Level
from patchebm.detector.combine import combine
from patchebm.detector.folds import outer_folds, parts_of
from patchebm.detector.level import Calibrated, Judged, LevelModel, Values
from patchebm.detector.order import Order, look_at_order
from patchebm.detector.reading import Image, array_of, looks_of, name_of, read_training, see
from patchebm.errors import ConfigError, DataError, ImageError, PatchebmError, TrainingError
from patchebm.features.backbone import Backbone, load_backbone
from patchebm.features.maps import FeatureMaps
from patchebm.features.region import cells_outside, region_of
from patchebm.features.views import resize, to_tensor
from patchebm.progress import progress_bar
from patchebm.runtime.prediction import Prediction
from patchebm.runtime.tail import Tail, part_shares
from patchebm.runtime.threshold import Threshold

# Images held in memory at once while scoring.
CHUNK = 16
# Height and width at which maps of levels meet to tell what heat good parts show.
HEAT_SIZE = (256, 256)
# As many good images as training needs.
LEAST_CALIBRATION = 6


class EnsembleDetector:
    """Patch-level and image-level energies of good parts, and their ensemble.

    scikit-learn's contract: the constructor only keeps its argument, `fit` learns from good images
    alone, what it learns ends in an underscore, scores are higher for what is more anomalous.

    >>> detector = EnsembleDetector(load_preset("features")).fit(good_images)   # doctest: +SKIP
    >>> detector.predict(["new.png"])[0].anomalous                                 # doctest: +SKIP

    Args:
        config: the run's configuration; its defaults are those of the dataclasses, a preset's come with
            `patchebm.load_preset`.
        backbone: a feature extractor of your own, in place of the one that `config.features` names.

    Attributes:
        levels_: the fitted levels by name.
        threshold_: scores above it are anomalous.
        mean_, std_: of the combined scores of good parts, by which scores are standardised.
        heat_low_, heat_high_: heat below the first is what good parts show, above the second glaring.
        order_: whether training images that follow each other look alike; None after `load`, and where
            parts are known or neighbours were held out together.
        tail_: out-of-sample scores of good images, which thresholds and tail probabilities stand on.
        card_: facts that were saved with the model: how it was trained, and on what.
        channels_: 1 where levels look at pixels and all good images were grey, else 3.
    """

    level_names: ClassVar[tuple[Level, ...]] = ("patch", "image")

    levels_: dict[str, LevelModel]
    threshold_: Threshold
    order_: Order | None = None
    tail_: Tail
    mean_: float
    std_: float
    heat_low_: float
    heat_high_: float
    card_: dict[str, Any]
    channels_: int

    def __init__(self, config: Config | None = None, backbone: Backbone | None = None) -> None:
        self.config = config or Config()
        self.backbone = backbone
        self._maps: FeatureMaps | None = None

    def check(
        self,
        images: int,
        groups: Sequence[str | None] | None = None,
        roi: NDArray[np.bool_] | None = None,
    ) -> tuple[list[str], NDArray[np.int64]]:
        """Look for what cannot work before anything is read or written.

        Args:
            images: number of good images.
            groups: as for `fit`.
            roi: as for `fit`.

        Returns:
            The part that each image shows, and the fold of each `(N,)`.

        Raises:
            ConfigError: names the key and the fix.
            DataError: too few images, or a region with nothing in it.
        """
        check_config(self.config)
        self.open_features()
        self._look_inside(roi)
        for name in self.level_names:
            if name in self.config.levels:
                LevelModel(name, self.config, 3)
        if groups is not None and len(groups) != images:
            raise DataError(f"{len(groups)} groups were given for {images} images; give one each, or None")
        known = list(groups) if groups is not None else [None] * images
        parts = parts_of(known, consecutive=self.config.calibration.consecutive)
        return parts, outer_folds(parts, self.config.calibration.folds, self.config.seed)

    def fit(
        self,
        images: Sequence[Image],
        groups: Sequence[str | None] | None = None,
        folder: str | Path | None = None,
        roi: NDArray[np.bool_] | None = None,
    ) -> EnsembleDetector:
        """Learn from images of good parts.

        Args:
            images: at least six good images.
            groups: the physical object that each shows, if known: images of one object are held out
                together. Where it is not, `calibration.consecutive` does so with neighbours.
            folder: for checkpoints and logs. If it holds those of an interrupted fit of the same
                images, configuration and seed, that fit goes on.
            roi: `(H, W)` the region of interest, of images of any size: only what it is True for counts, in
                fitting and in scoring. Needs features.

        Returns:
            The detector itself.

        Raises:
            ImageError: an image cannot be read.
            DataError: too few images, or a region with nothing in it.
            ConfigError: a region for pixels.
            TrainingError: the energy diverged for good, or there is no room for a checkpoint.
        """
        parts, folds = self.check(len(images), groups, roi)
        members = min(self.config.calibration.members, int(folds.max()) + 1)
        self.levels_ = {}
        self.card_ = {}
        calibrated: list[Calibrated] = []
        # Features are those of colour images. For pixels the number of channels is only known at the end,
        # and what levels keep of an image does not depend on it.
        self.channels_ = 3
        levels = {name: self.level(name) for name in self.level_names if name in self.config.levels}
        sets = read_training(images, levels, self._maps, parts, folds, self.config.seed)
        if self._maps is None:
            self.channels_ = max(image.shape[0] for own in sets.values() for image in own.images)
        unknown = groups is None or any(group is None for group in groups)
        self.order_ = None
        if unknown and not self.config.calibration.consecutive:
            self.order_ = look_at_order(looks_of(next(iter(sets.values())).images))
        for name, training in sets.items():
            level = self.level(name)
            own_folder = None if folder is None else Path(folder) / name
            refit = name in self.config.calibration.refit
            calibrated.append(level.fit(training, members=members, refit=refit, folder=own_folder))
            self.levels_[name] = level
        scored = next(iter(sets.values())).scored
        held_out = [i for i in range(len(images)) if folds[i] < members and scored[i] is not None]
        self._settle(calibrated, [groups[i] if groups else None for i in held_out])
        return self

    def calibrate(
        self,
        images: Sequence[Image],
        groups: Sequence[str | None] | None = None,
        false_alarm_rate: float | None = None,
    ) -> EnsembleDetector:
        """Learn again what is common among good parts, without fitting the energies again.

        For another camera, light or batch: what scores mean, thresholds and maps follow the new images.

        Args:
            images: at least six good images that the energies were not fitted on.
            groups: as for `fit`.
            false_alarm_rate: None keeps the one that there is.

        Returns:
            The detector itself.

        Raises:
            ImageError: an image cannot be read.
            DataError: too few images.
            ConfigError: a rate outside (0, 1).
        """
        self._require_fitted()
        if len(images) < LEAST_CALIBRATION:
            raise DataError(
                f"{len(images)} good images are too few to calibrate on; give at least {LEAST_CALIBRATION}"
            )
        if groups is not None and len(groups) != len(images):
            raise DataError(
                f"{len(groups)} groups were given for {len(images)} images; give one each, or None"
            )
        rate = self.threshold_.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        # Refused before hours of scoring.
        self.tail_.threshold(rate)
        judged: dict[str, list[Judged]] = {name: [] for name in self.levels_}
        with progress_bar(len(images), "calibrate", "image", leave=False) as bar:
            for i, image in enumerate(images):
                seen = see(self._maps, to_tensor(array_of(image, i), self.channels_), name_of(image, i))
                for name, level in self.levels_.items():
                    judged[name] += level.judge([level.views.for_scoring(seen)])
                bar.update()
        calibrated = [level.calibrate(judged[name]) for name, level in self.levels_.items()]
        self._settle(calibrated, list(groups or [None] * len(images)), rate)
        return self

    def at_false_alarm_rate(self, rate: float) -> EnsembleDetector:
        """The same detector with the threshold of another false-alarm rate.

        Raises:
            ConfigError: a rate outside (0, 1).
        """
        self._require_fitted()
        other = copy.copy(self)
        other.threshold_ = self.tail_.threshold(rate)
        return other

    def score(self, images: Sequence[Image]) -> Values:
        """Scores `(N,)` float64; higher = more anomalous, about 0 for good parts."""
        return np.array([p.score for p in self.iterate(images, heat_maps=False)], dtype=np.float64)

    def predict(self, images: Sequence[Image], *, heat_maps: bool = True) -> list[Prediction]:
        """Score, verdict and heat map of each image.

        Args:
            images: images of any size; grey ones are turned to colour, or the other way, as in `fit`.
            heat_maps: whether maps at the images' own sizes are made.

        Raises:
            ImageError: an image cannot be read, or an array is of the wrong shape or not finite.
        """
        return list(self.iterate(images, heat_maps=heat_maps))

    def iterate(self, images: Sequence[Image], *, heat_maps: bool = True) -> Iterator[Prediction]:
        """As `predict`, one prediction at a time, in bounded memory."""
        self._require_fitted()
        if isinstance(images, str | Path):
            raise ImageError(f"give a list of images, for instance [{str(images)!r}]")
        for first in range(0, len(images), CHUNK):
            chunk = images[first : first + CHUNK]
            names = [name_of(image, first + i) for i, image in enumerate(chunk)]
            tensors = [to_tensor(array_of(image, first + i), self.channels_) for i, image in enumerate(chunk)]
            columns, maps = [], []
            seen = [see(self._maps, image, name) for image, name in zip(tensors, names, strict=True)]
            for level in self.levels_.values():
                scored = [level.views.for_scoring(image) for image in seen]
                judged = level.judge(scored, where=heat_maps)
                columns.append(level.scores(judged))
                if heat_maps:
                    maps.append([self._inside(heat) for heat in level.heat_maps(judged)])
            levels = np.stack(columns, axis=1)
            scores = (combine(levels) - self.mean_) / self.std_
            for i, score in enumerate(scores):
                size = (int(tensors[i].shape[1]), int(tensors[i].shape[2]))
                sized = [resize(m[i][None].float(), size)[0] for m in maps]
                yield Prediction(
                    image=names[i],
                    score=float(score),
                    anomalous=bool(score > self.threshold_.value),
                    threshold=self.threshold_.value,
                    tail_probability=self.tail_.probability(float(score)),
                    extrapolated=self.tail_.extrapolated(float(score)),
                    levels=dict(zip(self.levels_, map(float, levels[i]), strict=True)),
                    heat_map=torch.stack(sized).mean(0).numpy() if sized else None,
                    level_maps={name: m.numpy() for name, m in zip(self.levels_, sized, strict=bool(sized))},
                )

    def open_features(self) -> None:
        """Load the backbone, where levels look at features."""
        features = self.config.features
        if self.backbone is not None and features.backbone is None:
            raise ConfigError(
                f"the backbone {self.backbone.name} was given, and features.backbone is null; start from the "
                "preset features"
            )
        if self.backbone is None and features.backbone is not None:
            self.backbone = load_backbone(features.backbone, features.blocks, features.weights)
        if self.backbone is not None and self._maps is None:
            self._maps = FeatureMaps(self.backbone, features)

    def _look_inside(self, roi: NDArray[np.bool_] | None) -> None:
        """Let features be those of a region of interest."""
        if roi is not None and self._maps is None:
            raise ConfigError("a region of interest needs features; use the preset features, or leave it out")
        self.region = None if roi is None else region_of(roi, self.config.features.size)

    def _inside(self, heat: Tensor) -> Tensor:
        """A level's map `(h, w)` that is nowhere cooler than outside the region of interest."""
        if self.region is None:
            return heat
        outside = cells_outside(self.region, (int(heat.shape[0]), int(heat.shape[1])))
        return torch.where(outside, heat.min(), heat)

    @property
    def seed(self) -> int:
        """What decides everything random in `fit`."""
        return self.config.seed

    @property
    def region(self) -> Tensor | None:
        """The region of interest, `features.size` float32, 1 inside and 0 outside; None if there is none."""
        return None if self._maps is None else self._maps.region

    @region.setter
    def region(self, region: Tensor | None) -> None:
        if region is not None and tuple(region.shape) != tuple(self.config.features.size):
            raise ValueError(f"a region of {tuple(region.shape)} does not fit features.size")
        if self._maps is not None:
            self._maps.region = region

    def level(self, name: Level) -> LevelModel:
        """A level that is not fitted yet."""
        return LevelModel(name, self.config, self.channels_ if self._maps is None else self._maps.channels)

    def _settle(
        self, calibrated: list[Calibrated], groups: list[str | None], rate: float | None = None
    ) -> None:
        """Find what good parts score and show, from images that the energies did not see."""
        combined = combine(np.stack([level.scores for level in calibrated], axis=1))
        if not np.isfinite(combined).all():
            raise TrainingError(
                "scores of good images are not finite: the energy diverged; lower training.lr"
            )
        self.mean_, self.std_ = float(combined.mean()), max(float(combined.std(ddof=1)), 1e-6)
        self.tail_ = Tail((combined - self.mean_) / self.std_, part_shares(groups))
        self.threshold_ = self.tail_.threshold(self.config.false_alarm_rate if rate is None else rate)
        maps = [
            torch.stack([resize(m[None].float(), HEAT_SIZE)[0] for m in level.heat]) for level in calibrated
        ]
        hottest = torch.stack(maps).mean(0).flatten(1).amax(1).numpy()
        self.heat_low_ = float(np.median(hottest))
        # Below four times the spread above it, heat is drawn as in between.
        self.heat_high_ = self.heat_low_ + 4 * max(float(np.std(hottest)), 0.25)

    def _require_fitted(self) -> None:
        if not hasattr(self, "threshold_"):
            raise PatchebmError("this detector is not fitted; call fit, or load a saved one")

    def heat_range(self, heat_map: NDArray[np.float32]) -> tuple[float, float]:
        """Between which values a map is drawn: from what good parts show to glaring, or to its hottest pixel.

        A defect far beyond glaring would otherwise be a uniform blot.
        """
        return self.heat_low_, max(self.heat_high_, float(heat_map.max()))

    def save(self, folder: str | Path, card: dict[str, Any] | None = None) -> None:
        """Write the model: `model.json` and a file of tensors.

        Args:
            folder: made if it does not exist.
            card: further facts for `model.json`, under `card`.

        Raises:
            PatchebmError: the folder cannot be written or the disk is full.
        """
        from patchebm.detector.persistence import save_detector

        self._require_fitted()
        save_detector(self, folder, card)


class PatchDetector(EnsembleDetector):
    """The patch level alone; see `EnsembleDetector`."""

    level_names = ("patch",)

    def __init__(self, config: Config | None = None, backbone: Backbone | None = None) -> None:
        super().__init__(replace(config or Config(), levels=["patch"]), backbone)


class ImageDetector(EnsembleDetector):
    """The image level alone; see `EnsembleDetector`."""

    level_names = ("image",)

    def __init__(self, config: Config | None = None, backbone: Backbone | None = None) -> None:
        super().__init__(replace(config or Config(), levels=["image"]), backbone)
