"""Images that follow each other and look alike are noticed, others are not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from patchebm.images.order import REACH, at_least, measure_order


def drawn(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 20))


def test_random_order_does_not_matter() -> None:
    found = [measure_order(drawn(100, seed)) for seed in range(40)]
    assert not any(order.matters for order in found)
    # As many as chance has it: at the ends fewer than six are within reach.
    within = sum(1 for i in range(100) for j in range(100) if 0 < abs(i - j) <= REACH)
    assert found[0].expected == pytest.approx(within / 99)
    assert np.mean([order.alike for order in found]) == pytest.approx(found[0].expected, rel=0.15)


def test_views_of_a_part_in_a_row_matter() -> None:
    parts = np.repeat(drawn(25, 0), 4, axis=0)
    order = measure_order(parts + 0.1 * drawn(100, 1))
    assert order.matters
    assert order.alike == order.images == 100
    assert order.p < 1e-50
    shuffled = np.random.default_rng(2).permutation(100)
    assert not measure_order((parts + 0.1 * drawn(100, 1))[shuffled]).matters


def test_light_that_drifts_matters_whatever_the_scale_of_a_channel() -> None:
    drift = drawn(200, 0)
    drift[:, 0] = 1e-6 * np.cumsum(drift[:, 0])
    assert not measure_order(drift).matters
    walk = np.cumsum(drawn(200, 0), axis=0) * np.logspace(-6, 6, 20)
    assert measure_order(walk).matters


@pytest.mark.parametrize("n", [2, 4, 7])
def test_few_and_identical_images(n: int) -> None:
    assert not measure_order(drawn(n, 0)).matters
    assert not measure_order(np.ones((n, 20))).matters


def test_the_tail_of_the_binomial_is_that_of_scipy() -> None:
    for trials, probability in ((1, 0.5), (20, 0.03), (400, 0.1), (2000, 0.003)):
        hits = np.unique(np.linspace(0, trials, 15).round().astype(int))
        found = [at_least(int(k), trials, probability) for k in hits]
        np.testing.assert_allclose(found, binom.sf(hits - 1, trials, probability), rtol=1e-9, atol=1e-300)
    assert at_least(3, 5, 0.0) == 0
    assert at_least(3, 5, 1.0) == 1
