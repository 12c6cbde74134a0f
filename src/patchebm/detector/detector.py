"""The detectors that users meet: the ensemble of all levels, and each level alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from patchebm.config.base import RunConfig
from patchebm.config.features import FeaturesConfig
from patchebm.detector.configured import Configured
from patchebm.detector.good_parts import HEAT_SIZE, GoodParts
from patchebm.detector.held_out import MAPS, HeldOut
from patchebm.detector.kept_maps import KeptEvidence
from patchebm.detector.level import Calibrated, Level, TrainingSet, on_cpu
from patchebm.detector.scorer import Scorer
from patchebm.detector.surround import Surround, SurroundScores
from patchebm.detector.survey import Survey, decoded
from patchebm.detector.training_set import Reading, read_images, thumbnails
from patchebm.detector.weights import detection_weights
from patchebm.errors import DataError
from patchebm.features.backbone import Backbone
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.framing import Framing
from patchebm.features.quantised_backbone import require_quantiser
from patchebm.images.decoding import STANDARD, UNKNOWN_DEPTH, Decoding
from patchebm.images.depth import Depth, measure_depth
from patchebm.images.folds import outer_folds, parts_of
from patchebm.images.order import Order, measure_order
from patchebm.images.profile import Profile
from patchebm.images.taking import MIN_IMAGES
from patchebm.progress import progress_bar
from patchebm.runtime.expectation import SyntheticDefects
from patchebm.runtime.inputs import Image, name_of, read_input, readable_samples
from patchebm.runtime.predictor import Outputs, Predictor

if TYPE_CHECKING:
    from patchebm.detector.defect_source import DefectSource
    from patchebm.detector.size_choice import SizeChoice
    from patchebm.processes import Processes
    from patchebm.training.variations import Variations


class EnsembleDetector(Configured, Predictor):
    """Energies of good parts, one or more for each level; several levels make an ensemble.

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
        devices: how many devices of one kind train the networks of a configuration of pixels; a script that
            names several must guard its main part with `if __name__ == "__main__"`.
        decoding: what the numbers of image files mean. Where it states no white level, `fit` finds that of
            the training images.

    Attributes:
        calibration_: scores of good parts, the threshold, and what heat good parts show.
        decoding_: what the numbers of image files mean, with the white level that was found.
        depth_: what the training images showed of the camera's bits; None after `load`, and where the white
            level was stated or no image has 16 bits.
        order_: whether training images that follow each other are alike; None after `load`, and where parts
            are known or neighbours were held out together.
        held_out_: what training knows of each image that was held out; missing after `load`.
        size_choice_: what was found at each size; None after `load`, and where neither a smallest defect
            nor a time per image was named.
        variations_: how few images were changed, to be fitted with versions of themselves; None after `load`,
            and where they were enough.
        scorer_: the module from images to scores and maps.
        card_: facts that were saved with the model: how it was trained, and on what.
    """

    only: ClassVar[str | None] = None
    """The one level that this class fits; None for those of the configuration."""

    order_: Order | None = None
    depth_: Depth | None = None
    variations_: Variations | None = None
    size_choice_: SizeChoice | None = None
    held_out_: HeldOut
    scorer_: Scorer
    card_: dict[str, Any]

    def __init__(
        self,
        config: RunConfig | None = None,
        backbone: Backbone | None = None,
        *,
        device: str | torch.device = "auto",
        batch: int = 1,
        devices: int = 1,
        decoding: Decoding = STANDARD,
    ) -> None:
        config = config or FeaturesConfig()
        if self.only is not None:
            config = replace(config, levels=[self.only])
        super().__init__(config, backbone, device, devices)
        self.batch = batch
        self.decoding = decoding

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

    def fit(
        self,
        images: Sequence[Image],
        groups: Sequence[str | None] | None = None,
        folder: str | Path | None = None,
        roi: NDArray[np.bool_] | None = None,
    ) -> EnsembleDetector:
        """Learn from images of good parts: `read` and `fit_reading` in one.

        Args:
            images: good images, of any kind that `predict` takes: one or more where
                `config.takes_few`, else at least six.
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
        return self.fit_reading(self.read(images, len(images), roi, groups=groups), groups, folder)

    def read(
        self,
        images: Iterable[Image],
        expected: int,
        roi: NDArray[np.bool_] | None = None,
        *,
        sources: Iterable[Image] | None = None,
        groups: Sequence[str | None] | None = None,
        group_of: Callable[[int], str | None] | None = None,
        processes: Processes | None = None,
    ) -> Reading:
        """Read images in bounded memory, and keep what fits need of them.

        Each is read once; where one has 16 bits and nobody has said how many of them are used, all are looked
        through for that first.

        Args:
            images: good images.
            expected: how many they are, at most.
            roi: as for `fit`.
            sources: what is looked through; None for `images`, which can then be iterated twice.
            groups: of all images that are expected, the part that each shows, if known; None for none.
            group_of: gives the part of an image that was read, by its number; None where they are `groups`.
            processes: compute features; None has this process compute them. The result is the same. Images of
                pixels are read by this process alone.

        Raises:
            ImageError: an image cannot be read.
            PatchebmError: there is no room for feature maps.
            DataError: a region with nothing in it.
            ConfigError: a configuration that cannot work, or a region for pixels.
        """
        self.check()
        device = self.target_device()
        self.decoding_, self.depth_ = self.decoding, None

        def pixels(image: Image, index: int) -> NDArray[np.float32]:
            read = read_input(image, index, self.decoding_)
            if read.misfit is not None and read.misfit.kind == UNKNOWN_DEPTH:
                self._settle_depth(images if sources is None else sources)
                read = read_input(image, index, self.decoding_)
            self.notices.note(read.misfit)
            return read.pixels

        seed = self.config.seed
        if not isinstance(self.config, FeaturesConfig):
            inputs = self.build_inputs(roi).to(device)
            levels = self.build_levels(inputs)
            return read_images(decoded(images, pixels), expected, levels, inputs, None, None, seed, device)
        survey = Survey(decoded(images, pixels))
        extractor = self._framed(survey, expected, roi).to(device)
        if self.in_int8 and survey.found:
            extractor = require_quantiser()(extractor, survey.some())
        levels = self.build_levels(extractor)
        defects, variations = self._drawn(survey, expected, extractor, levels)
        return read_images(
            survey,
            expected,
            levels,
            extractor,
            defects,
            variations,
            seed,
            device,
            groups,
            group_of,
            processes,
            surround=self.config.features.surround and not extractor.framing.whole,
        )

    def _framed(self, survey: Survey, expected: int, roi: NDArray[np.bool_] | None) -> FeatureExtractor:
        """Decide by good images which box is inspected, and at what size."""
        assert isinstance(self.config, FeaturesConfig)
        # Who names a region has said what is inspected; and fewer images do not show where else parts lie.
        crop = roi is None and expected >= MIN_IMAGES
        features = self.config.features
        framing = Framing.learn(survey.some(), features, crop=crop)
        self.size_choice_ = None
        # Where no image could be read, who called says which and why.
        asked = (features.smallest_defect, features.time_per_image)
        if any(one is not None for one in asked) and survey.found:
            # Imported here, since it fits detectors itself.
            from patchebm.detector.size_choice import choose_size

            some, device = list(survey.some()), self.target_device()
            self.size_choice_ = choose_size(
                self.config, some, framing, backbone=self.backbone, device=device, roi=roi
            )
            framing = framing.at(self.size_choice_.side, features)
        extractor = self.build_inputs(roi, framing)
        assert isinstance(extractor, FeatureExtractor)
        return extractor

    def _drawn(
        self, survey: Survey, expected: int, extractor: FeatureExtractor, levels: dict[str, Level]
    ) -> tuple[DefectSource | None, Variations | None]:
        """Return what draws defects into good images, and what changes images where they are few."""
        assert isinstance(self.config, FeaturesConfig)
        defects, variations = None, None
        if survey.found:
            # Imported here, since scoring draws none.
            from patchebm.detector.defect_source import DefectSource

            learn = any(level.learns_damage for level in levels.values())
            weigh = len(levels) > 1
            config, seed = self.config.defects, self.seed
            defects = DefectSource(extractor, survey, config, learn=learn, weigh=weigh, seed=seed)
        if any(level.config.takes_few for level in levels.values()):
            # The same.
            from patchebm.training.variations import Variations

            variations = Variations.of(survey.some(), expected)
        return defects, variations

    def leave_copies_out(
        self, reading: Reading, distinct: Sequence[int], images: Callable[[int], Image]
    ) -> Reading:
        """Return a reading that was not fitted yet without copies of images.

        Args:
            reading: what `read` kept.
            distinct: indices of the images that stay.
            images: gives an image by its index; some are read again, to be taken out of sums.

        Raises:
            ImageError: an image cannot be read any more.
        """

        def again(i: int) -> NDArray[np.float32]:
            return read_input(images(i), i, self.decoding_).pixels

        return reading.subset(distinct, reading.levels, again)

    def assign_folds(
        self, images: int, groups: Sequence[str | None] | None = None
    ) -> tuple[list[str], NDArray[np.int64]]:
        """Return the part that each image shows, and the fold of each `(N,)`.

        Raises:
            DataError: too few images or parts, or a wrong number of groups.
        """
        if images == 1 and self.config.takes_few:
            return ["the image"], np.zeros(1, dtype=np.int64)
        if groups is not None and len(groups) != images:
            raise DataError(f"{len(groups)} groups were given for {images} images; give one each, or None")
        known = list(groups) if groups is not None else [None] * images
        parts = parts_of(known, consecutive=self._consecutive)
        count, seed = self.config.calibration.folds, self.config.seed
        return parts, outer_folds(parts, count, seed, takes_few=self.config.takes_few)

    @property
    def _consecutive(self) -> bool:
        """Whether images of unknown part that follow each other are held out together."""
        asked = self.config.calibration.consecutive
        return self.order_ is not None and self.order_.series if asked is None else asked

    def fit_reading(
        self,
        reading: Reading,
        groups: Sequence[str | None] | None = None,
        folder: str | Path | None = None,
    ) -> EnsembleDetector:
        """Learn from what `read` kept; see `fit`."""
        calibration = self.config.calibration
        self.card_ = {}
        self.variations_ = reading.variations
        single = reading.images == 1 and self.config.takes_few
        if single:
            reading, groups = reading.versions_alone(), None
        first = next(iter(reading.kept.values()))
        held_out = [i for i in range(reading.images) if first.is_held_out(i)]
        self.order_ = None
        if (groups is None or None in groups) and not calibration.consecutive and not single:
            views = (first.held_out[i] for i in held_out)
            self.order_ = measure_order(thumbnails(view for view in views if view is not None))
        parts, folds = self.assign_folds(reading.images, groups)
        if self._consecutive and (groups is None or None in groups):
            # The neighbours of an image that is held out may not have been fitted on; who they are among the
            # images that were added up is not known.
            reading = reading.without_sums()
        members = int(folds.max()) + 1
        if not single:
            members = min(calibration.members, members)
        calibrated = [
            level.fit(
                TrainingSet.of(reading.kept[name], parts, folds),
                members=members,
                refit=name in calibration.refit,
                folder=None if folder is None else Path(folder) / name,
                device=self.target_device(),
            )
            for name, level in reading.levels.items()
        ]
        chosen = [i for i in held_out if folds[i] < members]
        own = [groups[i] if groups else None for i in chosen]
        weights: torch.Tensor | None = None
        damaged = np.stack([one.damaged for one in calibrated], axis=1)
        if len(damaged):
            good = np.stack([one.scores for one in calibrated], axis=1)
            weights = torch.from_numpy(detection_weights(good, damaged)).float()
        surround, around = None, None
        small = [one for i in chosen if reading.thumbnails and (one := reading.thumbnails[i]) is not None]
        if small:
            assert isinstance(reading.inputs, FeatureExtractor)
            surround = Surround(reading.inputs.framing.box)
            around = surround.learn(torch.stack(small), [parts[i] for i in chosen])
        good_parts = GoodParts.learn(
            Scorer(reading.inputs, reading.levels, 0.0, 1.0, weights, surround),
            calibrated,
            own,
            self.config.false_alarm_rate,
            self.config.false_pixel_rate,
            None if around is None else around.score.numpy(),
            single=single,
        )
        self._take(good_parts)
        scores = good_parts.scores
        kept = next(iter(reading.kept.values()))
        checks = [one for i in chosen for one in kept.damaged[i] if one.kind != "learn"]
        local = [number for number, one in enumerate(checks) if one.kind == "local"]
        self.synthetic_defects_ = None
        # Versions of one image are no images that the model was not fitted on.
        if local and not single and isinstance(reading.inputs, FeatureExtractor):
            scores_of = torch.from_numpy(damaged[local]).float().to(self.scorer_.mean.device)
            found = self.scorer_.ensemble(scores_of).cpu()
            extents = np.array([checks[number].extent for number in local])
            side = reading.inputs.framing.side
            self.synthetic_defects_ = SyntheticDefects(found.double().numpy(), extents * side)
        if single:
            # Of the image itself, which is the first of its versions.
            chosen, own, scores = chosen[:1], own[:1], scores[:1]
        self.held_out_ = HeldOut(
            indices=np.array(chosen, dtype=np.int64),
            folds=folds[chosen],
            groups=own,
            scores=scores,
            levels={
                name: one.scores[: len(chosen)] for name, one in zip(reading.levels, calibrated, strict=True)
            },
            maps=self._maps(calibrated, around, chosen, np.argsort(-scores, kind="stable")[:MAPS]),
        )
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
        if len(images) < MIN_IMAGES:
            raise DataError(
                f"{len(images)} good images are too few to calibrate on; give at least {MIN_IMAGES}"
            )
        if groups is not None and len(groups) != len(images):
            raise DataError(
                f"{len(groups)} groups were given for {len(images)} images; give one each, or None"
            )
        rate = self.threshold_.false_alarm_rate if false_alarm_rate is None else false_alarm_rate
        # Refused before hours of scoring.
        self.tail_.threshold(rate)
        levels, surround = self.levels_, self.scorer_.surround
        evidence = {name: KeptEvidence() for name in levels}
        energies = []
        with progress_bar(len(images), "calibrate", "image", leave=False) as bar, torch.no_grad():
            for i, image in enumerate(images):
                read = read_input(image, i, self.decoding_)
                self.notices.note(read.misfit)
                given = self._given(read.pixels, name_of(image, i))
                for name, level in levels.items():
                    evidence[name].add(i, on_cpu(level.evidence(given)))
                if surround is not None:
                    x = torch.from_numpy(read.pixels)[None].to(self.scorer_.mean.device)
                    energies.append(surround.energy(surround.thumbnails(x)).cpu())
                bar.update()
        calibrated = [
            level.calibrate([one for i in range(len(images)) for one in evidence[name].of(i)])
            for name, level in levels.items()
        ]
        known = list(groups or [None] * len(images))
        pixel_rate = self.calibration_.pixels.false_pixel_rate
        around = None if surround is None else surround.calibrate(torch.cat(energies).double())
        self._take(GoodParts.learn(self.scorer_, calibrated, known, rate, pixel_rate, around))
        # Their images were drawn from the former ones.
        self.synthetic_defects_ = None
        return self

    def run(self, images: NDArray[np.float32], *, maps: bool) -> Outputs:
        """Return what the scorer says of images; see `Predictor.run`."""
        scorer = self.scorer_
        with torch.no_grad():
            x = torch.from_numpy(images).to(scorer.mean.device)
            scores = scorer.score(scorer.prepare(x), scorer.thumbnails(x), maps=maps)
            score, levels = scores.score.cpu().numpy(), scores.levels.cpu().numpy()
            if not maps:
                return Outputs(score, levels)
            level_maps, heat_map = scorer.maps(scores.grids, (x.shape[1], x.shape[2]))
            named = zip(scorer.levels, level_maps, strict=True)
            return Outputs(
                score, levels, {name: m.cpu().numpy() for name, m in named}, heat_map.cpu().numpy()
            )

    @property
    def profile(self) -> Profile | None:
        """What the card says of the training images, or of those of the last calibration."""
        return Profile.from_dict(self.card_.get("profile"))

    @property
    def inspected(self) -> str | None:
        """What part of images is inspected, as half a sentence; see `Predictor.inspected`."""
        return self.scorer_.inspected

    @property
    def size_reason(self) -> str | None:
        """Why images are read at their size, as a sentence; None where that was named, and for pixels."""
        if self.size_choice_ is not None:
            return self.size_choice_.describe()
        inputs = self.scorer_.inputs
        if not isinstance(self.config, FeaturesConfig) or not isinstance(inputs, FeatureExtractor):
            return None
        return inputs.framing.reason() if self.config.features.size is None else None

    @property
    def seed(self) -> int:
        """The seed of the configuration."""
        return int(self.config.seed)

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

    def _settle_depth(self, images: Iterable[Image]) -> None:
        """Find which number is white from all training images that can be read."""
        self.depth_ = measure_depth(readable_samples(images, self.decoding_))
        assert self.depth_ is not None
        self.decoding_ = replace(self.decoding_, white_level=self.depth_.white_level)

    def _given(self, pixels: NDArray[np.float32], name: str) -> Any:
        """What levels are given of one image."""
        x = torch.from_numpy(pixels)[None].to(self.scorer_.mean.device)
        return self.scorer_.inputs(self.scorer_.prepare(x))

    def _take(self, good: GoodParts) -> None:
        self.scorer_ = good.scorer.to(self.target_device())
        self.calibration_ = good.calibration

    def _maps(
        self,
        calibrated: list[Calibrated],
        around: SurroundScores | None,
        chosen: Sequence[int],
        rows: NDArray[np.int64],
    ) -> dict[int, NDArray[np.float32]]:
        """Return the anomaly maps of some held-out images, by their indices."""
        levels, device, own = self.levels_.values(), self.scorer_.mean.device, torch.from_numpy(rows)
        grids = [
            self.scorer_.inside(level.map_of(one.grids[own]).to(device))
            for level, one in zip(levels, calibrated, strict=True)
        ]
        if around is not None:
            assert self.scorer_.surround is not None
            places = around.map[own].to(device)
            grids = [self.scorer_.surround.onto(grid, places) for grid in grids]
        maps = self.scorer_.maps(grids, HEAT_SIZE)[1].cpu().numpy()
        return {chosen[row]: anomaly_map for row, anomaly_map in zip(rows, maps, strict=True)}


class PatchDetector(EnsembleDetector):
    """The patch level alone; see `EnsembleDetector`."""

    only = "patch"


class ImageDetector(EnsembleDetector):
    """The image level alone; see `EnsembleDetector`."""

    only = "image"
