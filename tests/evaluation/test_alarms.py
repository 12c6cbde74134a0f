"""Intervals against scipy's binomial test and against their definition."""

from __future__ import annotations

import pytest
from scipy.stats import binom, binomtest

from patchebm.evaluation.alarms import clopper_pearson, observed, pooled


@pytest.mark.parametrize(("count", "total"), [(0, 20), (1, 20), (20, 20), (7, 193), (0, 1), (33, 387)])
def test_the_interval_is_that_of_scipy(count: int, total: int) -> None:
    interval = binomtest(count, total).proportion_ci(0.95, method="exact")
    assert clopper_pearson(count, total) == pytest.approx((interval.low, interval.high), abs=1e-12)


def test_the_interval_of_a_mean_count_lies_between() -> None:
    low, high = clopper_pearson(1.5, 20)
    assert clopper_pearson(1, 20)[0] < low < clopper_pearson(2, 20)[0]
    assert clopper_pearson(1, 20)[1] < high < clopper_pearson(2, 20)[1]


def test_within_means_that_the_count_is_no_surprise_at_the_stated_rate() -> None:
    verdicts = []
    for count in range(61):
        surprise = min(binom.cdf(count, 100, 0.05), binom.sf(count - 1, 100, 0.05))
        verdict = observed([count], 100, 0.05)["within"]
        assert verdict == (surprise > 0.025)
        verdicts.append(verdict)
    assert any(verdicts)
    assert not all(verdicts)


def test_seeds_do_not_multiply_pictures_and_sets_do() -> None:
    one = observed([2, 1, 3], 40, 0.05)
    assert one["rate"] == pytest.approx(2 / 40)
    assert one["interval"] == pytest.approx(list(clopper_pearson(2, 40)))
    other = observed([0, 0, 1], 60, 0.05)
    both = pooled([one, other], 0.05)
    assert both["good"] == 100
    assert both["rate"] == pytest.approx((2 + 1 / 3) / 100)
    assert both["interval"] == pytest.approx(list(clopper_pearson(7 / 3, 100)))
    assert both["largest_rate"] == pytest.approx(0.05)
