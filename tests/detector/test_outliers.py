"""Images that stand apart are named, and scores of good parts alone give a name as seldom as stated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from patchebm.detector.outliers import ALPHA, MAX_NAMED, find_outliers


@pytest.mark.parametrize("n", [12, 20, 40, 300])
def test_exponential_scores_give_a_name_at_the_stated_rate(n: int) -> None:
    rng = np.random.default_rng(n)
    named = sum(bool(find_outliers(rng.exponential(size=n), 0.1).indices) for _ in range(1000))
    low, high = stats.binom.ppf([0.0005, 0.9995], 1000, 0.1)
    assert low <= named <= high


@pytest.mark.parametrize("draw", ["normal", "gumbel", "uniform"])
def test_lighter_tails_give_fewer_names(draw: str) -> None:
    rng = np.random.default_rng(0)
    named = sum(bool(find_outliers(getattr(rng, draw)(size=40)).indices) for _ in range(1000))
    assert named <= stats.binom.ppf(0.9995, 1000, ALPHA)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_defects_are_named_and_no_others(count: int) -> None:
    rng = np.random.default_rng(count)
    scores = rng.gumbel(size=40)
    defects = rng.choice(40, count, replace=False)
    scores[defects] = scores.max() + 10 + rng.exponential(size=count)
    found = find_outliers(scores)
    assert set(found.indices) == set(defects.tolist())
    assert found.indices[0] == int(scores.argmax())
    assert found.p < ALPHA


def test_neither_origin_nor_scale_nor_order_counts() -> None:
    rng = np.random.default_rng(5)
    scores = np.append(rng.exponential(size=39), 15)
    expected = find_outliers(scores)
    assert expected.indices == (39,)
    assert find_outliers(1e-6 * scores - 7).indices == expected.indices
    assert find_outliers(scores[::-1]).indices == (0,)
    assert find_outliers(1e3 * scores).p == pytest.approx(expected.p)


def test_the_outliers_own_size_does_not_hide_the_others() -> None:
    """A mean and a standard deviation would be taken along by the largest."""
    scores = np.concatenate([np.random.default_rng(2).normal(size=38), [12.0, 1000.0]])
    assert (12.0 - scores.mean()) / scores.std() < 0
    found = find_outliers(scores)
    assert found.indices[0] == 39
    assert 38 in (*found.indices, *find_outliers(scores[:39]).indices)


def test_what_cannot_be_told_gives_no_name() -> None:
    assert find_outliers(np.append(np.zeros(10), 9.0)).indices == ()
    assert find_outliers(np.full(20, np.nan)).indices == ()
    assert find_outliers(np.zeros(40)).indices == ()


def test_one_among_scores_that_are_all_alike_stands_apart() -> None:
    assert find_outliers(np.append(np.zeros(39), 1.0)).indices == (39,)


def test_of_very_many_images_a_bounded_number_is_named() -> None:
    rng = np.random.default_rng(0)
    scores = np.concatenate([rng.exponential(size=3000), 100 + rng.exponential(size=200)])
    assert len(find_outliers(scores).indices) <= MAX_NAMED
