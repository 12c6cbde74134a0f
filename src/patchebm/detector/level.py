"""What all levels of a detector have in common: from what they are given of images to scores and maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from patchebm.detector.fit_task import FitTask
from patchebm.detector.kept_maps import KeptMaps
from patchebm.energy.fused import Evidence
from patchebm.energy.moments import MomentSums

Values = NDArray[np.float64]

NO_SCORES: Values = np.array([])


@dataclass(frozen=True)
class Damaged:
    """What one level keeps of a good image into which a synthetic defect was drawn.

    Attributes:
        view: as `Level.held_out_view` makes it.
        mask: `(h, w)` float16, the share of each cell of the extractor's grid that is damaged.
        extent: the longer side of the box around the damage, as a share of the side of what is inspected.
        kind: `learn` if networks may learn from it. The others weigh: those with one `local` defect the parts
            of a level, and those with one `global` defect levels as well.
        version: into which version of the image it was drawn; 0 is the image itself.
    """

    view: Tensor
    mask: Tensor
    extent: float
    kind: Literal["learn", "local", "global"]
    version: int = 0


@dataclass(frozen=True)
class KeptViews:
    """What one level keeps of good images.

    Attributes:
        views: what energies are fitted on, for each image.
        held_out: what is scored by the energy that was not fitted on it, for each image; None for images that
            are only fitted on.
        damaged: the same of synthetic defects drawn into the image, for each image that is held out.
        versions: the same of changed versions of the image, which stand for images that there are not; empty
            where there are enough.
        sums: what the level adds up of the images that are not held out; None if it fits on views.
    """

    views: list[Any]
    held_out: list[Tensor | None] | KeptMaps
    damaged: list[list[Damaged]]
    versions: list[list[Tensor]]
    sums: MomentSums | None = None

    def subset(self, chosen: Sequence[int]) -> KeptViews:
        """Return what was kept of some of the images; `sums` stay those of all."""
        held_out = self.held_out
        return KeptViews(
            [self.views[i] for i in chosen],
            held_out.subset(chosen) if isinstance(held_out, KeptMaps) else [held_out[i] for i in chosen],
            [self.damaged[i] for i in chosen],
            [self.versions[i] for i in chosen],
            self.sums,
        )

    def is_held_out(self, index: int) -> bool:
        """Say whether an image is scored by the energy that was not fitted on it."""
        held_out = self.held_out
        return held_out.has(index) if isinstance(held_out, KeptMaps) else held_out[index] is not None


@dataclass(frozen=True, kw_only=True)
class TrainingSet(KeptViews):
    """What one level keeps of good images, and which are held out together.

    Attributes:
        parts: `(N,)` the physical part that each image shows.
        folds: `(N,)` outer fold of each.
    """

    parts: list[str]
    folds: NDArray[np.int64]

    @classmethod
    def of(cls, kept: KeptViews, parts: list[str], folds: NDArray[np.int64]) -> TrainingSet:
        """Return what was kept, with parts and folds."""
        own = {field.name: getattr(kept, field.name) for field in fields(KeptViews)}
        return cls(**own, parts=parts, folds=folds)


class Calibrated(NamedTuple):
    """What good images show that the energies were not fitted on.

    Attributes:
        scores: `(N,)`, mean 0 and standard deviation 1.
        grids: `(N, h', w')`, of which `Level.map_of` makes maps.
        damaged: `(D,)`, the scores of the same images with synthetic defects that no network learned from;
            empty where levels are only calibrated.
    """

    scores: Values
    grids: Tensor
    damaged: Values = NO_SCORES


class LevelScores(NamedTuple):
    """What a level says of images.

    Attributes:
        score: `(B,)`; 0 and 1 are mean and standard deviation of good parts.
        map: `(B, h, w)`, the same for every place of the level's map; None where it was not asked for.
    """

    score: Tensor
    map: Tensor | None


class Level(nn.Module, ABC):
    """The base of all levels.

    Args:
        name: the level's name in the configuration.
        config: of the level.
        seed: of the run.
    """

    learns_damage: bool = False
    """Whether its network is trained against synthetic defects."""
    localises: bool = True
    """Whether its map has a part in the anomaly map, where another level has one, too."""
    positions: int
    """Number of places of its map that are told apart."""
    devices: int = 1
    """How many devices its network is trained on."""

    def __init__(self, name: str, config: Any, seed: int) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.seed = seed

    @abstractmethod
    def training_views(self, image: Tensor, cells: int, generator: torch.Generator) -> Any:
        """Return what is kept of an image to fit on.

        Args:
            image: `(C, H, W)`: the image in [-1, 1], or its joined map of features.
            cells: how many cells of features to keep of it, on average.
            generator: draws them.

        Raises:
            ImageError: an image that is too small for the level.
        """

    @abstractmethod
    def held_out_view(self, image: Tensor) -> Tensor:
        """Return what is kept of an image `(C, H, W)` to score it later."""

    def new_sums(self, device: torch.device) -> MomentSums | None:
        """Return what adds up, on a device, images that are not held out; None if the level fits on views."""
        del device
        return None

    @abstractmethod
    def fit(
        self,
        training: TrainingSet,
        *,
        members: int,
        refit: bool,
        folder: Path | None,
        device: torch.device,
    ) -> Calibrated:
        """Fit energies, and what their values mean among images that they were not fitted on.

        Args:
            training: what the level kept of good images.
            members: folds that are left out once each.
            refit: score new images by one more energy, fitted on all images, instead of by the mean over
                these.
            folder: for checkpoints and logs.
            device: where networks train and held-out images are scored; the level stays there.

        Returns:
            What the scored images in the first `members` folds show, each by the energy that was not fitted
            on it, in the order of the images.

        Raises:
            TrainingError: an energy diverged for good, or a checkpoint cannot be read.
        """

    @abstractmethod
    def evidence(self, inputs: Any, *, maps: bool = True) -> Evidence:
        """Return what the energies say of images, before calibration.

        Args:
            inputs: a batch, as the scorer prepares it.
            maps: whether cells are wanted.
        """

    @abstractmethod
    def held_out_evidence(self, views: Tensor) -> Evidence:
        """Return the same of a batch of what `held_out_view` kept."""

    @abstractmethod
    def calibrate(self, evidence: Sequence[Evidence]) -> Calibrated:
        """Learn from good images that the energies were not fitted on what is common.

        Args:
            evidence: of each image, on the CPU.
        """

    @abstractmethod
    def score(self, evidence: Evidence) -> Tensor:
        """Return the calibrated score `(B,)` of evidence."""

    @abstractmethod
    def map(self, evidence: Evidence) -> Tensor:
        """Return the calibrated map `(B, h, w)` of evidence that has cells."""

    def map_of(self, grid: Tensor) -> Tensor:
        """Turn a value for each position `(B, h, w)` into a map; by default the grid is the map."""
        return grid

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """Return everything fitted, by name."""

    @abstractmethod
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave. Raises KeyError, ValueError or RuntimeError if it does not fit."""

    def forward(self, inputs: Any, *, maps: bool = True) -> LevelScores:
        """Score a batch of images."""
        evidence = self.evidence(inputs, maps=maps)
        return LevelScores(self.score(evidence), self.map(evidence) if maps else None)

    def held_out_on_cpu(self, view: Tensor, device: torch.device) -> Evidence:
        """Return the evidence of one image that was held out, found on a device, on the CPU."""
        self.to(device)
        with torch.no_grad():
            return on_cpu(self.held_out_evidence(view[None].to(device)))

    def task(
        self,
        training: TrainingSet,
        left_out: int | None,
        label: str,
        folder: Path | None,
        device: torch.device,
    ) -> FitTask:
        """Return what decides a fit on all images but those of one fold, or on all."""
        number = int(training.folds.max()) + 1 if left_out is None else left_out
        # Distinct for each energy and level, and the same whatever else is fitted.
        entropy = [self.seed, number, self.positions]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        own_folder = folder / ("all" if left_out is None else f"member{left_out}") if folder else None
        chosen = np.flatnonzero(training.folds != number)
        return FitTask(chosen, seed, f"{self.name} {label}".strip(), own_folder, device, self.devices)


def on_cpu(evidence: Evidence) -> Evidence:
    """Return the evidence on the CPU."""
    return Evidence(evidence.components.cpu(), None if evidence.cells is None else evidence.cells.cpu())


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
