"""What good parts score becomes a verdict, and survives being written as JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest

from patchebm.errors import ConfigError
from patchebm.runtime.calibration import Calibration
from patchebm.runtime.pixel_threshold import PixelThreshold
from patchebm.runtime.tail import Tail, part_shares


@pytest.fixture
def learned() -> Calibration:
    rng = np.random.default_rng(0)
    groups = ["a", "a", "b", *[None] * 37]
    scores, heat = rng.normal(size=40), rng.normal(5, 2, (30, 500)).astype(np.float32)
    return Calibration.learned(("patch", "image"), scores, groups, heat, 0.1, 0.01)


def test_it_holds_what_good_parts_score_and_show(learned: Calibration) -> None:
    rng = np.random.default_rng(0)
    scores, heat = rng.normal(size=40), rng.normal(5, 2, (30, 500)).astype(np.float32)
    hottest = heat.max(axis=1).astype(np.float64)
    tail = Tail(scores, part_shares(["a", "a", "b", *[None] * 37]))
    assert learned.threshold == tail.threshold(0.1)
    assert learned.threshold.parts == 39
    assert learned.heat_low == pytest.approx(np.median(hottest))
    assert learned.heat_high == pytest.approx(np.median(hottest) + 4 * np.std(hottest))
    assert learned.pixels == PixelThreshold.learned(heat, 0.01)


def test_good_parts_that_are_all_alike_do_not_glow() -> None:
    alike = Calibration.learned(
        ("patch",), np.arange(9.0), [None] * 9, np.full((9, 4), 3, np.float32), 0.1, 0.01
    )
    assert (alike.heat_low, alike.heat_high) == (3.0, 4.0)


def test_a_map_is_drawn_up_to_its_hottest_pixel(learned: Calibration) -> None:
    cold, hot = np.zeros((2, 2), np.float32), np.full((2, 2), 100, np.float32)
    assert learned.heat_range(cold) == (learned.heat_low, learned.heat_high)
    assert learned.heat_range(hot) == (learned.heat_low, 100.0)


def test_another_rate_moves_the_threshold_alone(learned: Calibration) -> None:
    other = learned.at_false_alarm_rate(0.3)
    assert other.threshold == learned.tail.threshold(0.3)
    assert other.threshold.value < learned.threshold.value
    assert (other.tail, other.heat_low, other.level_names) == (
        learned.tail,
        learned.heat_low,
        learned.level_names,
    )
    with pytest.raises(ConfigError, match="between 0 and 1"):
        learned.at_false_alarm_rate(1.5)
    assert other.pixels == learned.pixels
    marking = learned.at_false_pixel_rate(0.1)
    assert marking.pixels.value < learned.pixels.value
    assert marking.threshold == learned.threshold


def test_it_comes_back_from_json_to_the_last_bit(learned: Calibration) -> None:
    facts = learned.to_dict()
    again = Calibration.from_dict(json.loads(json.dumps(facts | {"other": 1})))
    assert again.to_dict() == facts
    np.testing.assert_array_equal(again.tail.scores, learned.tail.scores)
    np.testing.assert_array_equal(again.tail.weights, learned.tail.weights)
    assert again.threshold == learned.threshold
    assert again.level_names == ("patch", "image")
    for score in np.linspace(-3, 9, 30):
        assert again.tail.probability(score) == learned.tail.probability(score)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("levels", None),
        ("tail", {"scores": [1.0]}),
        ("tail", {"scores": [1.0, "x"], "weights": [1, 1]}),
        ("tail", {"scores": [1.0, np.nan], "weights": [1, 1]}),
        ("threshold", {"value": 1.0}),
        ("heat", {"low": 0.0, "high": np.inf}),
        ("heat", []),
        ("pixels", {"false_pixel_rate": 0.01}),
        ("pixels", None),
    ],
)
def test_facts_that_are_none_are_refused(learned: Calibration, key: str, value: object) -> None:
    with pytest.raises(ValueError):
        Calibration.from_dict(learned.to_dict() | {key: value})
    with pytest.raises(ValueError, match=key):
        Calibration.from_dict({k: v for k, v in learned.to_dict().items() if k != key})
