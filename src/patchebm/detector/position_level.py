"""The position level: a Gaussian for every position, and a network trained against synthetic defects."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from patchebm.detector.kept_maps import KeptCells, KeptEvidence
from patchebm.detector.level import (
    Calibrated,
    Level,
    TrainingSet,
    Values,
    under,
)
from patchebm.detector.network_cells import MAX_RESIDUAL, FoldGaussians, draw_cells
from patchebm.detector.weights import detection_weights
from patchebm.energy import ResidualEnergy
from patchebm.energy.fused import Evidence, positive_log
from patchebm.energy.moments import BATCH, SHIFT_IMAGES, Moments, MomentSums, shift_of
from patchebm.energy.position_gaussian import PositionGaussian, zones_for
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.joining import smoother
from patchebm.images.folds import assign_folds

if TYPE_CHECKING:
    from patchebm.config.features import FeaturePositionConfig


class _Found(NamedTuple):
    """What one component of the score says of good images that were held out, and of damaged ones."""

    good: KeptEvidence
    damaged: KeptEvidence


class PositionLevel(Level):
    """Scores each position of the grid by its own Gaussian, and by a network of the Gaussian's residuals.

    The score of an image is the weighted sum of what both find, each the mean of its largest smoothed values
    above a share of the mean of all, in standard deviations of good images. The weights are those of
    `detection_weights`, so that a network counts as far as it finds synthetic defects in images that it was
    not trained on.

    Args:
        name: the level's name in the configuration.
        config: of the level.
        seed: of the run.
        extractor: gives the maps.
    """

    config: FeaturePositionConfig
    mean: Tensor
    std: Tensor
    component_mean: Tensor
    component_std: Tensor
    component_weights: Tensor
    map_weights: Tensor
    map_mean: Tensor
    map_std: Tensor
    CALIBRATION = (
        "mean",
        "std",
        "component_mean",
        "component_std",
        "component_weights",
        "map_weights",
        "map_mean",
        "map_std",
    )

    def __init__(
        self, name: str, config: FeaturePositionConfig, seed: int, extractor: FeatureExtractor
    ) -> None:
        super().__init__(name, config, seed)
        self.grid = extractor.grid
        self.positions = self.grid[0] * self.grid[1]
        self.zones = zones_for(self.grid, config.zones)
        self.learns_damage = config.network is not None
        # The Gaussian, and the network if there is one.
        self.components = 1 if config.network is None else 2
        self.join = extractor.fused_join(self.grid)
        # Three standard deviations on each side.
        side = 2 * max(1, int(3 * config.smooth)) + 1
        self.smooth = smoother(self.grid, side, config.smooth) if config.smooth else nn.Identity()
        self.gaussian: PositionGaussian | None = None
        self.network: ResidualEnergy | None = None
        for buffer in self.CALIBRATION:
            self.register_buffer(buffer, None)

    def training_views(self, image: Tensor, cells: int, generator: torch.Generator) -> None:
        """Keep nothing beside what `held_out_view` keeps and `new_sums` adds up, on which all is fitted."""
        del image, cells, generator

    def held_out_view(self, image: Tensor) -> Tensor:
        """Return the joined map in half precision, which moves an energy by far less than images differ."""
        return image.half()

    def new_sums(self, device: torch.device) -> MomentSums:
        """Return what adds up the maps of images that are not held out, for the Gaussians."""
        return MomentSums(self.zones, device)

    def fit(
        self,
        training: TrainingSet,
        *,
        members: int,
        refit: bool,
        folder: Path | None,
        device: torch.device,
    ) -> Calibrated:
        """Fit Gaussians and networks to all images and, to learn what good ones score, without some.

        The Gaussians are held out in finer folds than those of other levels: the energy of an image that was
        held out grows with the number of images that were held out with it (by a share of about d / n for d
        channels and n images), and a threshold with it. New images are scored by fits to all.
        """
        del refit
        kept = [i for i in range(len(training.held_out)) if training.is_held_out(i)]
        scored = [i for i in kept if training.folds[i] < members]
        total, moments = self._moments(training, kept, device)
        self.gaussian = PositionGaussian.from_moments(total)

        def without(images: Sequence[int]) -> PositionGaussian:
            return PositionGaussian.from_moments(total, without=moments(images))

        found = [_Found(KeptEvidence(), KeptEvidence()) for _ in range(self.components)]
        self.to(device)

        def score(images: Sequence[int], gaussian: PositionGaussian, network: ResidualEnergy | None) -> None:
            own = found[0 if network is None else 1]

            def evidence(view: Tensor) -> Evidence:
                with torch.no_grad():
                    white = gaussian.residuals(view[None].to(device).float())
                    energies = _energies(white) if network is None else _network_energies(white, network)
                    smoothed = self.smooth(gaussian.on_grid(energies)).cpu()
                return Evidence(smoothed, smoothed)

            for i in images:
                view = training.held_out[i]
                assert view is not None
                own.good.add(i, evidence(view))
                for one in training.damaged[i]:
                    if one.kind != "learn":
                        own.damaged.add(i, evidence(one.view))

        for images in self._fine_folds(training, kept):
            own = [i for i in images if training.folds[i] < members]
            if own:
                score(own, without(images), None)
        if self.config.network is not None:
            folds = [
                [i for i in kept if training.folds[i] == k] for k in range(int(training.folds.max()) + 1)
            ]
            gaussians = FoldGaussians(total, folds, moments)
            cells = draw_cells(training, gaussians, members, self.seed)
            fits = members + 1
            for fold in [fold for fold in range(members) if folds[fold]]:
                network = self._network(training, cells[fold], fold, f"{fold + 1}/{fits}", folder, device)
                score(folds[fold], gaussians.without(fold), network)
            self.network = self._network(training, cells[None], None, f"{fits}/{fits}", folder, device)
        kinds = [one.kind for i in scored for one in training.damaged[i] if one.kind != "learn"]
        damaged = [one for i in scored for one in _joined([own.damaged.of(i) for own in found])]
        # Global defects are found by all components, and would hide how far these differ.
        local = [one for one, kind in zip(damaged, kinds, strict=True) if kind == "local"]
        ordered = [one for i in scored for one in _joined([own.good.of(i) for own in found])]
        weights = detection_weights(self._component_scores(ordered), self._component_scores(local))
        self.component_weights = torch.from_numpy(weights).float()
        calibrated = self.calibrate(ordered)
        scores = np.array([float(self.score(one)) for one in damaged])
        self.to(device)
        return calibrated._replace(damaged=scores)

    def evidence(self, inputs: Sequence[Tensor], *, maps: bool = True) -> Evidence:
        """Return the smoothed evidence `(B, K, h, w)` of the Gaussian and of the network."""
        del maps
        return self._evidence(self.join(inputs))

    def held_out_evidence(self, views: Tensor) -> Evidence:
        """Return the same of joined maps in half precision."""
        return self._evidence(views.float())

    def calibrate(self, evidence: Sequence[Evidence]) -> Calibrated:
        """Learn the mean and spread of each component's scores, of the level's scores, and of its map."""
        components = torch.from_numpy(self._component_scores(evidence))
        # The evidence is on the CPU, and the weights may come from an earlier fit on a device.
        self.component_weights = self.component_weights.cpu()
        # Two identical images have no spread: then any other score is far beyond them.
        self.component_mean = components.mean(0).float()
        self.component_std = components.std(0).clamp(min=1e-6).float()
        sums = torch.cat([self._sum(one) for one in evidence]).double()
        self.mean, self.std = sums.mean().float(), sums.std().clamp(min=1e-6).float()
        cells = torch.cat([one.cells for one in evidence if one.cells is not None])
        self.map_weights = self.component_weights / cells.std((0, 2, 3)).clamp(min=1e-6)
        weighted = self._weighted(cells)
        self.map_mean, self.map_std = weighted.mean(), weighted.std().clamp(min=1e-6)
        scores: Values = ((sums - self.mean) / self.std).numpy()
        return Calibrated(scores, torch.cat([self.map(one) for one in evidence]))

    def score(self, evidence: Evidence) -> Tensor:
        """Return the weighted sum of the components' scores, calibrated."""
        return (self._sum(evidence) - self.mean) / self.std

    def map(self, evidence: Evidence) -> Tensor:
        """Return the sum of the components' values, each counted as it counts in the score, calibrated."""
        assert evidence.cells is not None
        return (self._weighted(evidence.cells) - self.map_mean) / self.map_std

    def state(self) -> dict[str, Tensor]:
        """Return everything fitted, by name; the Gaussians in half precision."""
        assert self.gaussian is not None
        tensors = {name: getattr(self, name) for name in self.CALIBRATION}
        tensors |= {f"gaussian.{name}": tensor for name, tensor in self.gaussian.packed().items()}
        if self.network is not None:
            tensors |= {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave. Raises KeyError, ValueError or RuntimeError if it does not fit."""
        for name in self.CALIBRATION:
            setattr(self, name, tensors[name])
        self.gaussian = PositionGaussian.unpacked(under("gaussian.", tensors))
        if tuple(self.gaussian.mean.shape[1:]) != self.grid:
            raise ValueError(f"{self.name} was fitted on a grid of {tuple(self.gaussian.mean.shape[1:])}")
        if self.config.network is not None:
            self.network = ResidualEnergy.restore(self.config.network, under("network.", tensors)).eval()

    def _fine_folds(self, training: TrainingSet, kept: Sequence[int]) -> list[list[int]]:
        """Return the images of each of so many folds that little is left out with one."""
        parts = [training.parts[i] for i in kept]
        folds = assign_folds(parts, self.config.folds, np.random.default_rng(self.seed), single=True)
        return [[kept[int(k)] for k in np.flatnonzero(folds == fold)] for fold in range(int(folds.max()) + 1)]

    def _moments(
        self, training: TrainingSet, kept: Sequence[int], device: torch.device
    ) -> tuple[Moments, Callable[[Sequence[int]], Moments]]:
        """Add up all images, and return a function that adds up some of them.

        What is left out is added up again each time, since the sums of all folds together would take
        gigabytes.
        """

        def moments(images: Sequence[int]) -> Moments:
            added = Moments.empty(shift, self.grid, self.zones)
            # By the number of versions: an image counts as one, however many there are of it.
            waiting: dict[int, list[Tensor]] = {}
            for i in images:
                view = training.held_out[i]
                assert view is not None
                own = [view, *training.versions[i]]
                maps = waiting.setdefault(len(own), [])
                maps += own
                if len(maps) >= BATCH:
                    added.add(torch.stack(maps), 1 / len(own))
                    maps.clear()
            for number, maps in waiting.items():
                if maps:
                    added.add(torch.stack(maps), 1 / number)
            return added

        others = training.sums.moments() if training.sums is not None else None
        if others is None:
            views = (training.held_out[i] for i in kept[:SHIFT_IMAGES])
            shift = shift_of([view for view in views if view is not None]).to(device)
        else:
            shift = others.shift.to(device)
        total = Moments.empty(shift, self.grid, self.zones)
        if others is not None:
            total += others.to(device)
        for begin in range(0, len(kept), BATCH):
            total += moments(kept[begin : begin + BATCH])
        return total, moments

    def _network(
        self,
        training: TrainingSet,
        kept: KeptCells,
        left_out: int | None,
        label: str,
        folder: Path | None,
        device: torch.device,
    ) -> ResidualEnergy:
        """Train a network: low on good and undamaged cells, high on damaged and noised ones."""
        config = self.config.network
        assert config is not None
        cells = kept.all()
        data = torch.cat([part for one in cells for part in (one.good, one.clean)])[:, :, None, None]
        damaged = torch.cat([one.damaged for one in cells])[:, :, None, None]
        task = self.task(training, left_out, label, folder, device)
        generator = torch.Generator().manual_seed(task.seed)
        network = ResidualEnergy(data.shape[1], config.hidden, config.activation, generator=generator)

        def draw(n: int, own: torch.Generator) -> tuple[Tensor, Tensor]:
            chosen = torch.randint(len(data), (n,), generator=own)
            return data[chosen].float(), torch.zeros(n, dtype=torch.long)

        shape = tuple(data.shape[1:])
        task.train(network, draw, config, shape=shape, sample=lambda: damaged.float(), bound=math.inf)
        return network.eval().to(device)

    def _evidence(self, joined: Tensor) -> Evidence:
        """Return the smoothed values of joined maps `(B, C, h, w)`."""
        assert self.gaussian is not None
        white = self.gaussian.residuals(joined)
        values = [_energies(white)]
        if self.network is not None:
            values.append(_network_energies(white, self.network))
        smoothed = self.smooth(self.gaussian.on_grid(torch.cat(values, 3)))
        return Evidence(smoothed, smoothed)

    def _weighted(self, cells: Tensor) -> Tensor:
        """Return the weighted sum `(B, h, w)` of the components' values `(B, K, h, w)`."""
        return (cells * self.map_weights[:, None, None]).sum(1)

    def _largest(self, evidence: Evidence) -> Tensor:
        """Return the largest values of each component above its background, `(B, K, top)`."""
        flat = evidence.components.reshape(-1, self.components, self.positions)
        largest = torch.topk(flat, min(self.config.top, self.positions), dim=2, sorted=False).values
        background: Tensor = self.config.background * flat.mean(2, keepdim=True)
        return largest - background

    def _component_scores(self, evidence: Sequence[Evidence]) -> Values:
        """Return the score of each component for many images, `(N, K)`."""
        if not evidence:
            return np.zeros((0, 1))
        return torch.cat([self._largest(one).mean(2) for one in evidence]).double().numpy()

    def _sum(self, evidence: Evidence) -> Tensor:
        """Return the weighted sum of the components, each in standard deviations of good images."""
        # The mean over the largest comes last: OpenVINO 2026 fuses what follows a mean of each component into
        # it, and then takes the numbers of another component for all images of a batch but the first.
        largest = self._largest(evidence)
        weighted = (
            (largest - self.component_mean[:, None])
            / self.component_std[:, None]
            * self.component_weights[:, None]
        )
        return weighted.sum(1).mean(1)


def _energies(white: Tensor) -> Tensor:
    """Return the Gaussian's energies `(R, B, p, 1)` of residuals `(R, B, p, C)`."""
    return positive_log(white.square().mean(3, keepdim=True))


def _network_energies(white: Tensor, network: ResidualEnergy) -> Tensor:
    """Return the network's energies `(R, B, p, 1)` of residuals `(R, B, p, C)`."""
    zones, positions, channels = int(white.shape[0]), int(white.shape[2]), int(white.shape[3])
    cells = white.clamp(-MAX_RESIDUAL, MAX_RESIDUAL).reshape(-1, channels)
    energies: Tensor = network(cells)
    return energies.reshape(zones, -1, positions, 1)


def _joined(components: Sequence[Sequence[Evidence]]) -> list[Evidence]:
    """Return the evidence of all components together, of each image of which all have some."""
    joined = [torch.cat([one.components for one in own], 1) for own in zip(*components, strict=True)]
    return [Evidence(one, one) for one in joined]
