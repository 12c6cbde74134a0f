"""The levels that are given feature maps of a frozen pretrained network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from patchebm.detector.energy_level import EnergyLevel, average
from patchebm.detector.fit_task import FitTask
from patchebm.detector.level import TrainingSet, under
from patchebm.energy import CellsEnergy, Energy, ResidualEnergy, TiltedEnergy, WhitenedEnergy, Whitening
from patchebm.energy.fused import Affine, Evidence, cells_of
from patchebm.features.extractor import FeatureExtractor
from patchebm.features.joining import LinearMaps, smoother
from patchebm.features.resize import resize

if TYPE_CHECKING:
    from patchebm.config.features import CellNetworkConfig, FeatureImageConfig, FeaturePatchConfig

# Views whitened, or scored for their mean and spread, at once.
CHUNK = 8192


class FeatureLevel(EnergyLevel):
    """A level of feature maps; its energies are whitened, and scored in their fused form.

    Args:
        name: the level's name in the configuration.
        config: of the level.
        seed: of the run.
        extractor: gives the maps.
    """

    config: FeaturePatchConfig | FeatureImageConfig
    whole: bool
    """Whether energies are of whole maps rather than of cells."""

    def __init__(
        self,
        name: str,
        config: FeaturePatchConfig | FeatureImageConfig,
        seed: int,
        extractor: FeatureExtractor,
        grid: tuple[int, int],
    ) -> None:
        super().__init__(name, config, seed)
        self.grid = grid
        self.map_positions = config.map_positions
        self.channels = extractor.channels
        self.join = extractor.fused_join(grid)
        self.linear = nn.ModuleList()
        self.rests = nn.ModuleList()

    def fit_energy(self, training: TrainingSet, task: FitTask) -> WhitenedEnergy:
        """Fit the whitening, the base and the network on the views of the chosen images."""
        generator = torch.Generator().manual_seed(task.seed)
        views = torch.cat([training.views[i] for i in task.chosen]).float()
        whitening: Whitening | None = None
        if self.config.whitening is not None:
            # Of these images alone: with a whitening of all, images that an energy was not fitted on scored
            # so much like the others that 6 of 20 good bottles were called anomalous at a stated 5 %.
            whitening = Whitening.fit(views, self.config.whitening, generator)
            views = torch.cat([whitening(chunk) for chunk in torch.split(views, CHUNK)])
        base: Energy | None = None
        if self.config.base is not None:
            base = self.config.base.load_target().fit(views, self.config.base, generator)
        if self.config.network is None:
            assert base is not None
            return WhitenedEnergy(base, whitening).eval()
        if self.whole:
            # Noise on all cells at once would be too easy to tell from data: the network trains cell by cell.
            cells = _train_network(self.config.network, cells_of(views), None, task, generator)
            network: Energy = CellsEnergy(cells)
            energy = network if base is None else TiltedEnergy(base, network, 0.0)
        else:
            energy = _train_network(self.config.network, views, base, task, generator)
        return WhitenedEnergy(energy, whitening).eval()

    def use(self, energies: Sequence[Energy]) -> None:
        """Fold each energy into linear functions of the features and what follows them."""
        self.energies = nn.ModuleList(energies)
        fused = [energy.fused(Affine.identity(self.channels), whole=self.whole) for energy in energies]
        self.linear = nn.ModuleList(LinearMaps(one.linear) for one in fused)
        self.rests = nn.ModuleList(one.rest for one in fused)

    def evidence(self, inputs: Sequence[Tensor], *, maps: bool = True) -> Evidence:
        """Return the evidence of the blocks' maps."""
        return self._evidence(self.join(inputs), maps=maps)

    def held_out_evidence(self, views: Tensor) -> Evidence:
        """Return the evidence of joined maps on the level's grid."""
        return self._evidence(views.float(), maps=True)

    def restore_energy(self, tensors: Mapping[str, Tensor]) -> WhitenedEnergy:
        """Build an energy again, part by part."""
        config, parts = self.config, under("energy.", tensors)
        whitening: Whitening | None = None
        if config.whitening is not None:
            whitening = Whitening(**under("whitening.", tensors))
        tilted = config.base is not None and config.network is not None
        base: Energy | None = None
        network: Energy | None = None
        if config.base is not None:
            base = config.base.load_target().restore(config.base, under("base.", parts) if tilted else parts)
        if config.network is not None:
            own = under("network.", parts) if tilted else parts
            if self.whole:
                network = CellsEnergy(ResidualEnergy.restore(config.network, under("cell.", own)))
            else:
                network = ResidualEnergy.restore(config.network, own)
        energy = base or network
        if base is not None and network is not None:
            energy = TiltedEnergy(base, network, parts["weight"], parts["offset"])
        assert energy is not None
        return WhitenedEnergy(energy, whitening).eval()

    def _evidence(self, joined: Tensor, *, maps: bool) -> Evidence:
        """Return the evidence of joined maps `(B, C, h, w)`."""
        pairs = zip(self.linear, self.rests, strict=True)
        found: list[Evidence] = [rest(linear(joined), maps=maps) for linear, rest in pairs]
        return average(found)


class FeaturePatchLevel(FeatureLevel):
    """The patch level: every cell of the extractor's grid is a patch, and the largest values decide."""

    config: FeaturePatchConfig
    whole = False

    def __init__(self, name: str, config: FeaturePatchConfig, seed: int, extractor: FeatureExtractor) -> None:
        super().__init__(name, config, seed, extractor, extractor.grid)
        self.standardise_positions = config.standardise_positions
        self.top = config.top
        self.positions = self.grid[0] * self.grid[1]
        self.smooth = smoother(self.grid, config.smooth) if config.smooth > 1 else nn.Identity()

    def training_views(self, image: Tensor, cells: int, generator: torch.Generator) -> Tensor:
        """Return random cells `(n, C, 1, 1)` float16 of a joined map, or all of them."""
        rows = image.flatten(1).T[:, :, None, None]
        if cells < len(rows):
            rows = rows[torch.randperm(len(rows), generator=generator)[:cells]]
        return rows.contiguous().half()

    def held_out_view(self, image: Tensor) -> Tensor:
        """Return the joined map in half precision, which moves an energy by far less than images differ."""
        return image.half()

    def _evidence(self, joined: Tensor, *, maps: bool) -> Evidence:
        components = self.smooth(super()._evidence(joined, maps=maps).components)
        return Evidence(components, components)


class FeatureImageLevel(FeatureLevel):
    """The image level: the whole map, pooled to a coarse grid, is one view."""

    config: FeatureImageConfig
    whole = True
    # Its coarse map would blur that of a finer level: on tire AUPRO was .78 with it and .91 without.
    localises = False
    standardise_positions = True
    positions = 1

    def __init__(self, name: str, config: FeatureImageConfig, seed: int, extractor: FeatureExtractor) -> None:
        super().__init__(name, config, seed, extractor, config.grid)

    def training_views(self, image: Tensor, cells: int, generator: torch.Generator) -> Tensor:
        """Return the pooled map `(1, C, h, w)`; of too many images, for a random share."""
        view = self.held_out_view(image)[None]
        share = cells / (self.grid[0] * self.grid[1])
        kept = share >= 1 or float(torch.rand((), generator=generator)) < share
        return view if kept else view[:0]

    def held_out_view(self, image: Tensor) -> Tensor:
        """Return the joined map `(C, H, W)` resized to the level's grid."""
        return resize(image[None], self.grid)[0]


def _train_network(
    config: CellNetworkConfig, views: Tensor, base: Energy | None, task: FitTask, generator: torch.Generator
) -> Energy:
    """Train a network of views, alone or as a tilt of a base."""
    network = ResidualEnergy(views[0].numel(), config.hidden, config.activation, generator=generator)
    energy: Energy = network
    if base is not None:
        weight, offset = 0.0, 0.0
        if config.tilt:
            with torch.no_grad():
                values = torch.cat([base(chunk) for chunk in torch.split(views, CHUNK)])
            weight, offset = 1 / float(values.std().clamp(min=1e-6)), float(values.mean())
        energy = TiltedEnergy(base, network, weight, offset)

    def draw(n: int, own: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(views), (n,), generator=own)
        return views[chosen], torch.zeros(n, dtype=torch.long)

    shape = tuple(views.shape[1:])
    task.train(energy, draw, config, shape=shape, sample=views.clone, bound=math.inf)
    return energy
