"""Control charts: rare false signals, shifts found soon, limits that are exact."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from patchebm.station.statistics.control import average_chart, binomial_limits, share_chart


def test_false_signals_are_as_rare_as_stated_and_a_shift_is_found_soon() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.normal(5, 2, 20_000)
    runs, delays = [], []
    for _ in range(150):
        chart = average_chart(rng.normal(5, 2, 3000), baseline)
        assert chart is not None
        signals = np.flatnonzero(chart.outside)
        runs.append(signals[0] if len(signals) else 3000)
        shifted = average_chart(rng.normal(7, 2, 200), baseline)
        assert shifted is not None
        delays.append(np.flatnonzero(shifted.outside)[0])
    assert 350 < np.mean(runs) < 650
    assert np.mean(delays) < 12


def test_defects_in_the_baseline_do_not_widen_the_limits() -> None:
    rng = np.random.default_rng(1)
    clean = rng.normal(0, 1, 200)
    spoilt = np.concatenate([clean, np.full(10, 50.0)])
    charts = [average_chart([0.0] * 50, values) for values in (clean, spoilt)]
    assert charts[0] is not None
    assert charts[1] is not None
    assert charts[1].high[-1] == pytest.approx(charts[0].high[-1], abs=0.15)
    assert average_chart([0.0], [1.0] * 9) is None


def test_figures_that_never_vary_give_no_signal() -> None:
    chart = average_chart([0.3] * 20, [0.3] * 50)
    assert chart is not None
    assert not chart.outside.any()


@pytest.mark.parametrize(("share", "total"), [(0.02, 50), (0.3, 100), (0.5, 7), (0.0, 20), (1.0, 20)])
def test_limits_of_a_share_are_exact(share: float, total: int) -> None:
    low, high = binomial_limits(share, total)
    law = stats.binom(total, share)
    assert law.sf(high) <= 0.00135 < (law.sf(high - 1) if high else 1)
    assert law.cdf(low - 1) <= 0.00135 < law.cdf(low)


def test_a_share_is_drawn_by_full_groups() -> None:
    chart = share_chart([True] * 5 + [False] * 5 + [True], 0.1, 5)
    assert chart.values.tolist() == [1.0, 0.0]
    assert chart.outside.tolist() == [True, False]
