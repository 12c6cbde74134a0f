"""Statistics of each grid position."""

from __future__ import annotations

import numpy as np

from patchebm.detector.positions import PositionStandardiser

RNG = np.random.default_rng


def test_left_out_statistics_are_those_of_the_others() -> None:
    values = RNG(0).normal(size=(8, 5)) * 3 + 7
    left_out = PositionStandardiser().fit_transform_left_out(values)
    for i in range(8):
        others = PositionStandardiser().fit(np.delete(values, i, axis=0))
        np.testing.assert_allclose(left_out[i], others.transform(values[i : i + 1])[0], rtol=1e-9)


def test_standardised_values_of_new_normals_have_unit_variance() -> None:
    scale = np.array([1.0, 10.0])
    standardiser = PositionStandardiser().fit(RNG(0).normal(size=(4000, 2)) * scale + 5)
    new = standardiser.transform(RNG(1).normal(size=(4000, 2)) * scale + 5)
    np.testing.assert_allclose(new.mean(0), 0, atol=0.1)
    # A fifth of the variance is the mean of both positions': (0.8 * 100 + 0.2 * 50.5) for the wide one.
    np.testing.assert_allclose(new.std(0), scale / np.sqrt(0.8 * scale**2 + 0.2 * 50.5), rtol=0.05)


def test_constant_values_stay_finite() -> None:
    standardiser = PositionStandardiser().fit(np.full((4, 3), 2.0))
    assert np.isfinite(standardiser.transform(np.array([[2.0, 3.0, 1.0]]))).all()


def test_one_mean_and_deviation_may_hold_for_all_positions() -> None:
    values = RNG(0).normal(size=(30, 4)) * [1, 2, 3, 4] + [0, 5, 0, 5]
    standardiser = PositionStandardiser(per_position=False)
    left_out = standardiser.fit_transform_left_out(values)
    np.testing.assert_allclose(standardiser.transform(values), (values - values.mean()) / values.std())
    others = PositionStandardiser(per_position=False).fit(values[1:])
    np.testing.assert_allclose(left_out[0], others.transform(values[:1])[0])
