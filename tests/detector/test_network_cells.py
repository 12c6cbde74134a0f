"""A network learns from residuals of Gaussians that know neither its images nor what it is measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from patchebm.detector.level import Damaged, KeptViews, TrainingSet
from patchebm.detector.network_cells import FoldGaussians, draw_cells
from patchebm.energy.moments import Moments
from patchebm.energy.position_gaussian import PositionGaussian

SHIFT, ZONES = torch.zeros(3), (2, 2)


def maps(n: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4, 4, generator=generator).half() for _ in range(n)]


def moments_of(views: Sequence[Tensor]) -> Moments:
    moments = Moments.empty(SHIFT, (4, 4), ZONES)
    for view in views:
        moments.add(view[None].float())
    return moments


def rows(view: Tensor, views: Sequence[Tensor]) -> set[tuple[float, ...]]:
    """The residuals of all cells of a map, of Gaussians of some others."""
    white = PositionGaussian.from_moments(moments_of(views)).residuals(view[None].float())
    return as_rows(white.reshape(-1, white.shape[3]))


def as_rows(cells: Tensor) -> set[tuple[float, ...]]:
    # Batches round the last digit otherwise.
    return {tuple(round(float(one), 2) + 0.0 for one in row) for row in cells}


def near(found: set[tuple[float, ...]], expected: set[tuple[float, ...]]) -> bool:
    if len(found) != len(expected):
        return False
    a, b = (np.array(sorted(one)) for one in (found, expected))
    distances = np.abs(a[:, None] - b[None]).max(2)
    return bool((distances.min(1) < 0.03).all())


# The third of four folds has no image that is held out.
@pytest.mark.parametrize(
    ("folds", "members"), [([0, 0, 1, 1, 2, 2], 3), ([0, 0, 1, 1, 3, 3], 2), ([0, 0, 0, 1, 1, 1], 2)]
)
def test_neither_the_image_nor_what_is_measured_is_known(folds: list[int], members: int) -> None:
    views = maps(6)
    mask = torch.zeros(4, 4)
    mask[0, 0] = 1
    damaged = [[Damaged(one, mask.half(), 0.1, "learn", 0)] for one in maps(6, seed=1)]
    damaged[0] += [Damaged(maps(1, seed=2)[0], mask.half(), 0.1, "local", 0)]
    kept = KeptViews([None] * 6, list(views), damaged, [[] for _ in views])
    training = TrainingSet.of(kept, [str(i) for i in range(6)], np.array(folds))
    images = [[i for i in range(6) if folds[i] == fold] for fold in range(max(folds) + 1)]
    gaussians = FoldGaussians(moments_of(views), images, lambda own: moments_of([views[i] for i in own]))
    cells = draw_cells(training, gaussians, members, seed=0)
    measured = [fold for fold in range(members) if images[fold]]
    assert set(cells) == {None, *measured}
    for fold in (None, *measured):
        others = [i for i in range(6) if folds[i] != fold]
        drawn = cells[fold].all()
        assert len(drawn) == len(others)
        for i, one in zip(others, drawn, strict=True):
            # Of two folds the Gaussians need one.
            gone = {folds[i]} if len(set(folds)) == 2 else {folds[i], fold}
            known = [views[k] for k in range(6) if folds[k] not in gone]
            assert near(as_rows(one.good), rows(views[i], known))
            version = PositionGaussian.from_moments(moments_of(known))
            white = version.on_grid(version.residuals(damaged[i][0].view[None].float()))[0]
            assert near(as_rows(one.damaged), as_rows(white[:, 0, 0][None]))
            # Of 16 cells one is damaged, and 3 touch it.
            assert len(one.clean) == 12


def test_several_maps_at_once_are_whitened_alike() -> None:
    gaussian = PositionGaussian.from_moments(moments_of(maps(9)))
    new = torch.stack(maps(5, seed=4)).float()
    together = gaussian.residuals_together(new)
    torch.testing.assert_close(together, gaussian.residuals(new), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(together[:, 2:3], gaussian.residuals(new[2:3]), atol=1e-5, rtol=1e-5)
