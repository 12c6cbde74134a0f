"""The detectors that users meet: the ensemble of all levels, and each level alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.config.base import RunConfig
from patchebm.config.build import check_config
from patchebm.config.features import FeaturesConfig
from patchebm.detector.folds import outer_folds, parts_of
from patchebm.detector.level import Calibrated, Level, TrainingSet, on_cpu
from patchebm.detector.order import Order, measure_order
from patchebm.detector.scorer import PixelInputs, Scorer, combine
from patchebm.detector.training_set import Reading, read_images, thumbnails
from patchebm.device import resolve_device
from patchebm.energy.fused import Evidence
from patchebm.errors import ConfigError, DataError, TrainingError
from patchebm.features.backbone import Backbone, load_backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.region import region_of
from patchebm.features.resize import resize
from patchebm.progress import progress_bar
from patchebm.runtime.calibration import Calibration
from patchebm.runtime.inputs import Image, name_of, pixels_of
from patchebm.runtime.predictor import Outputs, Predictor

# Height and width at which maps of levels meet to tell what heat good parts show.
HEAT_SIZE = (256, 256)
# As many good images as training needs.
MIN_CALIBRATION = 6


class EnsembleDetector(Predictor):
    """An ensemble of energies of good parts, one or more for each level.

    scikit-learn's contract: the constructor only keeps its arguments, `fit` learns from good images
    alone, what it learns ends in an underscore, scores are higher for what is more anomalous.

    >>> detector = EnsembleDetector().fit(good_images)               # doctest: +SKIP
    >>> detector.predict(["new.png"])[0].anomalous                   # doctest: +SKIP

    Args:
        config: the run's configuration; None for the recommended one, `FeaturesConfig()`. Others come with
            `patchebm.load_preset`.
        backbone: a feature extractor of your own, in place of the one that `config.features` names.
        device: where features, fits and scores are computed: `auto`, `cpu`, `cuda`, `cuda:N`, `xpu` or `mps`.
        batch: images of one size that are scored together, at most.

    Attributes:
        calibration_: scores of good parts, the threshold, and what heat good parts show.
        order_: whether training images that follow each other are alike; None after `load`, and where parts
            are known or neighbours were held out together.
        scorer_: the module from images to scores and maps.
        card_: facts that were saved with the model: how it was trained, and on what.
    """

    only: ClassVar[str | None] = None
    """The one level that this class fits; None for those of the configuration."""

    order_: Order | None = None
    scorer_: Scorer
    card_: dict[str, Any]

    def __init__(
        self,
        config: RunConfig | None = None,
        backbone: Backbone | None = None,
        *,
        device: str | torch.device = "auto",
        batch: int = 1,
    ) -> None:
        self.batch = batch
        self.config = config or FeaturesConfig()
        if self.only is not None:
            self.config = replace(self.config, levels=[self.only])
        self.backbone = backbone
        self.device = device

    @property
    def levels_(self) -> dict[str, Level]:
        """The fitted levels by name."""
        self.require_fitted()
        return dict(self.scorer_.levels.items())  # type: ignore[arg-type]

    @property
    def region(self) -> torch.Tensor | None:
        """The region of interest, `features.size` float32, 1 inside and 0 outside; None if there is none."""
        self.require_fitted()
        return self.scorer_.inputs.region

    def check(self) -> None:
        """Refuse a configuration that cannot work before anything is read or written.

        Raises:
            ConfigError: names the key and the fix.
        """
        check_config(self.config)
        resolve_device(self.device)
        inputs = self.build_inputs()
        for name in self.config.levels:
            self.build_level(name, inputs)

    def fit(
        self,
        images: Sequence[Image],
        groups: Sequence[str | None] | None = None,
        folder: str | Path | None = None,
        roi: NDArray[np.bool_] | None = None,
    ) -> EnsembleDetector:
        """Learn from images of good parts: `read` and `fit_reading` in one.

        Args:
            images: at least six good images, of any kind that `predict` takes.
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
        self.assign_folds(len(images), groups)
        return self.fit_reading(self.read(images, len(images), roi), groups, folder)

    def read(self, images: Iterable[Image], expected: int, roi: NDArray[np.bool_] | None = None) -> Reading:
        """Read images once, in bounded memory, and keep what fits need of them.

        Args:
            images: good images.
            expected: how many they are, at most.
            roi: as for `fit`.

        Raises:
            ImageError: an image cannot be read.
            DataError: a region with nothing in it.
            ConfigError: a configuration that cannot work, or a region for pixels.
        """
        self.check()
        device = resolve_device(self.device)
        inputs = self.build_inputs(roi).to(device)
        levels = {name: self.build_level(name, inputs) for name in self.config.levels}
        return read_images(images, expected, levels, inputs, self.config.seed, device)

    def assign_folds(
        self, images: int, groups: Sequence[str | None] | None = None
    ) -> tuple[list[str], NDArray[np.int64]]:
        """Return the part that each image shows, and the fold of each `(N,)`.

        Raises:
            DataError: too few images or parts, or a wrong number of groups.
        """
        if groups is not None and len(groups) != images:
            raise DataError(f"{len(groups)} groups were given for {images} images; give one each, or None")
        known = list(groups) if groups is not None else [None] * images
        parts = parts_of(known, consecutive=self.config.calibration.consecutive)
        return parts, outer_folds(parts, self.config.calibration.folds, self.config.seed)

    def fit_reading(
        self,
        reading: Reading,
        groups: Sequence[str | None] | None = None,
        folder: str | Path | None = None,
    ) -> EnsembleDetector:
        """Learn from what `read` kept; see `fit`."""
        parts, folds = self.assign_folds(reading.images, groups)
        calibration = self.config.calibration
        members = min(calibration.members, int(folds.max()) + 1)
        self.card_ = {}
        held_out = next(iter(reading.kept.values())).held_out
        self.order_ = None
        if (groups is None or None in groups) and not calibration.consecutive:
            self.order_ = measure_order(thumbnails([image for image in held_out if image is not None]))
        calibrated = [
            level.fit(
                TrainingSet(reading.kept[name].views, reading.kept[name].held_out, parts, folds),
                members=members,
                refit=name in calibration.refit,
                folder=None if folder is None else Path(folder) / name,
                device=resolve_device(self.device),
            )
            for name, level in reading.levels.items()
        ]
        chosen = [i for i in range(reading.images) if folds[i] < members and held_out[i] is not None]
        own = [groups[i] if groups else None for i in chosen]
        self._settle(reading.inputs, reading.levels, calibrated, own, self.config.false_alarm_rate)
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
            false_alarm_rate: None keeps the present one.

        Returns:
            The detector itself.

        Raises:
            ImageError: an image cannot be read.
            DataError: too few images.
            ConfigError: a rate outside (0, 1).
        """
        self.require_fitted()
        if len(images) < MIN_CALIBRATION:
            raise DataError(
                f"{len(images)} good images are too few to calibrate on; give at least {MIN_CALIBRATION}"
            )
        if groups is not None and len(groups) != len(images):
            raise DataError(
                f"{len(groups)} groups were given for {len(images)} images; give one each, or None"
            )
        rate = self.threshold_.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        # Refused before hours of scoring.
        self.tail_.threshold(rate)
        levels = self.levels_
        evidence: dict[str, list[Evidence]] = {name: [] for name in levels}
        with progress_bar(len(images), "calibrate", "image", leave=False) as bar, torch.no_grad():
            for i, image in enumerate(images):
                given = self._given(pixels_of(image, i), name_of(image, i))
                for name, level in levels.items():
                    evidence[name].append(on_cpu(level.evidence(given)))
                bar.update()
        calibrated = [level.calibrate(evidence[name]) for name, level in levels.items()]
        self._settle(self.scorer_.inputs, levels, calibrated, list(groups or [None] * len(images)), rate)
        return self

    def run(self, images: NDArray[np.float32], *, maps: bool) -> Outputs:
        """Return what the scorer says of images; see `Predictor.run`."""
        scorer = self.scorer_
        with torch.no_grad():
            x = torch.from_numpy(images).to(scorer.mean.device)
            scores = scorer.score(scorer.prepare(x), maps=maps)
            score, levels = scores.score.cpu().numpy(), scores.levels.cpu().numpy()
            if not maps:
                return Outputs(score, levels)
            level_maps, heat_map = scorer.maps(scores.grids, (x.shape[1], x.shape[2]))
            named = zip(scorer.levels, level_maps, strict=True)
            return Outputs(
                score, levels, {name: m.cpu().numpy() for name, m in named}, heat_map.cpu().numpy()
            )

    @property
    def seed(self) -> int:
        """The seed of the configuration."""
        return int(self.config.seed)

    def build_inputs(self, roi: NDArray[np.bool_] | None = None) -> FeatureExtractor | PixelInputs:
        """Return what brings images to the levels, with a region of interest `(H, W)` if one is given.

        Raises:
            ConfigError: a region or a backbone for pixels, or a backbone that cannot be loaded.
            DataError: a region with nothing in it.
        """
        if not isinstance(self.config, FeaturesConfig):
            if roi is not None:
                raise ConfigError(
                    "a region of interest needs features; use the preset features, or leave it out"
                )
            if self.backbone is not None:
                raise ConfigError(
                    f"the backbone {self.backbone.name} was given for a model of pixels; start from the "
                    "preset features"
                )
            return PixelInputs(3)
        features = self.config.features
        if self.backbone is None:
            self.backbone = load_backbone(features.backbone, features.blocks, features.weights)
        inputs = FeatureExtractor(self.backbone, features)
        inputs.region = None if roi is None else region_of(roi, inputs.size)
        return inputs

    def build_level(self, name: str, inputs: FeatureExtractor | PixelInputs) -> Level:
        """Return a level that is not fitted yet."""
        config = self.config.level(name)
        level: Level = config.load_target()(name, config, self.config.seed, inputs)
        return level

    def save(self, folder: str | Path, card: dict[str, Any] | None = None) -> None:
        """Write the model: `model.json` and a file of tensors.

        Args:
            folder: made if it does not exist.
            card: further facts for `model.json`, under `card`.

        Raises:
            PatchebmError: the folder cannot be written or the disk is full.
        """
        from patchebm.detector.persistence import save_detector

        save_detector(self, folder, card)

    def _given(self, pixels: NDArray[np.float32], name: str) -> Any:
        """What levels are given of one image."""
        x = torch.from_numpy(pixels)[None].to(self.scorer_.mean.device)
        return self.scorer_.inputs(self.scorer_.prepare(x))

    def _settle(
        self,
        inputs: FeatureExtractor | PixelInputs,
        levels: dict[str, Level],
        calibrated: list[Calibrated],
        groups: list[str | None],
        rate: float,
    ) -> None:
        """Find what good parts score and show, from images that the energies were not fitted on."""
        columns = np.stack([one.scores for one in calibrated], axis=1)
        combined = combine(torch.from_numpy(columns)).numpy()
        if not np.isfinite(combined).all():
            raise TrainingError(
                "scores of good images are not finite: the energy diverged; lower training.lr"
            )
        mean, std = float(combined.mean()), max(float(combined.std(ddof=1)), 1e-6)
        self.scorer_ = Scorer(inputs, levels, mean, std).to(resolve_device(self.device))
        maps = torch.stack([resize(one.maps[:, None], HEAT_SIZE)[:, 0] for one in calibrated]).mean(0)
        hottest = maps.flatten(1).amax(1).numpy()
        self.calibration_ = Calibration.learned(list(levels), (combined - mean) / std, groups, hottest, rate)


class PatchDetector(EnsembleDetector):
    """The patch level alone; see `EnsembleDetector`."""

    only = "patch"


class ImageDetector(EnsembleDetector):
    """The image level alone; see `EnsembleDetector`."""

    only = "image"
