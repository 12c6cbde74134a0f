"""The drift test: exact ranks, a fair martingale, alarms within the bound, and changes that are found."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration
from patchebm.station.statistics.drift import DriftTest, Figures
from patchebm.station.statistics.martingale import JumperMartingale
from patchebm.station.statistics.ranks import RankCounts


def good(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 3): scores of good parts, skewed, of mean 0 and standard deviation 1; brightness; sharpness."""
    return np.stack(
        [rng.gamma(4, size=n) / 2 - 2, rng.normal(0.5, 0.01, n), np.exp(rng.normal(-5, 0.1, n))], axis=1
    )


def first_alarm(test: DriftTest, stream: np.ndarray) -> float:
    for i, row in enumerate(stream):
        if test.update(Figures(*row)).alarm:
            return i
    return math.inf


def test_p_values_are_uniform_and_independent_though_scores_tie() -> None:
    rng = np.random.default_rng(1)
    pairs = []
    for _ in range(4000):
        # Few values, so that most are ties; two calibration scores.
        ranks = RankCounts(rng.integers(0, 3, 2))
        pairs.append([ranks.p_value(float(rng.integers(0, 3)), rng.random()) for _ in range(4)])
    p = np.array(pairs)
    for column in p.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(p.T) - np.eye(4)).max() < 4 / math.sqrt(len(p))
    assert stats.chisquare(np.histogram2d(p[:, 2], p[:, 3], 4)[0].ravel()).pvalue > 1e-3


def test_ranks_say_which_share_was_as_high() -> None:
    ranks = RankCounts([1, 2, 3, 4])
    assert ranks.p_value(3.0, 0.5) == pytest.approx((1 + 0.5 * 2) / 5)
    assert ranks.p_value(1e9, 0.5) == pytest.approx(0.5 / 6)
    assert ranks.p_value(-1e9, 0.5) == pytest.approx(6.5 / 7)
    with pytest.raises(ConfigError, match="finite"):
        ranks.p_value(math.nan, 0.5)


def test_bets_are_fair_at_every_point() -> None:
    # The mean of the capital over a uniform p-value is the capital before, exactly: bets are linear in p.
    martingale = JumperMartingale()
    for p in (0.1, 0.9, 0.02, 0.01, 0.05, 0.5, 0.99):
        before = martingale.log_capital
        after = []
        for q in (0.25, 0.75):
            tried = JumperMartingale(martingale.log_stakes, martingale.parts)
            after.append(math.exp(tried.update(q)))
        assert sum(after) / 2 == pytest.approx(math.exp(before), rel=1e-12)
        martingale.update(p)
    assert JumperMartingale().log_capital == pytest.approx(0.0)


@pytest.mark.station
@pytest.mark.parametrize("calibrated", [0, 40])
def test_alarms_of_1000_streams_without_change_keep_the_bound(calibrated: int) -> None:
    # A probability at which false alarms can be counted. The bound allows chance its interval.
    rng = np.random.default_rng(2)
    alpha, streams = 0.1, 1000
    alarms = 0
    for seed in range(streams):
        test = DriftTest(seed, good(rng, calibrated)[:, 0], alpha)
        alarms += math.isfinite(first_alarm(test, good(rng, 100)))
    assert alarms <= stats.binom.ppf(0.999, streams, alpha)
    # A test that never alarms would also keep it.
    assert alarms > 0


@pytest.mark.parametrize(
    ("column", "change", "within"),
    [
        (0, lambda score: score + 1, 120),
        (0, lambda score: score - 1, 120),
        (1, lambda brightness: brightness * 0.9, 60),
        (2, lambda variance: variance * 0.5, 60),
    ],
)
@pytest.mark.parametrize("at", [200, 3000])
def test_a_change_is_found_soon_whenever_it_comes(column: int, change, within: int, at: int) -> None:
    delays = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        stream = good(rng, at + 400)
        stream[at:, column] = change(stream[at:, column])
        delays.append(first_alarm(DriftTest(seed, good(rng, 50)[:, 0]), stream) - at)
    assert 0 <= np.median(delays) <= within


def test_a_line_whose_parts_differ_from_the_calibration_is_found_from_the_first_part_on() -> None:
    rng = np.random.default_rng(3)
    calibration = good(rng, 60)[:, 0]
    stream = good(rng, 200)
    stream[:, 0] += 2
    assert first_alarm(DriftTest(0, calibration), stream) < 60
    # Without the calibration parts nothing has changed on this line.
    assert first_alarm(DriftTest(0), stream) == math.inf


@pytest.mark.parametrize("share", [0.02, 0.05])
def test_a_steady_share_of_defects_is_no_change(share: float) -> None:
    alarms = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        stream = good(rng, 1000)
        stream[rng.random(1000) < share, 0] += 8
        alarms += math.isfinite(first_alarm(DriftTest(seed, good(rng, 60)[:, 0]), stream))
    assert alarms <= 1


def test_a_stored_test_goes_on_as_if_it_had_not_been() -> None:
    stream = good(np.random.default_rng(4), 300)
    whole, stored = DriftTest(7, [0.0, 1.0]), DriftTest(7, [0.0, 1.0])
    for i, row in enumerate(stream):
        if i % 50 == 0:
            stored = DriftTest.from_dict(json.loads(json.dumps(stored.to_dict())))
        assert stored.update(Figures(*row)) == whole.update(Figures(*row))
    assert stored.to_dict() == whole.to_dict()


def test_what_is_stored_stays_small() -> None:
    test = DriftTest(0)
    rng = np.random.default_rng(5)
    for row in good(rng, 3000):
        test.update(Figures(*row))
    early = len(json.dumps(test.to_dict()))
    for row in good(rng, 3000):
        test.update(Figures(*row))
    assert len(json.dumps(test.to_dict())) < 1.25 * early < 30_000


def test_a_part_without_figures_changes_nothing() -> None:
    test = DriftTest(0)
    with pytest.raises(ConfigError, match="finite"):
        test.update(Figures(1.0, math.nan, 1.0))
    assert test.parts == 0
    assert test.to_dict() == DriftTest(0).to_dict()


@pytest.mark.parametrize(
    "spoil", [{"figures": {}}, {"seed": None}, {"peak": "high?"}, {"false_alarm_probability": 2}]
)
def test_what_was_not_stored_by_this_test_is_refused(spoil: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        DriftTest.from_dict(DriftTest(0).to_dict() | spoil)


def test_calibration_parts_of_several_images_are_left_out() -> None:
    heat = np.array([[1.0], [2.0]], dtype=np.float32)
    scores = np.array([0.0, 1.0, 2.0, 3.0])
    single = Calibration.learned(["a"], scores, [None] * 4, heat, 0.2, 0.1)
    double = Calibration.learned(["a"], scores, ["x", "x", "y", "y"], heat, 0.2, 0.1)
    assert sum(n for _, n in DriftTest.against(single, 0).to_dict()["figures"]["score"]["ranks"]) == 4
    assert DriftTest.against(double, 0).to_dict()["figures"]["score"]["ranks"] == []
