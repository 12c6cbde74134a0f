"""One level of a detector: views, member energies, and what normal pictures score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from patchebm.calibration.folds import assign_folds
from patchebm.calibration.positions import PositionStandardiser
from patchebm.config import ImageConfig, Level, PatchConfig
from patchebm.data.views import ImageViews, PatchViews, Resized, Views
from patchebm.detector.member import MemberTask, fit_member
from patchebm.detector.member_state import member_from_state, member_state
from patchebm.detector.scoring import gradient_maps, picture_components
from patchebm.energy import Energy

Values = NDArray[np.float64]


@dataclass(frozen=True)
class TrainingSet:
    """Good pictures as one level sees them.

    Attributes:
        drawn: resized for drawing training views.
        scored: resized for scoring.
        groups: `(N,)` the physical object of each.
        folds: `(N,)` outer fold of each.
    """

    drawn: list[Resized]
    scored: list[Tensor]
    groups: list[str]
    folds: NDArray[np.int64]


class LevelModel:
    """The patch level or the image level; the latter is a grid with one position, the whole picture.

    Args:
        name: `patch` or `image`.
        config: of that level.
        channels: of the pictures, 1 or 3.
    """

    members_: list[Energy]
    standardisers_: list[PositionStandardiser]
    mean_: float
    std_: float
    map_standardiser_: PositionStandardiser | None

    def __init__(self, name: Level, config: PatchConfig | ImageConfig, channels: int) -> None:
        self.name = name
        self.config = config
        self.channels = channels
        self.views: Views
        if isinstance(config, PatchConfig):
            with_slots = config.energy.kind != "network" and config.energy.gaussian.per_position
            self.views = PatchViews(config.view, on_grid=with_slots)
        else:
            self.views = ImageViews(config.view)

    def fit(self, training: TrainingSet, *, members: int, seed: int, folder: Path | None) -> Values:
        """Fit `members` energies, each without one fold, and the statistics of the folds left out.

        Returns:
            `(M,)` scores of the pictures in the first `members` folds, each by the energy that did not
            see it, in the order of the pictures; mean 0 and standard deviation 1.

        Raises:
            TrainingError: an energy diverged for good, or a checkpoint cannot be read.
        """
        self.members_ = []
        components: list[Tensor | None] = [None] * len(training.scored)
        maps: list[Tensor | None] = [None] * len(training.scored)
        for fold in range(members):
            kept = np.flatnonzero(training.folds != fold)
            held = np.flatnonzero(training.folds == fold)
            energy = fit_member(self._task(training, kept, fold, members, seed, folder))
            self.members_.append(energy)
            held_out = [training.scored[i] for i in held]
            for i, values in zip(held, self._components(energy, held_out), strict=True):
                components[i] = values
            if self.views.positions == 1:
                for i, values in zip(held, gradient_maps(energy, held_out), strict=True):
                    maps[i] = values
        return self._calibrate([c for c in components if c is not None], [m for m in maps if m is not None])

    def pool(self, values: Values) -> Values:
        """Scores `(N,)` from `position_values`; 0 and 1 are mean and spread of good parts."""
        return (self._top(values) - self.mean_) / self.std_

    def position_values(self, scored: list[Tensor]) -> Values:
        """Standardised values `(N, G)` of each grid position."""
        mean = torch.stack([self._components(energy, scored) for energy in self.members_]).mean(0).numpy()
        return _add(
            [s.transform(mean[:, :, k]) for k, s in enumerate(self.standardisers_)],
        )

    def heat_maps(self, scored: list[Tensor], values: Values) -> list[Tensor]:
        """A map `(H, W)` float64 of each picture at the size at which it is scored.

        Args:
            scored: pictures resized for scoring.
            values: their `position_values`.
        """
        if self.map_standardiser_ is None:
            return [self.views.spread_map(torch.from_numpy(row)) for row in values]
        raw = torch.stack([gradient_maps(energy, scored) for energy in self.members_]).mean(0).numpy()
        flat = self.map_standardiser_.transform(raw.reshape(len(raw), -1))
        return list(torch.from_numpy(flat).view(-1, *self.views.view_size))

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Everything fitted, as JSON facts and tensors."""
        tensors: dict[str, Tensor] = {}
        facts: dict[str, Any] = {"mean": self.mean_, "std": self.std_, "members": []}
        for i, energy in enumerate(self.members_):
            member_facts, member_tensors = member_state(energy)
            facts["members"].append(member_facts)
            tensors |= {f"member{i}.{name}": tensor for name, tensor in member_tensors.items()}
        standardisers = {f"position{k}": s for k, s in enumerate(self.standardisers_)}
        if self.map_standardiser_ is not None:
            standardisers["map"] = self.map_standardiser_
        for name, standardiser in standardisers.items():
            tensors[f"{name}.mean"] = torch.from_numpy(standardiser.mean_)
            tensors[f"{name}.std"] = torch.from_numpy(standardiser.std_)
        return facts, tensors

    def restore(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        self.mean_, self.std_ = float(facts["mean"]), float(facts["std"])
        self.members_ = []
        for i, member_facts in enumerate(facts["members"]):
            prefix = f"member{i}."
            own = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
            self.members_.append(member_from_state(self.config.energy, self.channels, member_facts, own))
        components = sum(name.startswith("position") and name.endswith(".mean") for name in tensors)
        self.standardisers_ = [self._standardiser(f"position{k}", tensors) for k in range(components)]
        self.map_standardiser_ = self._standardiser("map", tensors) if "map.mean" in tensors else None

    def _standardiser(self, name: str, tensors: dict[str, Tensor]) -> PositionStandardiser:
        standardiser = PositionStandardiser(per_position=self.config.score.standardise_positions)
        standardiser.mean_ = tensors[f"{name}.mean"].numpy()
        standardiser.std_ = tensors[f"{name}.std"].numpy()
        return standardiser

    def _task(
        self,
        training: TrainingSet,
        kept: NDArray[np.int64],
        fold: int,
        members: int,
        seed: int,
        folder: Path | None,
    ) -> MemberTask:
        # Distinct for each member and level, and the same whatever else is fitted.
        own_seed = int(np.random.SeedSequence([seed, fold, self.views.positions]).generate_state(1)[0])
        groups = [training.groups[i] for i in kept]
        inner = assign_folds(groups, int(training.folds.max()), np.random.default_rng(own_seed))
        return MemberTask(
            label=self.name if members == 1 else f"{self.name} {fold + 1}/{members}",
            config=self.config,
            views=self.views,
            pictures=[training.drawn[i] for i in kept],
            folds=inner,
            seed=own_seed,
            folder=None if folder is None else folder / f"member{fold}",
        )

    def _components(self, energy: Energy, scored: list[Tensor]) -> Tensor:
        return picture_components(energy, scored, self.views, self.config.score)

    def _top(self, values: Values) -> Values:
        top = min(self.config.score.top, values.shape[1])
        return np.asarray(np.sort(values, axis=1)[:, -top:].mean(1), dtype=np.float64)

    def _calibrate(self, components: list[Tensor], maps: list[Tensor]) -> Values:
        values = torch.stack(components).numpy()
        per_position = self.config.score.standardise_positions
        self.standardisers_ = [
            PositionStandardiser(per_position=per_position) for _ in range(values.shape[2])
        ]
        left_out = _add(
            [s.fit_transform_left_out(values[:, :, k]) for k, s in enumerate(self.standardisers_)]
        )
        scores = self._top(left_out)
        self.mean_ = float(scores.mean())
        # Two identical normals have no spread: then any other score is far beyond them.
        self.std_ = max(float(scores.std(ddof=1)), 1e-6 * max(1.0, abs(self.mean_)))
        self.map_standardiser_ = None
        if maps:
            flat = torch.stack(maps).flatten(1).numpy()
            self.map_standardiser_ = PositionStandardiser().fit(flat)
        return (scores - self.mean_) / self.std_


def _add(standardised: list[Values]) -> Values:
    """Sum of components, each of unit spread; divided so that the sum of independent ones has it too."""
    return np.asarray(sum(standardised) / len(standardised) ** 0.5, dtype=np.float64)
