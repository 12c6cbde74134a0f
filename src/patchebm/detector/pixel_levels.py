"""The levels that are given pixels, as in the thesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from patchebm.detector.energy_level import EnergyLevel, average
from patchebm.detector.fit_task import FitTask
from patchebm.detector.level import TrainingSet, under
from patchebm.energy import Energy, GaussianEnergy, TiltedEnergy, WideResNetEnergy
from patchebm.energy.fused import Evidence
from patchebm.features.resize import resize
from patchebm.features.views import ImageViews, PatchViews, Resized, Views
from patchebm.images.folds import assign_folds

if TYPE_CHECKING:
    from patchebm.config.pixels import PixelImageConfig, PixelPatchConfig, WideResNetConfig

# Views that a Gaussian of all positions and the informative negatives are made of: enough for the covariance
# of small patches, and below this many bytes for large ones.
MAX_VIEWS = 20_000
MAX_VIEW_BYTES = 256 * 2**20
# Views that tell the scale of a Gaussian's energies and gradients.
MAX_SCALE_VIEWS = 1024
# Views scored at once: bounds memory, and is the same for every image, so that a score does not depend on
# what it is scored with.
BATCH = 256


class PixelLevel(EnergyLevel):
    """A level of pixels: views of images, each of which has an energy.

    Args:
        name: the level's name in the configuration.
        config: of the level.
        seed: of the run.
        views: how images are cut.
    """

    config: PixelPatchConfig | PixelImageConfig

    def __init__(
        self, name: str, config: PixelPatchConfig | PixelImageConfig, seed: int, views: Views
    ) -> None:
        super().__init__(name, config, seed)
        self.views = views
        self.positions = views.positions
        self.standardise_positions = config.score.standardise_positions
        self.map_positions = config.score.map_positions
        self.top = config.score.top

    def training_views(self, image: Tensor, cells: int, generator: torch.Generator) -> Resized:
        """Return the image resized for training. Raises ImageError for one smaller than a patch."""
        del cells, generator
        return self.views.for_training(image)

    def held_out_view(self, image: Tensor) -> Tensor:
        """Return the image resized for scoring."""
        return resize(image[None], self.views.test_size)[0]

    def fit_energy(self, training: TrainingSet, task: FitTask) -> Energy:
        """Fit the base and the network on the chosen images."""
        parts = [training.parts[i] for i in task.chosen]
        folds = assign_folds(parts, max(2, int(training.folds.max())), np.random.default_rng(task.seed))
        return _Fit(self, [training.views[i] for i in task.chosen], folds, task)().eval()

    def use(self, energies: Sequence[Energy]) -> None:
        """Score by the mean over these energies."""
        self.energies = nn.ModuleList(energies)

    def evidence(self, inputs: Tensor, *, maps: bool = True) -> Evidence:
        """Return the evidence of images `(B, C, H, W)` in [-1, 1], of any size."""
        found = [self._evidence(one, maps=maps) for one in resize(inputs, self.views.test_size)]
        cells = [one.cells for one in found if one.cells is not None]
        return Evidence(torch.cat([one.components for one in found]), torch.cat(cells) if cells else None)

    def held_out_evidence(self, views: Tensor) -> Evidence:
        """Return the evidence of images that were resized for scoring."""
        return self.evidence(views)

    def map_of(self, grid: Tensor) -> Tensor:
        """Return maps of the images as they were resized for scoring."""
        return self.views.map_of(grid)

    def restore_energy(self, tensors: Mapping[str, Tensor]) -> Energy:
        """Build an energy again, part by part."""
        config = self.config
        tilted = config.base is not None and config.network is not None
        base: GaussianEnergy | None = None
        if config.base is not None:
            base = config.base.load_target().restore(
                config.base, under("base.", tensors) if tilted else tensors
            )
        if config.network is None:
            assert base is not None
            return base.eval()
        own = under("network.", tensors) if tilted else dict(tensors)
        # The weights drawn here are replaced at once.
        network = build_network(config.network, own["stem.weight"].shape[1], torch.Generator().manual_seed(0))
        network.load_state_dict(own)
        if base is None:
            return network.eval()
        scale = tensors.get("gradient_scale")
        return self.tilt(base, network, tensors["weight"], tensors["offset"], scale).eval()

    def tilt(
        self,
        base: Energy,
        network: Energy,
        weight: float | Tensor,
        offset: float | Tensor,
        scale: Tensor | None,
    ) -> TiltedEnergy:
        """Put base and network together as this level scores them."""
        only = self.config.score.components == "network"
        return TiltedEnergy(base, network, weight, offset, scale, network_only=only)

    def _evidence(self, image: Tensor, *, maps: bool) -> Evidence:
        """Return the evidence of one image `(C, *test_size)`."""
        x = self.views.grid(image)
        gradient = self.config.score.kind == "gradient"
        found = []
        for energy in self.energies:
            assert isinstance(energy, Energy)
            parts = []
            for first in range(0, len(x), BATCH):
                chunk = x[first : first + BATCH]
                position = slice(first, first + len(chunk))
                with torch.no_grad():
                    parts.append(energy.components(chunk, position, gradient=gradient))
            grid = torch.cat(parts).T.reshape(1, -1, *self.views.grid_size)
            # A grid of patches is its own map; the whole image as one view has to be localised.
            cells = energy.localise(x)[:, None] if maps and self.positions == 1 else grid
            found.append(Evidence(grid, cells if maps else None))
        return average(found)


class PixelPatchLevel(PixelLevel):
    """The patch level: an n x n grid of patches; the largest values decide."""

    def __init__(self, name: str, config: PixelPatchConfig, seed: int, inputs: Any) -> None:
        del inputs
        on_grid = config.base is not None and getattr(config.base, "per_position", False)
        super().__init__(name, config, seed, PatchViews(config.view, on_grid=on_grid))


class PixelImageLevel(PixelLevel):
    """The image level: the whole image is one view."""

    def __init__(self, name: str, config: PixelImageConfig, seed: int, inputs: Any) -> None:
        del inputs
        super().__init__(name, config, seed, ImageViews(config.view))


def build_network(config: WideResNetConfig, channels: int, generator: torch.Generator) -> WideResNetEnergy:
    """Build the network of a configuration for views of so many channels."""
    return WideResNetEnergy(
        channels,
        config.depth,
        config.width,
        config.norm,
        config.activation,
        config.pooling,
        generator=generator,
    )


@dataclass(frozen=True)
class _Draw:
    """Draws training views, and the position of each: its fold and, of several, its cell.

    It is a class, which can be given to another process.
    """

    views: Views
    images: list[Resized]
    folds: Tensor
    positions: int

    def __call__(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = self.views.draw(self.images, n, generator)
        cell = drawn.cell if self.positions > 1 else torch.zeros_like(drawn.cell)
        return drawn.views, self.folds[drawn.image] * self.positions + cell


class _Fit:
    """Fits one energy on resized images.

    Args:
        level: whose energy it is.
        images: the training images of this energy.
        folds: `(N,)` inner fold of each, for the cross-fitted Gaussians that the network trains on.
        task: what decides the fit.
    """

    def __init__(
        self, level: PixelLevel, images: list[Resized], folds: NDArray[np.int64], task: FitTask
    ) -> None:
        self._level, self._views, self._config = level, level.views, level.config
        self._images, self._folds, self._task = images, folds, task
        self._channels = images[0].pixels.shape[0]

    def __call__(self) -> Energy:
        """Fit the energy, ready to score. Raises TrainingError if it diverged for good."""
        generator = torch.Generator().manual_seed(self._task.seed)
        config = self._config.network
        everything = list(range(len(self._images)))
        if config is None:
            return self._gaussian(everything, generator)
        channels = self._channels * (2 if self._config.base is not None and config.gradient_input else 1)
        network = build_network(config, channels, generator)
        if self._config.base is None:
            self._train(network, self._drawer(1), generator)
            return network
        # In-sample energies of a Gaussian are far below those of new images. So the network trains beside
        # Gaussians that were not fitted on the images that they score: one for each inner fold, at positions
        # of their own.
        parts = [
            self._gaussian(np.flatnonzero(self._folds != fold).tolist(), generator)
            for fold in range(int(self._folds.max()) + 1)
        ]
        crossed = GaussianEnergy.concatenate(parts)
        positions = parts[0].positions
        mean, std, scale = self._scales(crossed, positions, generator)
        weight = 1 / std if config.tilt else 0.0
        tilted = self._level.tilt(crossed, network, weight, mean, scale if config.gradient_input else None)
        self._train(tilted, self._drawer(positions), generator)
        tilted.base = self._gaussian(everything, generator)
        return tilted

    def _drawer(self, positions: int) -> _Draw:
        """Return what draws training views."""
        return _Draw(self._views, self._images, torch.from_numpy(self._folds), positions)

    def _gaussian(self, chosen: list[int], generator: torch.Generator) -> GaussianEnergy:
        """Fit the informative Gaussian of the chosen images."""
        config: Any = self._config.base
        images = [self._images[i] for i in chosen]
        if config.per_position or self._views.positions == 1:
            views = torch.stack([self._views.grid(image.pixels) for image in images]).transpose(0, 1)
        else:
            views = self._many_views(images, generator)[None]
        return GaussianEnergy.fit_positions(views, rank=config.rank, floor=config.floor)

    def _many_views(self, images: list[Resized], generator: torch.Generator) -> Tensor:
        """Draw as many views as describe the images well and fit into memory, `(n, C, h, w)`."""
        if self._views.positions == 1:
            return torch.stack([image.pixels for image in images])
        one = self._channels * self._views.view_size[0] * self._views.view_size[1]
        n = max(2, min(MAX_VIEWS, len(images) * self._views.positions, MAX_VIEW_BYTES // (4 * one)))
        return self._views.draw(images, n, generator).views

    def _scales(
        self, gaussian: GaussianEnergy, positions: int, generator: torch.Generator
    ) -> tuple[float, float, Tensor]:
        """Measure offset, spread and gradient scale for a tilted energy, from cross-fitted Gaussians.

        Returns:
            Mean and standard deviation of out-of-sample energies; and the inverse root mean square of their
            gradient, `(P, 1, 1, 1)` by position or, for whole images, `(1, C, H, W)` by pixel. A tenth of
            the mean is added to each mean square, so that no quiet pixel is blown up.
        """
        energies, squares = [], []
        if positions == 1 and self._views.positions > 1:
            # One Gaussian for all patches: images may be trained on at another size than that of the grid.
            views, position = self._drawer(1)(MAX_SCALE_VIEWS, generator)
            energies.append(gaussian.energy_at(views, position))
            mean_square = gaussian.gradient_at(views, position).square().mean().view(1, 1, 1, 1)
        else:
            for image, fold in zip(self._images, self._folds.tolist(), strict=True):
                views = self._views.grid(image.pixels)
                own = slice(fold * positions, fold * positions + len(views))
                energies.append(gaussian.energy_at(views, own))
                squares.append(gaussian.gradient_at(views, own).square())
            mean_square = torch.stack(squares).mean(0)
            if positions > 1:
                mean_square = mean_square.mean(dim=(1, 2, 3), keepdim=True)
        scale = (mean_square + 0.1 * mean_square.mean()).clamp(min=1e-12).rsqrt()
        energy = torch.cat(energies)
        return float(energy.mean()), float(energy.std().clamp(min=1e-6)), scale

    def _train(self, energy: Energy, draw: Any, generator: torch.Generator) -> None:
        config = self._config.network
        assert config is not None
        shape = (self._channels, *self._views.view_size)
        sample = partial(self._many_views, self._images, generator)
        self._task.train(energy, draw, config, shape=shape, sample=sample, bound=1.0)
