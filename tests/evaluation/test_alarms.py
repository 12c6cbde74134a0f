"""False alarms of one set and of several against their definition."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from patchebm.evaluation.alarms import observed, pooled
from patchebm.evaluation.intervals import binomial_interval


def test_within_means_that_the_count_is_no_surprise_at_the_stated_rate() -> None:
    verdicts = []
    for count in range(61):
        surprise = min(binom.cdf(count, 100, 0.05), binom.sf(count - 1, 100, 0.05))
        verdict = observed([count], 100, 0.05)["within"]
        assert verdict == (surprise > 0.025)
        verdicts.append(verdict)
    assert any(verdicts)
    assert not all(verdicts)


def test_seeds_do_not_multiply_images_and_sets_do() -> None:
    one = observed([2, 1, 3], 40, 0.05)
    assert one["rate"] == pytest.approx(2 / 40)
    assert one["interval"] == pytest.approx(list(binomial_interval(2, 40)))
    other = observed([0, 0, 1], 60, 0.05)
    both = pooled([one, other], 0.05)
    assert both["good"] == 100
    assert both["rate"] == pytest.approx((2 + 1 / 3) / 100)
    assert both["interval"] == pytest.approx(list(binomial_interval(7 / 3, 100)))
    assert both["largest_rate"] == pytest.approx(0.05)
