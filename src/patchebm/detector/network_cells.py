"""Residuals that networks of the position level learn from, of Gaussians that were fitted to other images.

A network that is measured on a fold learns from residuals of Gaussians that do not know this fold, either.
Otherwise their covariances would know the images on which the network is then measured: what it learns from
would be small in just the directions in which those images are large, good images that were held out would
score higher than new ones, and the threshold would lie too high (by .3 to .7 standard deviations with 20 to
40 images).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from patchebm.detector.kept_maps import Cells, KeptCells, KeptMaps
from patchebm.detector.level import TrainingSet
from patchebm.energy.fused import cells_of
from patchebm.energy.moments import Moments
from patchebm.energy.position_gaussian import PositionGaussian

# Cells that a network is trained on, of good images and of undamaged places of damaged ones.
GOOD_CELLS, CLEAN_CELLS = 60_000, 40_000
# A cell is damaged if a defect covers this share of it, and undamaged if neither it nor a neighbour is
# touched.
DAMAGED, TOUCHED = 0.3, 0.01
# Residuals of a grossly different image would drown all others in half precision.
MAX_RESIDUAL = 60.0
# Maps that are whitened at once: the whitening of all zones is read once for them.
BATCH = 8


class FoldGaussians:
    """Gaussians of all images without some folds.

    The sums of each fold wait in a file, since they take tens of megabytes each.

    Args:
        total: of all images.
        folds: the images of each fold; some may have none.
        moments: adds up images.
    """

    def __init__(
        self, total: Moments, folds: Sequence[Sequence[int]], moments: Callable[[Sequence[int]], Moments]
    ) -> None:
        self.folds = folds
        self._total = total
        self._counts: list[float] = []
        self._sums = KeptMaps()
        for images in folds:
            own = moments(images)
            self._counts.append(own.count)
            self._sums.append(own.first.cpu())
            self._sums.append(own.second.cpu())

    def without(self, *left_out: int) -> PositionGaussian:
        """Fit Gaussians to the images of all other folds."""
        total = self._total
        gone = Moments.empty(total.shift, total.grid, total.zones)
        for fold in left_out:
            first, second = self._sums[2 * fold], self._sums[2 * fold + 1]
            assert first is not None
            assert second is not None
            gone += Moments(
                self._counts[fold],
                total.shift,
                first.to(gone.first),
                second.to(gone.second),
                total.grid,
                total.zones,
            )
        return PositionGaussian.from_moments(total, without=gone)


def draw_cells(
    training: TrainingSet, gaussians: FoldGaussians, members: int, seed: int
) -> dict[int | None, KeptCells]:
    """Draw what each network learns from.

    Args:
        training: the images.
        gaussians: of their folds, the images of which can be read.
        members: folds, from the first, on each of which a network is measured that does not learn from it.
        seed: decides which cells are drawn; they are the same for all networks.

    Returns:
        The cells of all images but those of the fold, by each fold that has images; under None those of all.
    """
    folds = gaussians.folds
    some = [fold for fold, images in enumerate(folds) if images]
    everything = sum(len(images) for images in folds)
    cells: dict[int | None, KeptCells] = {fold: KeptCells() for fold in some if fold < members}
    cells[None] = KeptCells()

    def draw(images: Sequence[int], gaussian: PositionGaussian, *networks: int | None) -> None:
        for i in images:
            drawn = _draw(training, i, everything, gaussian, seed)
            for network in networks:
                cells[network].add(i, drawn)

    for number, one in enumerate(some):
        # Of two folds the Gaussians need one.
        others = [other for other in some if other != one and len(some) == 2 and other in cells]
        draw(folds[one], gaussians.without(one), None, *others)
        for other in some[:number] if len(some) > 2 else ():
            pair = [(one, other), (other, one)]
            measured = [(fold, network) for fold, network in pair if network in cells]
            gaussian = gaussians.without(one, other) if measured else None
            for fold, network in measured:
                assert gaussian is not None
                draw(folds[fold], gaussian, network)
    return cells


def _draw(training: TrainingSet, image: int, everything: int, gaussian: PositionGaussian, seed: int) -> Cells:
    """Draw the residuals of an image and of its damaged versions."""
    learned = [one for one in training.damaged[image] if one.kind == "learn"]
    damaged = max(1, sum(one.kind == "learn" for own in training.damaged for one in own))
    good_each, clean_each = math.ceil(GOOD_CELLS / everything), math.ceil(CLEAN_CELLS / damaged)
    view = training.held_out[image]
    assert view is not None
    residuals = [
        white
        for views in torch.split(torch.stack([view, *(one.view for one in learned)]), BATCH)
        for white in _residuals(views, gaussian)
    ]
    generator = torch.Generator().manual_seed(seed * 1_000_003 + image)
    good = _drawn(residuals[0], good_each, generator)
    clean, bad = [good[:0]], [good[:0]]
    for one, rows in zip(learned, residuals[1:], strict=True):
        mask = one.mask.float()
        around = max_pool2d(mask[None, None], 3, 1, 1).flatten()
        clean.append(_drawn(rows[around <= TOUCHED], clean_each, generator))
        bad.append(rows[mask.flatten() > DAMAGED])
    return Cells(good, torch.cat(clean), torch.cat(bad))


def _residuals(views: Tensor, gaussian: PositionGaussian) -> list[Tensor]:
    """Return the residuals of maps `(n, C, h, w)`, of each `(h * w, C)` in half precision."""
    with torch.no_grad():
        white = gaussian.residuals_together(views.to(gaussian.mean.device).float())
    maps = gaussian.on_grid(white.clamp(-MAX_RESIDUAL, MAX_RESIDUAL).half())
    return [cells_of(one[None])[:, :, 0, 0].cpu() for one in maps]


def _drawn(rows: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """Return `n` rows at random, or all."""
    return rows[torch.randperm(len(rows), generator=generator)[:n]]
