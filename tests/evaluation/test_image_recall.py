"""AUPIMO against closed forms and its definition taken literally, and counts of masks by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from patchebm.evaluation.image_recall import HIGHEST, LOWEST, image_recall_areas
from patchebm.evaluation.metrics import METRICS, Need, Sample, measure, pixel_metrics
from patchebm.evaluation.pixels import MaskCounts, Pixels

Map, Mask = NDArray[np.float32], NDArray[np.bool_]


def good_map(pixels: int) -> Map:
    """The values 1 to N, so that the share of pixels at or above v is (N + 1 - v) / N."""
    return np.arange(1, pixels + 1, dtype=np.float32)[None]


def image(defect: list[float], sound: list[float]) -> tuple[Map, Mask]:
    heat = np.array([[*defect, *sound]], np.float32)
    return heat, np.arange(heat.size)[None] < len(defect)


def areas(good: list[Map], bad: list[tuple[Map, Mask]], **limits: float) -> list[float]:
    maps = [*good, *(heat for heat, _ in bad)]
    masks = [*(np.zeros(heat.shape, bool) for heat in good), *(mask for _, mask in bad)]
    return image_recall_areas(maps, masks, **limits).tolist()


def test_closed_forms() -> None:
    n = 1_000_000
    good = good_map(n)
    # A defect pixel at v + .5 is found from the rate at which v + 1 and what is above it are false.
    at = {rate: n - rate * n + 0.5 for rate in (0, 1e-5, 2e-5, 5e-5, 1e-4)}
    everything, nothing = image([at[0], n + 9], [n + 9]), image([at[1e-4], 3], [n + 9])
    assert areas([good], [everything, nothing]) == pytest.approx([1, 0])
    # Found at rate r alone: the share of [1e-5, 1e-4] beyond r, in logarithms.
    for rate in (1e-5, 2e-5, 5e-5, 1e-4):
        expected = np.log(1e-4 / rate) / np.log(10)
        assert areas([good], [image([at[rate]], [])]) == pytest.approx([expected], abs=1e-9)
    # Recall is linear in the pixels of a defect, and false ones outside it in its own image do not count.
    half = np.log(1e-4 / 2e-5) / np.log(10) / 2 + np.log(1e-4 / 5e-5) / np.log(10) / 4
    mixed = image([at[2e-5], at[2e-5], at[5e-5], 1], [n + 1] * 50)
    assert areas([good], [mixed]) == pytest.approx([half], abs=1e-9)
    # Limits that so few pixels do not reach: what is found everywhere is found between them, too.
    assert areas([good_map(3)], [image([9], [])], low=0.5, high=0.9) == pytest.approx([1])
    # Other limits: all of the rates from 0.001 to 1 and a recall of r at the rate r.
    uniform = image((np.arange(1, n + 1) + 0.5).tolist(), [])
    wide = areas([good], [uniform], low=1e-3, high=1.0)
    assert wide == pytest.approx([(1 - 1e-3) / np.log(1000)], abs=1e-5)


def test_a_map_without_contrast_finds_nothing() -> None:
    flat = np.full((100, 100), 3, np.float32)
    mask = np.zeros((100, 100), bool)
    mask[:10] = True
    assert areas([flat], [(flat, mask)]) == [0]
    # Above all that good images show, even where they are too few for the rates.
    assert areas([flat], [(flat + 1, mask)]) == pytest.approx([1])


def literal(good: list[Map], heat: Map, mask: Mask, low: float, high: float) -> float:
    """The mean of the recall over rates evenly in their logarithm, each at the lowest threshold allowed."""
    candidates = np.unique(np.concatenate([g.ravel() for g in good]))
    above = np.append(np.nextafter(candidates, np.float32(np.inf)), candidates[0])
    rates = np.array([np.mean([np.mean(g >= t) for g in good]) for t in above])
    recalls = np.array([np.mean(heat[mask] >= t) for t in above])
    found = []
    for rate in np.geomspace(low, high, 4001):
        allowed = rates <= rate * (1 + 1e-9)
        found.append(recalls[allowed].max())
    return float((np.array(found[1:]) + found[:-1]).mean() / 2)


@pytest.mark.parametrize("decimals", [8, 1])
def test_it_is_its_definition(decimals: int) -> None:
    """Images of different sizes count alike, ties come together, and the order of images does not matter."""
    rng = np.random.default_rng(0)
    shapes = [(20, 30), (40, 10), (7, 9), (25, 25)]
    good = [rng.normal(size=shape).round(decimals).astype(np.float32) for shape in shapes]
    bad = []
    for shape in shapes:
        heat = rng.normal(1, 1, size=shape).round(decimals).astype(np.float32)
        bad.append((heat, rng.random(shape) < 0.3))
    found = areas(good, bad, low=0.01, high=0.3)
    expected = [literal(good, heat, mask, 0.01, 0.3) for heat, mask in bad]
    assert found == pytest.approx(expected, abs=2e-3)
    assert areas(good[::-1], bad, low=0.01, high=0.3) == pytest.approx(found)
    assert areas([g * 3 + 1 for g in good], [(h * 3 + 1, m) for h, m in bad], low=0.01, high=0.3) == found
    assert 0.1 < np.mean(found) < 0.9


def test_it_is_the_mean_in_the_table_and_missing_where_it_cannot_be() -> None:
    rng = np.random.default_rng(1)
    maps = [rng.normal(size=(300, 400)).astype(np.float32) for _ in range(6)]
    masks = [np.zeros((300, 400), bool) for _ in maps]
    for i in (3, 4, 5):
        masks[i][100:150, 100:150] = True
        maps[i][masks[i]] += 1.5 * (i - 2)
    found = pixel_metrics(maps, masks)
    assert found["aupimo"] == pytest.approx(image_recall_areas(maps, masks, LOWEST, HIGHEST).mean())
    assert 0.05 < found["aupimo"] < 0.95
    assert "seg_f1" not in found
    only_bad = pixel_metrics(maps[3:], masks[3:])
    assert "aupimo" not in only_bad
    assert "aupro" in only_bad
    assert image_recall_areas(maps[3:], masks[3:]).size == 0


def test_seg_f1_counts_pixels_over_all_images() -> None:
    truth = np.zeros((10, 10), bool)
    truth[:2] = True
    marked = np.zeros((10, 10), bool)
    marked[1:4] = True
    counts = MaskCounts()
    counts.add(marked, truth, good=False)
    assert (counts.found, counts.false, counts.missed) == (10, 20, 10)
    counts.add(np.eye(10, dtype=bool), np.zeros((10, 10), bool), good=True)
    assert (counts.found, counts.false, counts.missed) == (10, 30, 10)
    precision, recall = 10 / 40, 10 / 20
    assert counts.f1 == pytest.approx(2 * precision * recall / (precision + recall))
    assert MaskCounts().f1 == 0
    labels, scores = np.array([True, False]), np.array([1.0, 0.0])
    maps = [marked.astype(np.float32), np.zeros((10, 10), np.float32)]
    pixels = Pixels.of(maps, [truth, np.zeros((10, 10), bool)], counts)
    measured = measure(Sample(labels, scores, pixels=pixels))
    assert measured["seg_f1"] == counts.f1
    assert measured["false_pixel_rate_observed"] == 10 / 100
    assert (
        Sample(labels, scores, pixels=Pixels(pixels.curve, pixels.image_recalls)).missing([Need.MARKED])
        == Need.MARKED
    )


def test_all_three_are_shown_where_there_is_room_for_a_few_only() -> None:
    shown = {metric.name for metric in METRICS if metric.headline}
    assert {"aupro_05", "aupimo", "seg_f1"} <= shown
