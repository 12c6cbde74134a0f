"""What calibration makes of evidence, against the same in numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from patchebm.detector.energy_level import EnergyLevel, average
from patchebm.detector.positions import PositionStandardiser
from patchebm.energy.base import Energy
from patchebm.energy.fused import Evidence


class GivenLevel(EnergyLevel):
    """A level that is given evidence, so that a test decides what energies say."""

    def __init__(self, *, per_position: bool = True, map_positions: bool = False, top: int = 3) -> None:
        super().__init__("given", None, 0)
        self.standardise_positions, self.map_positions, self.top = per_position, map_positions, top

    def evidence(self, inputs: Evidence, *, maps: bool = True) -> Evidence:
        return inputs if maps else Evidence(inputs.components, None)

    def training_views(self, image: Tensor, cells: int, generator: torch.Generator) -> Any:
        raise NotImplementedError

    def held_out_view(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def fit_energy(self, *given: Any) -> Energy:
        raise NotImplementedError

    def use(self, energies: Sequence[Energy]) -> None:
        raise NotImplementedError

    def held_out_evidence(self, views: Tensor) -> Evidence:
        raise NotImplementedError

    def restore_energy(self, tensors: Any) -> Energy:
        raise NotImplementedError


def drawn(n: int, components: int = 2, seed: int = 0) -> Evidence:
    """Evidence of n images on 4 x 5 cells, of components of different size."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([20.0, 0.5])[:components, None, None]
    values = torch.randn((n, components, 4, 5), generator=generator) * scale + 3 * scale
    return Evidence(values, values[:, -1:] * 2)


def rows(evidence: Evidence) -> list[Evidence]:
    return [
        Evidence(
            evidence.components[i : i + 1], None if evidence.cells is None else evidence.cells[i : i + 1]
        )
        for i in range(len(evidence.components))
    ]


def largest(values: np.ndarray, top: int) -> np.ndarray:
    return np.sort(values, axis=1)[:, -top:].mean(1)


@pytest.mark.parametrize("per_position", [True, False])
@pytest.mark.parametrize(("components", "top"), [(1, 1), (2, 3), (2, 99)])
def test_scores_are_standardised_sums_of_the_largest_values(
    components: int, top: int, per_position: bool
) -> None:
    level = GivenLevel(per_position=per_position, top=top)
    good, new = drawn(12, components), drawn(5, components, seed=1)
    calibrated = level.calibrate(rows(good))
    standardisers, left_out = [], []
    for k in range(components):
        standardiser = PositionStandardiser(per_position=per_position)
        left_out.append(
            standardiser.fit_transform_left_out(good.components[:, k].flatten(1).double().numpy())
        )
        standardisers.append(standardiser)
    normal = largest(np.asarray(sum(left_out)) / components**0.5, top)
    np.testing.assert_allclose(calibrated.scores, (normal - normal.mean()) / normal.std(ddof=1), rtol=1e-9)
    assert calibrated.scores.std(ddof=1) == pytest.approx(1)
    values = sum(
        s.transform(new.components[:, k].flatten(1).double().numpy()) for k, s in enumerate(standardisers)
    )
    expected = (largest(np.asarray(values) / components**0.5, top) - normal.mean()) / normal.std(ddof=1)
    with torch.no_grad():
        found = level(new)
    np.testing.assert_allclose(found.score.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_maps_are_standardised_by_themselves() -> None:
    good, new = drawn(12), drawn(5, seed=1)
    for per_position in (True, False):
        level = GivenLevel(map_positions=per_position)
        level.calibrate(rows(good))
        standardiser = PositionStandardiser(per_position=per_position)
        assert good.cells is not None
        assert new.cells is not None
        standardiser.fit(good.cells.flatten(1).double().numpy())
        expected = standardiser.transform(new.cells.flatten(1).double().numpy()).reshape(5, 4, 5)
        found = level(new).map
        assert found is not None
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_maps_come_only_where_they_are_wanted() -> None:
    level = GivenLevel()
    assert level.calibrate(rows(drawn(40))).grids.shape == (40, 4, 5)
    found = level(drawn(2), maps=False)
    assert found.map is None
    assert torch.equal(found.score, level(drawn(2)).score)


def test_good_images_that_are_all_alike_make_everything_else_far() -> None:
    level = GivenLevel()
    same = drawn(1)
    calibrated = level.calibrate(rows(same) * 6)
    assert np.isfinite(calibrated.scores).all()
    # The deviation is as small as rounding, which is all that tells the same image from those.
    other = float(level(drawn(1, seed=1)).score)
    assert np.isfinite(other)
    assert other > 1e3 * abs(float(level(same).score))


def test_several_energies_count_by_their_mean() -> None:
    a, b = drawn(3), drawn(3, seed=1)
    mean = average([a, b])
    torch.testing.assert_close(mean.components, (a.components + b.components) / 2)
    assert a.cells is not None
    assert b.cells is not None
    assert mean.cells is not None
    torch.testing.assert_close(mean.cells, (a.cells + b.cells) / 2)
    assert average([a]) is a
    assert average([Evidence(a.components, None), Evidence(b.components, None)]).cells is None
