"""Intervals, rates from reviews, the queue's order and recalibration: unbiased, with honest intervals."""

from __future__ import annotations

import uuid

import numpy as np
import pytest
from scipy import stats

from patchebm.errors import ConfigError
from patchebm.evaluation.intervals import binomial_interval as with_scipy
from patchebm.runtime.calibration import Calibration
from patchebm.station.statistics import queue
from patchebm.station.statistics.intervals import binomial_interval, weighted_share
from patchebm.station.statistics.recalibration import from_confirmed, preview, represented
from patchebm.station.statistics.reviews import Cell, permanent_number, rates


@pytest.mark.parametrize(("count", "total"), [(0, 5), (5, 5), (1, 20), (3.5, 90.25), (700, 100_000), (0, 1)])
def test_intervals_are_those_of_scipy(count: float, total: float) -> None:
    low = stats.beta.ppf(0.025, count, total - count + 1) if count else 0.0
    high = stats.beta.ppf(0.975, count + 1, total - count) if count < total else 1.0
    assert binomial_interval(count, total) == pytest.approx((low, high), rel=1e-9)


def test_the_house_has_one_interval() -> None:
    assert binomial_interval(3, 40) == pytest.approx(with_scipy(3, 40))


def test_equal_weights_are_no_weights() -> None:
    share = weighted_share([True, False, False, False], [7.0] * 4)
    assert share is not None
    assert (share.low, share.high) == pytest.approx(binomial_interval(1, 4))
    assert weighted_share([], []) is None


def test_rates_are_unbiased_and_their_intervals_cover() -> None:
    # A line of two weeks: 4 % of good parts are NG; .6 % of those that were OK are defective. Weeks differ in
    # length and in the share that is picked. All that were NG are reviewed in the first, a third in the
    # second.
    rng = np.random.default_rng(0)
    truth_fa, truth_miss, weeks = 0.04, 0.006, ((4000, 0.1, 1.0), (9000, 0.05, 1 / 3))
    found_fa, found_miss, covered = [], [], [0, 0]
    repeats = 300
    for _ in range(repeats):
        cells, bad = [], []
        for parts, share, reviewed in weeks:
            ok = parts
            missed = rng.random(ok) < truth_miss
            bad.append(missed)
            picked = missed[rng.random(ok) < share]
            ng_good = rng.binomial(int((~missed).sum()), truth_fa / (1 - truth_fa))
            ng_bad = int(rng.binomial(parts, 0.02))
            n = max(1, round((ng_good + ng_bad) * reviewed))
            good = int(rng.hypergeometric(ng_good, ng_bad, n))
            cells.append(Cell(ng_good + ng_bad, ok, good, n - good, tuple((bool(m), share) for m in picked)))
        said = rates(cells)
        assert said.misses is not None
        assert said.false_alarms is not None
        found_fa.append(said.false_alarms.value)
        found_miss.append(said.misses.value)
        covered[0] += said.false_alarms.low <= truth_fa <= said.false_alarms.high
        covered[1] += said.misses.low <= truth_miss <= said.misses.high
    for found, truth in ((found_fa, truth_fa), (found_miss, truth_miss)):
        error = np.std(found) / np.sqrt(repeats)
        assert abs(np.mean(found) - truth) < 4 * error + 0.02 * truth
    assert min(covered) >= stats.binom.ppf(0.001, repeats, 0.95)


def test_what_was_not_reviewed_is_not_known() -> None:
    said = rates([Cell(ng=10, ok=100, ng_good=0, ng_defective=0, sample=())])
    assert (said.false_alarms, said.misses, said.missed_parts) == (None, None, None)
    none_ng = rates([Cell(0, 100, 0, 0, ())]).false_alarms
    assert none_ng is not None
    assert (none_ng.value, none_ng.low) == (0.0, 0.0)


def waiting(
    score: float = 0.0, tail: float = 0.5, levels: tuple[float, ...] = (0.0, 0.0), number: float = 0.99
):
    bits = int(number * 2**62)
    parts = {chr(97 + i): value for i, value in enumerate(levels)}
    return queue.Waiting(uuid.UUID(int=(7 << 76) | (2 << 62) | bits), score > 3, tail, 0.05, 3.0, parts)


def test_the_queue_shows_each_part_once_and_the_most_informative_first() -> None:
    near, nearer = waiting(tail=0.1, number=0.9), waiting(score=4, tail=0.04, number=0.8)
    apart = waiting(tail=0.4, levels=(5.0, -1.0), number=0.7)
    chance = waiting(number=0.01)
    alarm = waiting(score=9, tail=1e-6, levels=(9, 9), number=0.02)
    dull = waiting(number=0.6)
    found = queue.ordered([dull, chance, near, alarm, apart, nearer], 0.05, 10)
    assert [(p.id, p.reason) for p in found] == [
        (nearer.id, queue.THRESHOLD),
        (chance.id, queue.RANDOM),
        (apart.id, queue.LEVELS),
        (near.id, queue.THRESHOLD),
        (alarm.id, queue.ALARM),
    ]
    assert [p.probability for p in found] == [None, 0.05, None, None, None]
    assert len(queue.ordered([near, nearer], 0.05, 1)) == 1


def test_a_part_of_the_random_sample_counts_as_that_whichever_list_it_came_by() -> None:
    both = waiting(tail=0.05, number=0.01)
    assert queue.ordered([both], 0.05, 10) == [queue.Picked(both.id, queue.RANDOM, 0.05)]
    # An alarm is reviewed because it is one, never by chance.
    assert not queue.in_sample(both.id, True, 1.0)


def test_the_random_sample_has_its_share_and_does_not_depend_on_time() -> None:
    from patchebm.station.database.base import now, time_id

    numbers = [permanent_number(time_id(now())) for _ in range(2000)]
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4


def calibration() -> Calibration:
    heat = np.array([[1.0], [2.0]], dtype=np.float32)
    return Calibration.learned(["a"], np.arange(10.0), [None] * 10, heat, 0.2, 0.1)


def test_a_preview_counts_what_changes() -> None:
    said = preview([1, 2, 3, 4], [False, False, True, True], [None, "good", "defective", None], 1.5)
    assert (said.ng_before, said.ng_after, said.to_ng, said.to_ok, said.good_to_ng) == (2, 3, 1, 0, 1)
    said = preview([1, 2, 3, 4], [False, False, True, True], [None, "good", "defective", None], 3.5)
    assert (said.ng_after, said.to_ok, said.defective_to_ok) == (1, 1, 1)


def test_recalibration_from_biased_reviews_keeps_the_rate() -> None:
    # The line's good parts; the old threshold is too low, so that 10 % are NG. All of those are reviewed, and
    # 10 % of the others.
    rng = np.random.default_rng(1)
    observed, unweighted = [], []
    for _ in range(60):
        scores = rng.normal(size=3000)
        ng = scores > np.quantile(scores, 0.9)
        reviewed = ng | (rng.random(3000) < 0.1)
        represents = represented(ng[reviewed], (int((~ng).sum()), int(ng.sum())))
        found = from_confirmed(
            calibration(), scores[reviewed], [None] * int(reviewed.sum()), represents, 0.05
        )
        observed.append(stats.norm.sf(found.threshold.value))
        same = from_confirmed(
            calibration(), scores[reviewed], [None] * int(reviewed.sum()), np.ones(int(reviewed.sum())), 0.05
        )
        unweighted.append(stats.norm.sf(same.threshold.value))
    assert 0.035 < np.mean(observed) <= 0.05
    # What would happen if all counted the same.
    assert np.mean(unweighted) < 0.02
    assert found.heat_low == calibration().heat_low


def test_images_of_one_part_share_its_weight() -> None:
    scores = np.concatenate([np.arange(30.0), np.full(50, 99.0)])
    groups = [f"part {i}" for i in range(30)] + ["rotten"] * 50
    found = from_confirmed(calibration(), scores, groups, np.ones(80), 0.1)
    assert found.tail.parts == 31
    assert found.threshold.value < 99


def test_too_few_confirmed_parts_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"worth 10 parts .* 20 are needed"):
        from_confirmed(calibration(), np.arange(10.0), [None] * 10, np.ones(10), 0.1)
    # One part that stands for nearly all is not much of a sample.
    with pytest.raises(ConfigError, match="worth 1 parts"):
        from_confirmed(calibration(), np.arange(30.0), [None] * 30, np.array([1e4] + [1] * 29), 0.1)
