"""One level of a detector: views, member energies, and what normal images score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d, pad

from patchebm.config.schema import Config, ImageConfig, Level, PatchConfig
from patchebm.detector.feature_member import FeatureTask, fit_feature_member
from patchebm.detector.folds import assign_folds
from patchebm.detector.member import MemberTask, fit_member
from patchebm.detector.member_state import member_from_state, member_state
from patchebm.detector.positions import PositionStandardiser
from patchebm.detector.scoring import Member, image_components, local_maps
from patchebm.features.cells import CellViews
from patchebm.features.views import ImageViews, PatchViews, PixelViews, Resized, Views

Values = NDArray[np.float64]

# Held-out images whose maps say what heat good parts show.
MAP_IMAGES = 32


@dataclass(frozen=True)
class TrainingSet:
    """Good images as one level sees them.

    Attributes:
        drawn: what to fit on, for each image: resized for drawing training views, or `(n, C, h, w)` views
            of features.
        scored: resized for scoring; None for those that are only fitted on.
        groups: `(N,)` the physical object of each.
        folds: `(N,)` outer fold of each.
    """

    drawn: list[Resized | Tensor]
    scored: list[Tensor | None]
    groups: list[str]
    folds: NDArray[np.int64]

    @property
    def images(self) -> list[Tensor]:
        """Those that are scored."""
        return [image for image in self.scored if image is not None]

    def expand(self, channels: int) -> None:
        """Turn grey images among colour ones into colour."""
        for i, (drawn, scored) in enumerate(zip(self.drawn, self.scored, strict=True)):
            if isinstance(drawn, Resized) and scored is not None:
                self.drawn[i] = drawn._replace(pixels=drawn.pixels.expand(channels, -1, -1))
                self.scored[i] = scored.expand(channels, -1, -1)


class Judged(NamedTuple):
    """What energies say of one image, before calibration.

    Attributes:
        components: `(G, K)` float64 of each grid position.
        where: `(P, K')` float64, what is odd at each place of the map: the components, or, where the level
            sees the whole image as one view, what its energies say of pixels or cells, if asked for.
    """

    components: Tensor
    where: Tensor | None


class Calibrated(NamedTuple):
    """What good images show that the energies were not fitted on.

    Attributes:
        scores: `(N,)`, mean 0 and standard deviation 1.
        heat: maps `(h, w)` float64 of at most `MAP_IMAGES` of them.
    """

    scores: Values
    heat: list[Tensor]


class LevelModel:
    """The patch level or the image level; the latter is a grid with one position, the whole image.

    Args:
        name: `patch` or `image`.
        config: of the whole run.
        channels: of what the level sees: 1 or 3 of images, or those of feature maps.
    """

    members_: list[Member]
    standardisers_: list[PositionStandardiser]
    map_standardisers_: list[PositionStandardiser]
    mean_: float
    std_: float

    def __init__(self, name: Level, config: Config, channels: int) -> None:
        self.name = name
        self.config: PatchConfig | ImageConfig = config.patch if name == "patch" else config.image
        self.seed = config.seed
        self.channels = channels
        self.on_features = config.features.backbone is not None
        self.views: Views
        if isinstance(self.config, ImageConfig):
            self.views = ImageViews(self.config.view, least=1 if self.on_features else 8)
        elif self.on_features:
            self.views = CellViews(config.features.grid)
        else:
            energy = self.config.energy
            with_slots = energy.kind != "network" and energy.gaussian.per_position
            self.views = PatchViews(self.config.view, on_grid=with_slots)

    def for_training(self, image: Tensor, cells: int, generator: torch.Generator) -> Resized | Tensor:
        """What is kept of an image, or of its map of features, `(C, H, W)` to fit on.

        Args:
            image: as the level sees it.
            cells: how many cells of features to keep of it, on average.
            generator: draws them.

        Raises:
            ImageError: an image smaller than a patch.
        """
        if isinstance(self.views, CellViews):
            return self.views.sample(image, cells, generator).half()
        if self.on_features:
            view = self.views.for_scoring(image)[None]
            share = cells / (view.shape[2] * view.shape[3])
            kept = share >= 1 or float(torch.rand((), generator=generator)) < share
            return view if kept else view[:0]
        return self._pixel_views().for_training(image)

    def for_calibration(self, image: Tensor) -> Tensor:
        """What is kept of an image, or of its map of features, to score it later."""
        scored = self.views.for_scoring(image)
        # Half precision moves an energy by far less than images differ, and halves the memory.
        return scored.half() if isinstance(self.views, CellViews) else scored

    def fit(self, training: TrainingSet, *, members: int, refit: bool, folder: Path | None) -> Calibrated:
        """Fit `members` energies, each without one fold, and the statistics of the folds left out.

        Args:
            training: good images.
            members: folds that are left out once each.
            refit: score new images by one more energy, fitted on all images, instead of by the mean
                over the members.
            folder: for checkpoints and logs.

        Returns:
            What the scored images in the first `members` folds show, each by the energy that did not see
            it, in the order of the images.

        Raises:
            TrainingError: an energy diverged for good, or a checkpoint cannot be read.
        """
        self.members_ = []
        judged: dict[int, Judged] = {}
        fits = members + refit
        for fold in range(members):
            member = self._fit_one(training, fold, f"{fold + 1}/{fits}" if fits > 1 else "", folder)
            self.members_.append(member)
            for i in np.flatnonzero(training.folds == fold):
                seen = training.scored[i]
                if seen is not None:
                    judged[int(i)] = self.judge([seen], [member])[0]
        if refit:
            self.members_ = [self._fit_one(training, None, f"{fits}/{fits}", folder)]
        return self.calibrate([judged[i] for i in sorted(judged)])

    def judge(
        self, scored: list[Tensor], members: list[Member] | None = None, *, where: bool = True
    ) -> list[Judged]:
        """What energies say of images resized for scoring, before calibration.

        Args:
            scored: the images.
            members: whose mean counts; None takes those that score new images.
            where: whether maps are wanted.
        """
        members = self.members_ if members is None else members
        components = self._components(members, scored)
        if self.views.positions > 1 or not where:
            return [Judged(c, c if where else None) for c in components]
        maps = torch.stack([local_maps(member, scored) for member in members]).mean(0)
        return [Judged(c, m.view(-1, 1)) for c, m in zip(components, maps, strict=True)]

    def calibrate(self, judged: list[Judged]) -> Calibrated:
        """Learn from good images that the energies were not fitted on what is common at each position."""
        score = self.config.score
        self.standardisers_, left_out = _fit_left_out(
            _stacked([one.components for one in judged]), score.standardise_positions
        )
        self.map_standardisers_, heat = _fit_left_out(
            _stacked([one.where for one in judged]), score.map_positions
        )
        scores = self._top(left_out)
        self.mean_ = float(scores.mean())
        # Two identical normals have no spread: then any other score is far beyond them.
        self.std_ = max(float(scores.std(ddof=1)), 1e-6 * max(1.0, abs(self.mean_)))
        return Calibrated((scores - self.mean_) / self.std_, self._as_maps(heat[:MAP_IMAGES]))

    def scores(self, judged: list[Judged]) -> Values:
        """Scores `(N,)` of images; 0 and 1 are mean and spread of good parts."""
        values = _standardised(_stacked([one.components for one in judged]), self.standardisers_)
        return (self._top(values) - self.mean_) / self.std_

    def heat_maps(self, judged: list[Judged]) -> list[Tensor]:
        """A map `(H, W)` float64 of each image at the size at which it is scored."""
        return self._as_maps(_standardised(_stacked([one.where for one in judged]), self.map_standardisers_))

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Everything fitted, as JSON facts and tensors."""
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {"mean": self.mean_, "std": self.std_, "members": []}
        for i, member in enumerate(self.members_):
            member_facts, member_tensors = member_state(member)
            facts["members"].append(member_facts)
            tensors |= {f"member{i}.{name}": tensor for name, tensor in member_tensors.items()}
        for name, standardisers in (("position", self.standardisers_), ("map", self.map_standardisers_)):
            for k, standardiser in enumerate(standardisers):
                tensors[f"{name}{k}.mean"] = torch.from_numpy(standardiser.mean_)
                tensors[f"{name}{k}.std"] = torch.from_numpy(standardiser.std_)
        return facts, tensors

    def restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        self.mean_, self.std_ = float(facts["mean"]), float(facts["std"])
        self.members_ = []
        for i, member_facts in enumerate(facts["members"]):
            prefix = f"member{i}."
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            self.members_.append(member_from_state(self.config.energy, self.channels, member_facts, own))
        score = self.config.score
        self.standardisers_ = _restored("position", tensors, score.standardise_positions)
        self.map_standardisers_ = _restored("map", tensors, score.map_positions)

    def _pixel_views(self) -> PixelViews:
        assert isinstance(self.views, PatchViews | ImageViews)
        return self.views

    def _as_maps(self, values: Values) -> list[Tensor]:
        """Standardised values `(N, G)`, or `(N, h * w)` of whole views, as maps."""
        if self.views.positions > 1:
            return [self.views.spread_map(torch.from_numpy(row)) for row in values]
        return list(torch.from_numpy(values).view(-1, *self.views.view_size))

    def _fit_one(
        self, training: TrainingSet, left_out: int | None, which: str, folder: Path | None
    ) -> Member:
        """Fit an energy on all images but those of one fold, or on all."""
        number = int(training.folds.max()) + 1 if left_out is None else left_out
        kept = np.flatnonzero(training.folds != number)
        # Distinct for each member and level, and the same whatever else is fitted.
        entropy = [self.seed, number, self.views.positions]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        label = f"{self.name} {which}".strip()
        own_folder = folder / ("all" if left_out is None else f"member{left_out}") if folder else None
        if self.on_features:
            views = [v for i in kept if isinstance(v := training.drawn[i], Tensor)]
            return fit_feature_member(
                FeatureTask(label, self.config, torch.cat(views), len(kept), seed, own_folder)
            )
        groups = [training.groups[i] for i in kept]
        energy = fit_member(
            MemberTask(
                label=label,
                config=self.config,
                views=self._pixel_views(),
                images=[r for i in kept if isinstance(r := training.drawn[i], Resized)],
                folds=assign_folds(groups, max(2, int(training.folds.max())), np.random.default_rng(seed)),
                seed=seed,
                folder=own_folder,
            )
        )
        return Member(energy)

    def _components(self, members: list[Member], scored: list[Tensor]) -> Tensor:
        values = image_components(members, scored, self.views, self.config.score)
        side = self.config.score.smooth
        if side == 1 or self.views.positions == 1:
            return values
        return torch.stack([self._smooth(image, side) for image in values])

    def _smooth(self, values: Tensor, side: int) -> Tensor:
        """Smooth the grid of each component `(G, K)` with a Gaussian of a third of the window's side."""
        offsets = torch.arange(side, dtype=values.dtype) - side // 2
        weights = torch.exp(-0.5 * (offsets / (side / 3)).square())
        weights = (weights / weights.sum()).view(1, 1, side)
        maps = torch.stack([self.views.spread_map(column) for column in values.T])
        for _ in range(2):
            # Along the rows; transposed, and along the columns.
            flat = pad(maps.flatten(0, 1)[:, None], (side // 2, side // 2), mode="replicate")
            maps = conv1d(flat, weights).view(maps.shape).transpose(1, 2).contiguous()
        return maps.flatten(1).T

    def _top(self, values: Values) -> Values:
        top = min(self.config.score.top, values.shape[1])
        return np.asarray(np.sort(values, axis=1)[:, -top:].mean(1), dtype=np.float64)


def _stacked(parts: Sequence[Tensor | None]) -> Values:
    """Components `(N, G, K)` of images."""
    return np.stack([part.numpy() for part in parts if part is not None])


def _fit_left_out(components: Values, per_position: bool) -> tuple[list[PositionStandardiser], Values]:
    """A standardiser for each of the components `(N, G, K)`, and values of images that it did not see."""
    standardisers = [PositionStandardiser(per_position=per_position) for _ in range(components.shape[2])]
    left_out = [s.fit_transform_left_out(components[:, :, k]) for k, s in enumerate(standardisers)]
    return standardisers, _add(left_out)


def _standardised(components: Values, standardisers: list[PositionStandardiser]) -> Values:
    """Values `(N, G)` of components `(N, G, K)`."""
    return _add([s.transform(components[:, :, k]) for k, s in enumerate(standardisers)])


def _add(standardised: list[Values]) -> Values:
    """Sum of components, each of unit spread; divided so that the sum of independent ones has it too."""
    return np.asarray(sum(standardised) / len(standardised) ** 0.5, dtype=np.float64)


def _restored(name: str, tensors: dict[str, Tensor], per_position: bool) -> list[PositionStandardiser]:
    """The standardisers that `state` wrote under a name."""
    standardisers: list[PositionStandardiser] = []
    while f"{name}{len(standardisers)}.mean" in tensors:
        standardiser = PositionStandardiser(per_position=per_position)
        prefix = f"{name}{len(standardisers)}"
        standardiser.mean_ = tensors[f"{prefix}.mean"].numpy()
        standardiser.std_ = tensors[f"{prefix}.std"].numpy()
        standardisers.append(standardiser)
    return standardisers
