"""The detectors that users meet: patch level, image level, and the ensemble of both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.calibration.combine import combine
from patchebm.calibration.folds import outer_folds, parts_of
from patchebm.calibration.threshold import Threshold, fit_threshold
from patchebm.config import Config, Level
from patchebm.config_parser import build_config, check_config
from patchebm.data.views import resize, to_tensor
from patchebm.detector.level import LevelModel, Values
from patchebm.detector.modelfile import load_model, save_model
from patchebm.detector.reading import Image, array_of, name_of, read_training, see
from patchebm.errors import ConfigError, DataError, ImageError, ModelFileError, PatchebmError, TrainingError
from patchebm.features.backbone import Backbone, load_backbone
from patchebm.features.maps import FeatureMaps
from patchebm.prediction import Prediction

# Pictures held in memory at once while scoring.
CHUNK = 16
# Held-out pictures whose maps say what good parts show.
MAP_PICTURES = 32


class EnsembleDetector:
    """Patch-level and image-level energies of good parts, and their ensemble.

    scikit-learn's contract: the constructor only keeps its argument, `fit` learns from good pictures
    alone, what it learns ends in an underscore, scores are higher for what is more anomalous.

    >>> detector = EnsembleDetector(load_preset("features")).fit(good_pictures)   # doctest: +SKIP
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
        normal_scores_: `(M,)` out-of-sample scores of good pictures, which the threshold stands on.
        channels_: 1 where levels look at pixels and all good pictures were grey, else 3.
    """

    level_names: ClassVar[tuple[Level, ...]] = ("patch", "image")

    levels_: dict[str, LevelModel]
    threshold_: Threshold
    normal_scores_: Values
    mean_: float
    std_: float
    heat_low_: float
    heat_high_: float
    channels_: int

    def __init__(self, config: Config | None = None, backbone: Backbone | None = None) -> None:
        self.config = config or Config()
        self.backbone = backbone
        self._maps: FeatureMaps | None = None

    def check(
        self, images: int, groups: Sequence[str | None] | None = None
    ) -> tuple[list[str], NDArray[np.int64]]:
        """Look for what cannot work before anything is read or written.

        Args:
            images: number of good pictures.
            groups: as for `fit`.

        Returns:
            The part that each picture shows, and the fold of each `(N,)`.

        Raises:
            ConfigError: names the key and the mend.
            DataError: too few pictures.
        """
        check_config(self.config)
        self._open_features()
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
    ) -> EnsembleDetector:
        """Learn from pictures of good parts.

        Args:
            images: at least six good pictures.
            groups: the physical object that each shows, if known: pictures of one object are held out
                together. Where it is not, `calibration.consecutive` does so with neighbours.
            folder: for checkpoints and logs. If it holds those of an interrupted fit of the same
                pictures, configuration and seed, that fit goes on.

        Returns:
            The detector itself.

        Raises:
            ImageError: a picture cannot be read.
            DataError: too few pictures.
            TrainingError: the energy diverged for good, or there is no room for a checkpoint.
        """
        parts, folds = self.check(len(images), groups)
        members = min(self.config.calibration.members, int(folds.max()) + 1)
        self.levels_ = {}
        columns = []
        # Features are those of colour pictures. For pixels the number of channels is only known at the end,
        # and what levels keep of a picture does not depend on it.
        self.channels_ = 3
        levels = {name: self._level(name) for name in self.level_names if name in self.config.levels}
        sets = read_training(images, levels, self._maps, parts, folds, self.config.seed)
        if self._maps is None:
            self.channels_ = max(picture.shape[0] for own in sets.values() for picture in own.pictures)
        for name, training in sets.items():
            level = self._level(name)
            own_folder = None if folder is None else Path(folder) / name
            columns.append(level.fit(training, members=members, folder=own_folder))
            self.levels_[name] = level
        combined = combine(np.stack(columns, axis=1))
        self.mean_, self.std_ = float(combined.mean()), max(float(combined.std(ddof=1)), 1e-6)
        self.normal_scores_ = (combined - self.mean_) / self.std_
        if not np.isfinite(self.normal_scores_).all():
            raise TrainingError(
                "scores of good pictures are not finite: the energy diverged; lower training.lr"
            )
        self.threshold_ = fit_threshold(self.normal_scores_, self.config.false_alarm_rate)
        held_out = np.flatnonzero(folds < members)[:MAP_PICTURES]
        self._calibrate_heat([images[i] for i in held_out])
        return self

    def score(self, images: Sequence[Image]) -> Values:
        """Scores `(N,)` float64; higher = more anomalous, about 0 for good parts."""
        return np.array([p.score for p in self.iterate(images, heat_maps=False)], dtype=np.float64)

    def predict(self, images: Sequence[Image], *, heat_maps: bool = True) -> list[Prediction]:
        """Score, verdict and heat map of each picture.

        Args:
            images: pictures of any size; grey ones are turned to colour, or the other way, as in `fit`.
            heat_maps: whether maps at the pictures' own sizes are made.

        Raises:
            ImageError: a picture cannot be read, or an array is of the wrong shape or not finite.
        """
        return list(self.iterate(images, heat_maps=heat_maps))

    def iterate(self, images: Sequence[Image], *, heat_maps: bool = True) -> Iterator[Prediction]:
        """As `predict`, one prediction at a time, in bounded memory."""
        if not hasattr(self, "threshold_"):
            raise PatchebmError("this detector is not fitted; call fit, or load a saved one")
        if isinstance(images, str | Path):
            raise ImageError(f"give a list of images, for instance [{str(images)!r}]")
        for first in range(0, len(images), CHUNK):
            chunk = images[first : first + CHUNK]
            names = [name_of(image, first + i) for i, image in enumerate(chunk)]
            pictures = [
                to_tensor(array_of(image, first + i), self.channels_) for i, image in enumerate(chunk)
            ]
            columns, maps = [], []
            seen = [see(self._maps, picture, name) for picture, name in zip(pictures, names, strict=True)]
            for level in self.levels_.values():
                scored = [level.views.for_scoring(picture) for picture in seen]
                values = level.position_values(scored)
                columns.append(level.pool(values))
                if heat_maps:
                    maps.append(level.heat_maps(scored, values))
            levels = np.stack(columns, axis=1)
            scores = (combine(levels) - self.mean_) / self.std_
            for i, score in enumerate(scores):
                size = (int(pictures[i].shape[1]), int(pictures[i].shape[2]))
                sized = [resize(m[i][None].float(), size)[0] for m in maps]
                yield Prediction(
                    image=names[i],
                    score=float(score),
                    anomalous=bool(score > self.threshold_.value),
                    threshold=self.threshold_.value,
                    levels=dict(zip(self.levels_, map(float, levels[i]), strict=True)),
                    heat_map=torch.stack(sized).mean(0).numpy() if sized else None,
                    level_maps={name: m.numpy() for name, m in zip(self.levels_, sized, strict=bool(sized))},
                )

    def _open_features(self) -> None:
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

    def _level(self, name: Level) -> LevelModel:
        return LevelModel(name, self.config, self.channels_ if self._maps is None else self._maps.channels)

    def _calibrate_heat(self, pictures: Sequence[Image]) -> None:
        """Find which heat good parts show, from the hottest pixel of each."""
        hottest = [float(p.heat_map.max()) for p in self.iterate(pictures) if p.heat_map is not None]
        self.heat_low_ = float(np.median(hottest))
        # Below four times the spread above it, heat is drawn as in between.
        self.heat_high_ = self.heat_low_ + 4 * max(float(np.std(hottest)), 0.25)

    def heat_range(self, heat_map: NDArray[np.float32]) -> tuple[float, float]:
        """Between which values a map is drawn: from what good parts show to glaring, or to its hottest pixel.

        A defect far beyond glaring would otherwise be a uniform blot.
        """
        return self.heat_low_, max(self.heat_high_, float(heat_map.max()))

    def save(self, folder: str | Path, card: dict[str, Any] | None = None) -> None:
        """Write the model: `model.json` and `model.safetensors`.

        Args:
            folder: made if it does not exist.
            card: further facts for `model.json`, under `card`.

        Raises:
            PatchebmError: the folder cannot be written or the disk is full.
        """
        if not hasattr(self, "threshold_"):
            raise PatchebmError("this detector is not fitted; call fit before save")
        facts: dict[str, Any] = {
            "channels": self.channels_,
            "config": asdict(self.config),
            "threshold": asdict(self.threshold_),
            "normal_mean": self.mean_,
            "normal_std": self.std_,
            "heat": [self.heat_low_, self.heat_high_],
            "levels": {},
            "card": card or {},
        }
        if self.backbone is not None:
            facts["backbone"] = {"name": self.backbone.name, "sha256": self.backbone.sha256}
        tensors = {"normal_scores": torch.from_numpy(self.normal_scores_)}
        for name, level in self.levels_.items():
            facts["levels"][name], own = level.state()
            tensors |= {f"{name}.{key}": tensor for key, tensor in own.items()}
        save_model(folder, facts, tensors)


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


def load(folder: str | Path, backbone: Backbone | None = None) -> EnsembleDetector:
    """The detector that `save` wrote to a folder.

    Args:
        folder: a run folder.
        backbone: the feature extractor that it was fitted with, if that was one of your own.

    Raises:
        ConfigError: the backbone is not installed; says how to install it.
        ModelFileError: missing, truncated, altered, of another version, or inconsistent; says which.
    """
    facts, tensors = load_model(folder)
    try:
        config = build_config(facts["config"])
    except (ConfigError, KeyError) as error:
        raise ModelFileError(f"{Path(folder) / 'model.json'} has a bad configuration: {error}") from error
    detector = EnsembleDetector(config, backbone)
    detector._open_features()
    fitted_on = facts.get("backbone", {})
    if detector.backbone is not None and detector.backbone.sha256 != fitted_on.get("sha256"):
        raise ModelFileError(
            f"{Path(folder) / 'model.json'} was fitted on the backbone {fitted_on.get('name')} "
            f"with other weights than those of {detector.backbone.name} here; install that version of the "
            "weights, or hand your own backbone to load"
        )
    try:
        detector.channels_ = int(facts["channels"])
        detector.threshold_ = Threshold(**facts["threshold"])
        detector.mean_, detector.std_ = float(facts["normal_mean"]), float(facts["normal_std"])
        detector.heat_low_, detector.heat_high_ = map(float, facts["heat"])
        detector.normal_scores_ = tensors["normal_scores"].numpy()
        detector.levels_ = {}
        for name in detector.level_names:
            if name not in facts["levels"]:
                continue
            level = detector._level(name)
            prefix = f"{name}."
            own = {key.removeprefix(prefix): t for key, t in tensors.items() if key.startswith(prefix)}
            level.restore(facts["levels"][name], own)
            detector.levels_[name] = level
    except Exception as error:
        raise ModelFileError(
            f"{Path(folder) / 'model.json'} does not fit its tensors ({type(error).__name__}: {error}); "
            "copy or train the model again"
        ) from error
    return detector
