"""Regions of maps against scipy and by hand, and the threshold that marks them against its definition."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from patchebm.config.base import RunConfig
from patchebm.config.build import check_config
from patchebm.errors import ConfigError
from patchebm.runtime.pixel_threshold import HIGHEST_RATE, LOWEST_RATE, MARGIN, PixelThreshold
from patchebm.runtime.regions import find_regions, regions_sentence

EIGHT = np.ones((3, 3), dtype=bool)


def smooth(height: int, width: int, seed: int, sigma: float = 4.0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=(height, width))
    heat = ndimage.gaussian_filter(noise, sigma)
    return (heat / heat.std()).astype(np.float32)


def by_scipy(heat: NDArray[np.float32], threshold: float) -> list[tuple[object, ...]]:
    """What scipy says of each region: area, box, peak and centre."""
    labels, count = ndimage.label(heat > threshold, structure=EIGHT)
    numbers = np.arange(1, count + 1)
    areas = ndimage.sum_labels(np.ones(heat.shape), labels, numbers)
    peaks = ndimage.maximum(heat, labels, numbers)
    centres = ndimage.center_of_mass(np.ones(heat.shape), labels, numbers)
    boxes = [(x.start, y.start, x.stop - x.start, y.stop - y.start) for y, x in ndimage.find_objects(labels)]
    rows = [
        (int(area), box, float(peak), pytest.approx((x, y)))
        for area, box, peak, (y, x) in zip(areas, boxes, peaks, centres, strict=True)
    ]
    return sorted(rows, key=lambda row: (-row[2], -row[0], row[1][1], row[1][0]))


@pytest.mark.parametrize(
    "heat",
    [
        smooth(180, 240, 0),
        smooth(97, 61, 1, 1.0),
        # Noise of single pixels: many small regions, and at a low threshold few that wind through all of it.
        np.random.default_rng(2).random((70, 90), dtype=np.float32),
        np.indices((41, 40)).sum(0).astype(np.float32) % 2,
        # Levels that are often equal, so that peaks tie.
        np.round(smooth(120, 120, 3, 2.0)),
        np.ones((5, 7), np.float32),
        np.ones((1, 1), np.float32),
    ],
)
@pytest.mark.parametrize("quantile", [0.0, 0.5, 0.8, 0.99])
def test_they_are_those_of_scipy(heat: NDArray[np.float32], quantile: float) -> None:
    threshold = float(np.quantile(heat, quantile)) - 1e-6 * (quantile == 0)
    regions, mask = find_regions(heat, threshold)
    assert np.array_equal(mask, heat > threshold)
    assert [(r.area, r.box, r.peak, r.centre) for r in regions] == by_scipy(heat, threshold)
    assert sum(region.share for region in regions) == pytest.approx(mask.mean())


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1))
def test_every_small_mask_has_the_regions_of_scipy(height: int, width: int, bits: int) -> None:
    pixels = [bits >> i & 1 for i in range(height * width)]
    heat = np.array(pixels, dtype=np.float32).reshape(height, width)
    regions, _ = find_regions(heat, 0.5)
    assert [(r.area, r.box, r.peak, r.centre) for r in regions] == by_scipy(heat, 0.5)


def test_a_spiral_is_one_region() -> None:
    side = 81
    heat = np.zeros((side, side), np.float32)
    y = x = 0
    steps = [(0, 1), (1, 0), (0, -1), (-1, 0)]
    lengths = [side - 1, *[n for n in range(side - 1, 2, -2) for _ in range(2)]]
    for turn, length in enumerate(lengths):
        for _ in range(length):
            heat[y, x] = 1
            y, x = y + steps[turn % 4][0], x + steps[turn % 4][1]
    regions, _ = find_regions(heat, 0.5)
    assert len(regions) == ndimage.label(heat, EIGHT)[1] == 1


def test_a_region_says_where_it_is() -> None:
    heat = np.zeros((20, 30), np.float32)
    heat[4:7, 10:18] = 2
    heat[5, 12] = 5
    heat[15, 2] = 9
    heat[16, 3] = 8
    first, second = find_regions(heat, 1)[0]
    assert (first.area, first.box, first.centre, first.peak) == (2, (2, 15, 2, 2), (2.5, 15.5), 9)
    assert (second.area, second.box, second.centre, second.peak) == (24, (10, 4, 8, 3), (13.5, 5), 5)
    assert second.share == 24 / 600
    record = json.loads(json.dumps(second.record()))
    assert record == {"area": 24, "share": 0.04, "box": [10, 4, 8, 3], "centre": [13.5, 5], "peak": 5}
    both = (first, second)
    assert regions_sentence(both) == "2 regions, the hottest: 2 px (0.33%) at x 2, y 16"
    assert regions_sentence(both[1:]) == "1 region: 24 px (4.00%) at x 14, y 5"


def test_small_regions_are_neither_listed_nor_marked() -> None:
    heat = smooth(150, 150, 5, 2.0)
    everything, _ = find_regions(heat, 1.2)
    assert min(region.area for region in everything) < 20 < max(region.area for region in everything)
    large, mask = find_regions(heat, 1.2, smallest=20)
    assert large == tuple(region for region in everything if region.area >= 20)
    labels, _ = ndimage.label(heat > 1.2, structure=EIGHT)
    areas = np.bincount(labels.ravel())
    assert np.array_equal(mask, (labels > 0) & (areas[labels] >= 20))
    assert find_regions(heat, 1.2, smallest=heat.size)[0] == ()
    assert not find_regions(heat, 1.2, smallest=heat.size)[1].any()


def test_nothing_hot_has_no_region_and_a_broken_map_is_refused() -> None:
    assert find_regions(np.zeros((3, 3), np.float32), 0)[0] == ()
    with pytest.raises(ValueError, match="not finite"):
        find_regions(np.array([[0, np.nan]], np.float32), 0)


# -- which pixels are marked --


@pytest.fixture(scope="module")
def heat() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(32, 60_000)).astype(np.float32)


@pytest.mark.parametrize("rate", [1e-5, 1e-4, 1e-3, 2e-3, 0.05, 0.1])
def test_at_most_the_rate_of_good_pixels_is_marked(heat: NDArray[np.float32], rate: float) -> None:
    threshold = PixelThreshold.learned(heat, rate)
    marked = float(np.mean(heat > threshold.value))
    # Between the rates that are kept the threshold is interpolated.
    assert 0.9 * rate <= marked <= rate * 1.02
    if rate in (1e-5, 1e-4, 1e-3, 0.1):
        assert marked <= rate
    fresh = np.random.default_rng(1).normal(size=(32, 60_000))
    assert np.mean(fresh > threshold.value) == pytest.approx(rate, rel=4 * (rate * heat.size / 2) ** -0.5)
    assert threshold.images_marked == np.count_nonzero((heat > threshold.value).any(1))
    assert threshold.at(rate) == threshold
    assert threshold.at(0.01).value == PixelThreshold.learned(heat, 0.01).value


def test_ties_are_not_marked_beyond_the_rate() -> None:
    heat = np.zeros((10, 1000), np.float32)
    heat[:, :11] = 2
    # 1.1 % are equal: at 1 % none of them may be marked, at 2 % all.
    assert PixelThreshold.learned(heat, 0.01).value == 2
    assert PixelThreshold.learned(heat, 0.1).value == MARGIN


def test_good_parts_that_are_all_alike_leave_a_margin() -> None:
    threshold = PixelThreshold.learned(np.full((4, 100), 3.0, np.float32), 1e-3)
    assert threshold.value == 3 + MARGIN
    assert threshold.images_marked == 0


def test_a_sentence_says_what_it_means(heat: NDArray[np.float32]) -> None:
    threshold = PixelThreshold.learned(heat, 1e-5)
    assert threshold.describe() == (
        "at most 1e-05 of the pixels of good parts are marked; of 32 held-out good images "
        f"{threshold.images_marked} have a marked region"
    )
    assert 0 < threshold.images_marked < 32


@pytest.mark.parametrize("rate", [0.0, 9e-6, 0.11, 1.0, float("nan")])
def test_rates_that_the_maps_cannot_know_are_refused(heat: NDArray[np.float32], rate: float) -> None:
    with pytest.raises(ConfigError, match=r"not between 1e-05 and 0\.1; use for instance 0\.001"):
        PixelThreshold.learned(heat, 1e-3).at(rate)


def test_the_configuration_allows_the_same_rates() -> None:
    for rate in (LOWEST_RATE, HIGHEST_RATE):
        assert build_rate(rate).false_pixel_rate == rate
    for rate in (LOWEST_RATE * 0.99, HIGHEST_RATE * 1.01):
        with pytest.raises(ConfigError, match=r"false_pixel_rate.*a number from 0\.00001 to 0\.1"):
            build_rate(rate)


def build_rate(rate: float) -> RunConfig:
    from patchebm.config.presets import load_preset

    config = load_preset("features", {"false_pixel_rate": rate})
    check_config(config)
    return config


def test_it_comes_back_from_json(heat: NDArray[np.float32]) -> None:
    threshold = PixelThreshold.learned(heat, 2e-3)
    facts = json.loads(json.dumps(threshold.to_dict()))
    assert PixelThreshold.from_dict(facts) == threshold
    for key, value in {
        "values": facts["values"][:-1],
        "peaks": [float("inf")],
    }.items():
        with pytest.raises(ValueError, match="finite values"):
            PixelThreshold.from_dict(facts | {key: value})
    with pytest.raises(ValueError, match="must not rise"):
        PixelThreshold.from_dict(facts | {"values": facts["values"][::-1]})
    with pytest.raises(ConfigError):
        PixelThreshold.from_dict(facts | {"false_pixel_rate": 7})
