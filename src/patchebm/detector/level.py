"""A level of a detector: energies, and what their values mean among normal images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from patchebm.detector.fit_task import FitTask
from patchebm.detector.positions import PositionStandardiser
from patchebm.energy import Energy
from patchebm.energy.fused import Evidence

Values = NDArray[np.float64]

# Held-out images whose maps say what heat good parts show.
MAX_MAPS = 32


@dataclass(frozen=True)
class KeptViews:
    """What one level keeps of good images.

    Attributes:
        views: what energies are fitted on, for each image.
        held_out: what is scored by the energy that was not fitted on it, for each image; None for images that
            are only fitted on.
    """

    views: list[Any]
    held_out: list[Tensor | None]


@dataclass(frozen=True)
class TrainingSet(KeptViews):
    """What one level keeps of good images, and which are held out together.

    Attributes:
        parts: `(N,)` the physical part that each image shows.
        folds: `(N,)` outer fold of each.
    """

    parts: list[str]
    folds: NDArray[np.int64]


class Calibrated(NamedTuple):
    """What good images show that the energies were not fitted on.

    Attributes:
        scores: `(N,)`, mean 0 and standard deviation 1.
        maps: `(M, h, w)` of at most `MAX_MAPS` of them.
    """

    scores: Values
    maps: Tensor


class LevelScores(NamedTuple):
    """What a level says of images.

    Attributes:
        score: `(B,)`; 0 and 1 are mean and standard deviation of good parts.
        map: `(B, h, w)`, the same for every place of the level's map; None where it was not asked for.
    """

    score: Tensor
    map: Tensor | None


class Level(nn.Module, ABC):
    """The base of all levels: from what the level is given of images to their scores and maps.

    Args:
        name: the level's name in the configuration.
        config: of the level.
        seed: of the run.

    Attributes:
        energies: fitted; the mean of their evidence counts.
        top: the score is the mean of so many largest values.
    """

    standardise_positions: bool
    map_positions: bool
    top: int = 1
    positions: int
    """Number of places that are standardised each by its own mean and standard deviation."""

    # Affine functions that standardise evidence: `(1, K, h, w)` and `(h, w)`, the sum over K included.
    scale: Tensor
    shift: Tensor
    map_scale: Tensor
    map_shift: Tensor
    # Mean and standard deviation of the scores of good images, `()`.
    mean: Tensor
    std: Tensor
    CALIBRATION: ClassVar[tuple[str, ...]] = ("scale", "shift", "map_scale", "map_shift", "mean", "std")

    def __init__(self, name: str, config: Any, seed: int) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.seed = seed
        self.energies = nn.ModuleList()
        for buffer in self.CALIBRATION:
            self.register_buffer(buffer, None)

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

    @abstractmethod
    def fit_energy(self, training: TrainingSet, task: FitTask) -> Energy:
        """Fit one energy on the images that the task chooses."""

    @abstractmethod
    def use(self, energies: Sequence[Energy]) -> None:
        """Score by these energies from now on."""

    @abstractmethod
    def evidence(self, inputs: Any, *, maps: bool = True) -> Evidence:
        """Return what the energies say of images, averaged over them, before calibration.

        Args:
            inputs: a batch, as the scorer prepares it.
            maps: whether cells are wanted.
        """

    @abstractmethod
    def held_out_evidence(self, views: Tensor) -> Evidence:
        """Return the same of a batch of what `held_out_view` kept."""

    @abstractmethod
    def restore_energy(self, tensors: Mapping[str, Tensor]) -> Energy:
        """Build an energy of this level again from what `state_dict` of it gave."""

    def map_of(self, grid: Tensor) -> Tensor:
        """Turn a value for each position `(B, h, w)` into a map; by default the grid is the map."""
        return grid

    def forward(self, inputs: Any, *, maps: bool = True) -> LevelScores:
        """Score a batch of images."""
        evidence = self.evidence(inputs, maps=maps)
        return LevelScores(self._score(evidence), self._map(evidence.cells) if maps else None)

    def fit(
        self,
        training: TrainingSet,
        *,
        members: int,
        refit: bool,
        folder: Path | None,
        device: torch.device,
    ) -> Calibrated:
        """Fit `members` energies, each without one fold, and the statistics of the folds left out.

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
        energies: list[Energy] = []
        held_out: dict[int, Evidence] = {}
        fits = members + refit
        for fold in range(members):
            label = f"{fold + 1}/{fits}" if fits > 1 else ""
            energies.append(self._fit_one(training, fold, label, folder, device))
            self.use(energies[-1:])
            self.to(device)
            for i in np.flatnonzero(training.folds == fold):
                view = training.held_out[i]
                if view is not None:
                    with torch.no_grad():
                        evidence = self.held_out_evidence(view[None].to(device))
                    held_out[int(i)] = on_cpu(evidence)
        if refit:
            energies = [self._fit_one(training, None, f"{fits}/{fits}", folder, device)]
        self.use(energies)
        calibrated = self.calibrate([held_out[i] for i in sorted(held_out)])
        self.to(device)
        return calibrated

    def calibrate(self, evidence: Sequence[Evidence]) -> Calibrated:
        """Learn from good images that the energies were not fitted on what is common at each position.

        Args:
            evidence: of each image, on the CPU.
        """
        components = torch.cat([one.components for one in evidence])
        cells = torch.cat([one.cells for one in evidence if one.cells is not None])
        self.scale, self.shift, left_out = _standardise(components, self.standardise_positions)
        self.map_scale, self.map_shift, heat = _standardise(cells, self.map_positions)
        top = min(self.top, left_out.shape[1])
        scores = np.sort(left_out, axis=1)[:, -top:].mean(1)
        mean = float(scores.mean())
        # Two identical normals have no spread: then any other score is far beyond them.
        std = max(float(scores.std(ddof=1)), 1e-6 * max(1.0, abs(mean)))
        self.mean, self.std = torch.tensor(mean).float(), torch.tensor(std).float()
        maps = torch.from_numpy(heat[:MAX_MAPS]).float().view(-1, *cells.shape[2:])
        return Calibrated((scores - mean) / std, self.map_of(maps))

    def state(self) -> dict[str, Tensor]:
        """Return everything fitted, by name."""
        tensors = {name: getattr(self, name) for name in self.CALIBRATION}
        for i, energy in enumerate(self.energies):
            tensors |= {f"energy{i}.{name}": tensor for name, tensor in energy.state_dict().items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        for name in self.CALIBRATION:
            setattr(self, name, tensors[name])
        if self.shift.numel() != self.positions:
            raise ValueError(f"{self.name} was calibrated on {self.shift.numel()} positions")
        energies: list[Energy] = []
        while own := under(f"energy{len(energies)}.", tensors):
            energies.append(self.restore_energy(own))
            if energies[-1].state_dict().keys() != own.keys():
                raise ValueError(f"{self.name} has the tensors of another kind of energy")
        self.use(energies)

    def _score(self, evidence: Evidence) -> Tensor:
        values = (evidence.components * self.scale).sum(1) + self.shift
        flat = values.flatten(1)
        top = torch.topk(flat, min(self.top, int(flat.shape[1])), dim=1, sorted=False).values.mean(1)
        return (top - self.mean) / self.std

    def _map(self, cells: Tensor | None) -> Tensor:
        assert cells is not None
        return self.map_of((cells * self.map_scale).sum(1) + self.map_shift)

    def _fit_one(
        self,
        training: TrainingSet,
        left_out: int | None,
        label: str,
        folder: Path | None,
        device: torch.device,
    ) -> Energy:
        """Fit an energy on all images but those of one fold, or on all."""
        number = int(training.folds.max()) + 1 if left_out is None else left_out
        # Distinct for each energy and level, and the same whatever else is fitted.
        entropy = [self.seed, number, self.positions]
        seed = int(np.random.SeedSequence(entropy).generate_state(1)[0])
        own_folder = folder / ("all" if left_out is None else f"member{left_out}") if folder else None
        chosen = np.flatnonzero(training.folds != number)
        task = FitTask(chosen, seed, f"{self.name} {label}".strip(), own_folder, device)
        return self.fit_energy(training, task)


def average(evidence: Sequence[Evidence]) -> Evidence:
    """Return the mean of what several energies say."""
    if len(evidence) == 1:
        return evidence[0]
    cells = [one.cells for one in evidence if one.cells is not None]
    components = torch.stack([one.components for one in evidence]).mean(0)
    return Evidence(components, torch.stack(cells).mean(0) if cells else None)


def on_cpu(evidence: Evidence) -> Evidence:
    """Return the evidence on the CPU."""
    return Evidence(evidence.components.cpu(), None if evidence.cells is None else evidence.cells.cpu())


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _standardise(components: Tensor, per_position: bool) -> tuple[Tensor, Tensor, Values]:
    """Learn the affine function that standardises components `(N, K, h, w)` and adds them up.

    The sum is divided so that the sum of independent components has unit spread, too.

    Returns:
        Factors `(1, K, h, w)`, the shift `(h, w)` of the sum, and the sums `(N, h * w)` of each image by the
        statistics of the other images.
    """
    n, k, *grid = components.shape
    values = components.double().flatten(2).numpy()
    standardisers = [PositionStandardiser(per_position=per_position) for _ in range(k)]
    left_out = [s.fit_transform_left_out(values[:, i]) for i, s in enumerate(standardisers)]
    shape = (1, values.shape[2])
    std = np.stack([np.broadcast_to(s.std_, shape)[0] for s in standardisers])
    mean = np.stack([np.broadcast_to(s.mean_, shape)[0] for s in standardisers])
    scale = 1 / (std * k**0.5)
    shift = -(mean * scale).sum(0)
    return (
        torch.from_numpy(scale).float().view(1, k, *grid),
        torch.from_numpy(shift).float().view(*grid),
        np.asarray(sum(left_out) / k**0.5, dtype=np.float64).reshape(n, -1),
    )
