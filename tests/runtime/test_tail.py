"""Tail probabilities and thresholds against closed forms and simulated lines."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchebm.errors import ConfigError
from patchebm.runtime.tail import Tail, part_shares

RNG = np.random.default_rng


def test_probabilities_are_conformal_up_to_the_largest_score() -> None:
    tail = Tail(np.array([3.0, 1.0, 2.0, 4.0]))
    assert [tail.probability(s) for s in (0.5, 1.0, 2.5, 4.0)] == [1.0, 1.0, 3 / 5, 2 / 5]
    assert not tail.extrapolated(4.0)
    assert tail.extrapolated(4.01)
    assert tail.probability(4.01) <= 1 / 5
    assert math.isnan(tail.probability(math.nan))


def test_the_threshold_keeps_its_false_alarm_rate() -> None:
    # Over many draws the share of new normals above a conformal threshold is at most the rate, and near it.
    rng, above = RNG(0), []
    for _ in range(400):
        threshold = Tail(rng.normal(size=99)).threshold(0.05)
        assert not threshold.extrapolated
        above.append((rng.normal(size=200) > threshold.value).mean())
    assert np.mean(above) == pytest.approx(0.05, abs=0.006)


@pytest.mark.parametrize("n", [10, 20, 50])
def test_extrapolation_is_exact_for_exponential_tails_and_cautious_for_normal_ones(n: int) -> None:
    # A rate of a fifth of what n parts can show. Exceedance is computed, not drawn: less noise.
    rng, rate = RNG(1), 0.2 / (n + 1)
    exponential, normal = [], []
    for _ in range(4000):
        threshold = Tail(rng.exponential(size=n)).threshold(rate)
        assert threshold.extrapolated
        exponential.append(math.exp(-threshold.value))
        value = Tail(rng.normal(size=n)).threshold(rate).value
        normal.append(0.5 * math.erfc(value / math.sqrt(2)))
    # "Never below the largest seen" only ever raises the threshold, by little.
    assert 0.75 * rate < np.mean(exponential) < 1.1 * rate
    assert np.mean(normal) < rate


@pytest.mark.parametrize("n", [2, 3, 7, 60])
def test_a_score_is_beyond_the_threshold_exactly_if_its_probability_is_below_the_rate(n: int) -> None:
    scores = RNG(n).normal(size=n).round(1)
    groups = [f"part {i // 2}" if n > 3 else None for i in range(n)]
    tail = Tail(scores, part_shares(groups))
    tried = np.concatenate([scores, scores + 0.05, np.linspace(-4, 40, 400)])
    for rate in (0.003, 0.05, 0.1, 0.37, 0.8):
        threshold = tail.threshold(rate)
        for score in tried:
            if abs(score - threshold.value) > 1e-9:
                assert (score > threshold.value) == (tail.probability(score) <= rate + 1e-12)
    probabilities = [tail.probability(score) for score in np.sort(tried)]
    assert (np.diff(probabilities) <= 1e-12).all()
    assert probabilities[-1] > 0


def test_images_of_one_part_count_as_one() -> None:
    # Ten parts photographed five times: what each part shows differs, its images hardly do.
    rng, ungrouped, grouped = RNG(0), [], []
    shares = part_shares([f"part {i // 5}" for i in range(50)])
    for _ in range(1000):
        scores = np.repeat(rng.normal(size=10), 5) + 0.01 * rng.normal(size=50)
        new = rng.normal(size=50)
        ungrouped.append((new > Tail(scores).threshold(0.15).value).mean())
        grouped.append((new > Tail(scores, shares).threshold(0.15).value).mean())
    assert Tail(scores, shares).supported_rate == pytest.approx(1 / 11)
    assert 0.08 < np.mean(grouped) < 0.15
    # Two in eleven: the threshold lies among the images of the second oddest part.
    assert np.mean(ungrouped) > 0.165


def test_part_shares() -> None:
    assert part_shares(["a", None, "a", "b", None]).tolist() == [0.5, 1, 0.5, 1, 1]


def test_a_rate_that_the_normals_cannot_support_is_marked() -> None:
    scores = RNG(0).normal(size=10)
    threshold = Tail(scores).threshold(0.01)
    assert threshold.extrapolated
    assert threshold.value >= scores.max()
    assert threshold.supported_rate == pytest.approx(1 / 11)
    assert "10 held-out good images can show 0.091 at best" in threshold.describe()
    assert not Tail(scores).threshold(0.1).extrapolated
    assert "of 5 parts" in Tail(scores, np.full(10, 0.5)).threshold(0.5).describe()


def test_normals_that_are_all_alike_leave_no_room() -> None:
    tail = Tail(np.zeros(10))
    assert tail.threshold(0.01).value == pytest.approx(0, abs=1e-4)
    assert tail.probability(0.0) == 1
    assert 0 < tail.probability(1.0) < 1e-6


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ConfigError, match="false_alarm_rate"):
        Tail(np.arange(5.0)).threshold(rate)


@pytest.mark.parametrize(
    ("scores", "weights", "words"),
    [
        ([1.0], None, "at least two parts"),
        ([1.0, 2.0], [0.5, 0.5], "at least two parts"),
        ([1.0, math.inf], None, "not finite"),
        ([1.0, 2.0], [1.0], "do not fit"),
    ],
)
def test_scores_that_no_threshold_can_stand_on(
    scores: list[float], weights: list[float] | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        Tail(np.array(scores), None if weights is None else np.array(weights))
