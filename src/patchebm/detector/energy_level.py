"""Levels whose energies are fitted one by one, and what the values of these mean among normal images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from patchebm.detector.fit_task import FitTask
from patchebm.detector.kept_maps import KeptEvidence
from patchebm.detector.level import Calibrated, Level, TrainingSet, Values, under
from patchebm.detector.positions import PositionStandardiser
from patchebm.energy import Energy
from patchebm.energy.fused import Evidence


class EnergyLevel(Level):
    """The base of levels whose energies are fitted one by one, each without one fold of the images.

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
        super().__init__(name, config, seed)
        self.energies = nn.ModuleList()
        for buffer in self.CALIBRATION:
            self.register_buffer(buffer, None)

    @abstractmethod
    def fit_energy(self, training: TrainingSet, task: FitTask) -> Energy:
        """Fit one energy on the images that the task chooses."""

    @abstractmethod
    def use(self, energies: Sequence[Energy]) -> None:
        """Score by these energies from now on."""

    @abstractmethod
    def restore_energy(self, tensors: Mapping[str, Tensor]) -> Energy:
        """Build an energy of this level again from what `state_dict` of it gave."""

    def fit(
        self,
        training: TrainingSet,
        *,
        members: int,
        refit: bool,
        folder: Path | None,
        device: torch.device,
    ) -> Calibrated:
        """Fit `members` energies, each without one fold, and the statistics of the folds left out."""
        energies: list[Energy] = []
        held_out, damaged = KeptEvidence(), KeptEvidence()
        scored: list[int] = []
        fits = members + refit
        for fold in range(members):
            label = f"{fold + 1}/{fits}" if fits > 1 else ""
            energies.append(self._fit_one(training, fold, label, folder, device))
            self.use(energies[-1:])
            for i in map(int, np.flatnonzero(training.folds == fold)):
                view = training.held_out[i]
                if view is not None:
                    scored.append(i)
                    held_out.add(i, self.held_out_on_cpu(view, device))
                    for one in training.damaged[i]:
                        if one.kind != "learn":
                            damaged.add(i, self.held_out_on_cpu(one.view, device))
        if refit:
            energies = [self._fit_one(training, None, f"{fits}/{fits}", folder, device)]
        self.use(energies)
        scored.sort()
        calibrated = self.calibrate([one for i in scored for one in held_out.of(i)])
        found = [float(self.score(one)) for i in scored for one in damaged.of(i)]
        self.to(device)
        return calibrated._replace(damaged=np.array(found))

    def calibrate(self, evidence: Sequence[Evidence]) -> Calibrated:
        """Learn from good images that the energies were not fitted on what is common at each position."""
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
        grids = torch.from_numpy(heat).float().view(-1, *cells.shape[2:])
        return Calibrated((scores - mean) / std, grids)

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

    def score(self, evidence: Evidence) -> Tensor:
        """Return the calibrated score: the mean of the largest standardised values."""
        values = (evidence.components * self.scale).sum(1) + self.shift
        flat = values.flatten(1)
        top = torch.topk(flat, min(self.top, int(flat.shape[1])), dim=1, sorted=False).values.mean(1)
        return (top - self.mean) / self.std

    def map(self, evidence: Evidence) -> Tensor:
        """Return the standardised cells as a map."""
        cells = evidence.cells
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
        return self.fit_energy(training, self.task(training, left_out, label, folder, device))


def average(evidence: Sequence[Evidence]) -> Evidence:
    """Return the mean of what several energies say."""
    if len(evidence) == 1:
        return evidence[0]
    cells = [one.cells for one in evidence if one.cells is not None]
    components = torch.stack([one.components for one in evidence]).mean(0)
    return Evidence(components, torch.stack(cells).mean(0) if cells else None)


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
