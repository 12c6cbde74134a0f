"""Metrics against threshold loops written independently, closed-form cases and invariances."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from patchebm.evaluation.metrics import (
    METRICS,
    Metric,
    Need,
    Sample,
    image_metrics,
    measure,
    pixel_metrics,
)
from patchebm.evaluation.pixels import MaskCounts, Pixels

Floats = npt.NDArray[np.float64]


def pairs_auroc(labels: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Share of (anomalous, good) pairs in the right order, ties half: the definition, without a curve."""
    difference = scores[labels][:, None] - scores[~labels][None, :]
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def loop_ap(labels: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Sum of (recall step) * precision over all thresholds."""
    area = recall = 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        called = scores >= threshold
        new_recall = float(np.mean(called[labels]))
        area += (new_recall - recall) * float(np.mean(labels[called]))
        recall = new_recall
    return area


def loop_oracle(labels: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Best balanced accuracy over all thresholds, "call none" included."""
    thresholds = [*scores.tolist(), np.inf]
    return max((np.mean(scores[labels] >= t) + np.mean(scores[~labels] < t)) / 2 for t in thresholds)


def loop_fpr(labels: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Least share of good ones at or above a threshold that finds 95 % of the anomalous."""
    rates = []
    for threshold in scores.tolist():
        if 20 * np.count_nonzero(scores[labels] >= threshold) >= 19 * np.count_nonzero(labels):
            rates.append(float(np.mean(scores[~labels] >= threshold)))
    return min(rates)


def loop_f1(labels: npt.NDArray[np.bool_], scores: Floats) -> float:
    """Best F1 over all thresholds."""
    best = 0.0
    for threshold in scores.tolist():
        called = scores >= threshold
        right = np.count_nonzero(called & labels)
        best = max(best, 2 * right / (np.count_nonzero(called) + np.count_nonzero(labels)))
    return best


def flood_regions(mask: npt.NDArray[np.bool_]) -> list[list[tuple[int, int]]]:
    """8-connected regions by flood fill, with no image library."""
    todo = {(int(y), int(x)) for y, x in zip(*np.nonzero(mask), strict=True)}
    regions = []
    while todo:
        stack, region = [todo.pop()], []
        while stack:
            y, x = stack.pop()
            region.append((y, x))
            for neighbour in [(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]:
                if neighbour in todo:
                    todo.remove(neighbour)
                    stack.append(neighbour)
        regions.append(region)
    return regions


def loop_aupro(
    maps: list[npt.NDArray[np.float32]], masks: list[npt.NDArray[np.bool_]], limit: float
) -> float:
    """PRO curve with one threshold per distinct value, integrated on a fine grid of rates."""
    regions = [
        np.array([heat[y, x] for y, x in region])
        for heat, mask in zip(maps, masks, strict=True)
        for region in flood_regions(mask)
    ]
    normal = np.concatenate([heat[~mask] for heat, mask in zip(maps, masks, strict=True)])
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted({float(v) for heat in maps for v in heat.ravel()}, reverse=True):
        rates.append(float(np.mean(normal >= threshold)))
        overlaps.append(float(np.mean([np.mean(values >= threshold) for values in regions])))
    # A vertical piece has no width: nudging its upper end makes the curve a function that can be sampled.
    nudged = np.array(rates) + np.arange(len(rates)) * 1e-10
    grid = np.linspace(0.0, limit, 200_001)
    return float(np.trapezoid(np.interp(grid, nudged, overlaps), grid) / limit)


def verdict_metrics(labels: list[bool], verdicts: list[bool]) -> dict[str, object]:
    """Counts and metrics of verdicts; the scores are of no account."""
    sample = Sample(np.array(labels), np.zeros(len(labels)), np.array(verdicts))
    chosen = [metric for metric in METRICS if Need.VERDICTS in metric.needs]
    return measure(sample, chosen) | sample.counts


def random_maps(seed: int, levels: int) -> tuple[list[npt.NDArray[np.float32]], list[npt.NDArray[np.bool_]]]:
    """Small maps of several sizes with many ties; the last image is good."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for height, width in ((12, 9), (7, 15), (10, 10)):
        mask = rng.random((height, width)) < 0.12
        maps.append((rng.integers(0, levels, (height, width)) + 2 * mask).astype(np.float32))
        masks.append(mask)
    masks[-1][:] = False
    return maps, masks


@pytest.mark.parametrize("levels", [3, 12, 10**6])
@pytest.mark.parametrize("seed", range(4))
def test_image_metrics_equal_the_loops(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random(40) < 0.6
    scores = rng.integers(0, levels, 40) / 7 + labels * 0.3
    measured = image_metrics(labels, scores)
    assert measured["image_auroc"] == pytest.approx(pairs_auroc(labels, scores), abs=1e-9)
    assert measured["image_ap"] == pytest.approx(loop_ap(labels, scores), abs=1e-9)
    assert measured["oracle_balanced_accuracy"] == pytest.approx(loop_oracle(labels, scores), abs=1e-9)
    assert measured["fpr_at_95_tpr"] == pytest.approx(loop_fpr(labels, scores), abs=1e-9)
    assert measured["oracle_f1"] == pytest.approx(loop_f1(labels, scores), abs=1e-9)


def test_image_metrics_know_only_the_order() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(50) < 0.5
    scores = rng.normal(size=50) + labels
    expected = image_metrics(labels, scores)
    assert image_metrics(labels, np.exp(3 * scores)) == pytest.approx(expected)
    order = rng.permutation(50)
    assert image_metrics(labels[order], scores[order]) == pytest.approx(expected)
    assert image_metrics(labels, -scores)["image_auroc"] == pytest.approx(1 - expected["image_auroc"])


def test_image_metrics_at_the_extremes() -> None:
    labels = np.array([False, False, True, True, True])
    perfect = {
        "image_auroc": 1,
        "image_ap": 1,
        "oracle_balanced_accuracy": 1,
        "oracle_f1": 1,
        "fpr_at_95_tpr": 0,
    }
    assert image_metrics(labels, np.arange(5.0)) == perfect
    constant = {
        "image_auroc": 0.5,
        "image_ap": 0.6,
        "oracle_balanced_accuracy": 0.5,
        "oracle_f1": 0.75,
        "fpr_at_95_tpr": 1.0,
    }
    assert image_metrics(labels, np.full(5, 7.0)) == pytest.approx(constant)
    assert image_metrics(labels, -np.arange(5.0))["oracle_balanced_accuracy"] == 0.5


@pytest.mark.parametrize("label", [True, False])
def test_one_class_has_no_image_metrics(label: bool) -> None:
    assert image_metrics([label] * 3, [1.0, 2.0, 3.0]) == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="1 of 3 scores are not finite"):
        image_metrics([False, True, True], [0.0, bad, 1.0])


def test_labels_and_scores_must_be_one_vector_each() -> None:
    with pytest.raises(ValueError, match="one length"):
        image_metrics([False, True], [0.0, 1.0, 2.0])
    with pytest.raises(ValueError, match="one length"):
        Sample(np.array([False, True]), np.zeros(2), np.array([True]))


def test_the_oracle_finds_skill_in_noise_and_auroc_does_not() -> None:
    """The thesis' case, 28 good and 89 anomalous bottles: its best of 200 epochs reads 0.676 on noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(117) >= 28
    chosen = [metric for metric in METRICS if metric.name in ("image_auroc", "oracle_balanced_accuracy")]
    auroc, best = [], []
    for _ in range(5):
        samples = [Sample(labels, rng.random(117)) for _ in range(200)]
        epochs = [measure(sample, chosen, intervals=False) for sample in samples]
        assert min(epoch["oracle_balanced_accuracy"] for epoch in epochs) >= 0.5
        best.append(max(epoch["oracle_balanced_accuracy"] for epoch in epochs))
        auroc += [epoch["image_auroc"] for epoch in epochs]
    # The AUROC of noise has a standard deviation of 0.063 here, its mean over 1000 draws of 0.002.
    assert np.mean(auroc) == pytest.approx(0.5, abs=0.01)
    assert np.mean(best) == pytest.approx(0.676, abs=0.03)


def test_nineteen_of_twenty_are_95_percent() -> None:
    scores = np.append(np.arange(20.0), 0.5)
    assert image_metrics(np.arange(21) < 20, scores)["fpr_at_95_tpr"] == 0.0
    scores[-1] = 1.5
    assert image_metrics(np.arange(21) < 20, scores)["fpr_at_95_tpr"] == 1.0


def test_verdict_metrics_count_errors() -> None:
    labels = [False] * 4 + [True] * 5
    verdicts = [True, False, False, False, True, True, True, False, False]
    measured = verdict_metrics(labels, verdicts)
    # Clopper and Pearson's, from tables.
    assert measured.pop("false_alarm_rate_observed_interval") == pytest.approx([0.0063, 0.8059], abs=1e-4)
    assert measured.pop("miss_rate_interval") == pytest.approx([0.0527, 0.8534], abs=1e-4)
    assert measured == {
        "good_count": 4,
        "anomalous_count": 5,
        "false_alarm_count": 1,
        "miss_count": 2,
        "false_alarm_rate_observed": 0.25,
        "miss_rate": 0.4,
        "recall": 0.6,
        "precision": 0.75,
        "f1": pytest.approx(2 / (1 / 0.6 + 1 / 0.75)),
    }


def test_verdict_metrics_leave_out_a_rate_of_nothing() -> None:
    only_good, only_bad = verdict_metrics([False], [True]), verdict_metrics([True], [True])
    assert not {"miss_rate", "recall", "f1", "precision", "miss_rate_interval"} & set(only_good)
    assert not {"false_alarm_rate_observed", "f1", "precision"} & set(only_bad)
    assert only_bad["recall"] == 1
    silent = verdict_metrics([True, False], [False, False])
    assert silent["f1"] == 0
    assert "precision" not in silent


@pytest.mark.parametrize("levels", [2, 5, 40, 10**5])
@pytest.mark.parametrize("seed", range(4))
def test_pixel_metrics_equal_the_loops(seed: int, levels: int) -> None:
    maps, masks = random_maps(seed, levels)
    measured = pixel_metrics(maps, masks)
    labels = np.concatenate([mask.ravel() for mask in masks])
    values = np.concatenate([heat.ravel() for heat in maps]).astype(np.float64)
    assert measured["pixel_auroc"] == pytest.approx(pairs_auroc(labels, values), abs=1e-6)
    assert measured["aupro"] == pytest.approx(loop_aupro(maps, masks, 0.3), abs=1e-4)
    assert measured["aupro_05"] == pytest.approx(loop_aupro(maps, masks, 0.05), abs=1e-4)


def test_pixel_metrics_know_only_the_order() -> None:
    maps, masks = random_maps(9, 30)
    expected = pixel_metrics(maps, masks)
    assert pixel_metrics([np.exp(heat / 8 - 3) for heat in maps], masks) == pytest.approx(expected)
    assert pixel_metrics(maps[::-1], masks[::-1]) == pytest.approx(expected)
    flipped = pixel_metrics([heat[::-1, ::-1] for heat in maps], [mask[::-1, ::-1] for mask in masks])
    assert flipped == pytest.approx(expected)


def test_perfect_maps_reach_one() -> None:
    _, masks = random_maps(2, 5)
    measured = pixel_metrics([mask.astype(np.float32) for mask in masks], masks)
    assert measured == pytest.approx({"pixel_auroc": 1.0, "aupro": 1.0, "aupro_05": 1.0, "aupimo": 1.0})


def test_constant_maps_know_nothing() -> None:
    """The curve is the diagonal, whose mean height up to a limit is half the limit."""
    _, masks = random_maps(3, 5)
    measured = pixel_metrics([np.zeros(mask.shape, dtype=np.float32) for mask in masks], masks)
    assert measured == pytest.approx({"pixel_auroc": 0.5, "aupro": 0.15, "aupro_05": 0.025, "aupimo": 0})


def test_regions_count_alike_whatever_their_size() -> None:
    """A found region of one pixel and a missed one of nine: the overlap is a half, the recall a tenth."""
    mask = np.zeros((10, 10), dtype=bool)
    mask[0, 0] = True
    mask[5:8, 5:8] = True
    heat = np.zeros((10, 10), dtype=np.float32)
    heat[0, 0] = 2.0
    heat[mask & (heat == 0)] = -1.0
    assert pixel_metrics([heat], [mask])["aupro"] == pytest.approx(0.5)
    assert pixel_metrics([heat], [mask])["pixel_auroc"] == pytest.approx(0.1)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((6, 6), dtype=bool)
    mask[0, 0] = mask[1, 1] = mask[5, 5] = True
    heat = np.zeros((6, 6), dtype=np.float32)
    heat[0, 0] = 1.0
    heat[1, 1] = heat[5, 5] = -1.0
    # Half of one region of two, nothing of the other: with 4-neighbours it would be a third.
    assert pixel_metrics([heat], [mask])["aupro"] == pytest.approx(0.25)


def test_an_empty_mask_of_an_anomalous_image_adds_normal_pixels_only() -> None:
    maps, masks = random_maps(4, 20)
    hot = np.full((5, 5), 1e6, dtype=np.float32)
    measured = pixel_metrics([*maps, hot], [*masks, np.zeros((5, 5), dtype=bool)])
    assert measured["pixel_auroc"] < pixel_metrics(maps, masks)["pixel_auroc"]
    assert measured["aupro"] == pytest.approx(
        loop_aupro([*maps, hot], [*masks, np.zeros((5, 5), dtype=bool)], 0.3), abs=1e-4
    )


def test_without_two_classes_of_pixels_there_are_no_pixel_metrics() -> None:
    heat = np.arange(4, dtype=np.float32).reshape(2, 2)
    assert pixel_metrics([heat], [np.zeros((2, 2), dtype=bool)]) == {}
    assert pixel_metrics([heat], [np.ones((2, 2), dtype=bool)]) == {}
    assert pixel_metrics([], []) == {}


def test_the_maps_are_not_changed() -> None:
    maps, masks = random_maps(5, 9)
    copies = [heat.copy() for heat in maps]
    pixel_metrics(maps, masks)
    assert all(np.array_equal(heat, copy) for heat, copy in zip(maps, copies, strict=True))


def test_maps_that_do_not_fit_are_refused() -> None:
    heat, mask = np.zeros((4, 4), dtype=np.float32), np.zeros((4, 4), dtype=bool)
    with pytest.raises(ValueError, match="1 maps and 2 masks"):
        pixel_metrics([heat], [mask, mask])
    with pytest.raises(ValueError, match="map 1 of shape"):
        pixel_metrics([heat, heat.T[:3]], [mask, mask])
    with pytest.raises(ValueError, match="map 0 has values"):
        pixel_metrics([np.full((4, 4), np.nan, dtype=np.float32)], [mask])


def test_a_metric_says_what_it_needs_and_which_way_is_better() -> None:
    """Better scores are better by every metric, worse ones worse."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) < 30
    _, masks = random_maps(6, 5)

    def all_of(gain: float) -> dict[str, float]:
        scores = rng.normal(size=60) + gain * labels
        noise = [rng.normal(size=mask.shape).astype(np.float32) for mask in masks]
        maps = [heat + np.float32(gain) * mask for heat, mask in zip(noise, masks, strict=True)]
        counts = MaskCounts()
        for heat, mask in zip(maps, masks, strict=True):
            counts.add(heat > gain / 2, mask, good=not mask.any())
        pixels = Pixels.of(maps, masks, counts)
        return measure(Sample(labels, scores, scores > gain / 2, pixels))

    good, bad = all_of(4.0), all_of(0.5)
    for metric in METRICS:
        better = max if metric.higher_is_better else min
        assert better(good[metric.name], bad[metric.name]) == good[metric.name] != bad[metric.name], (
            metric.name
        )


def test_names_and_labels_are_told_apart() -> None:
    assert (
        len({metric.name for metric in METRICS}) == len({metric.label for metric in METRICS}) == len(METRICS)
    )


def test_what_images_lack_is_said_before_a_metric_fails() -> None:
    def refuse(sample: Sample) -> float:
        raise AssertionError("it was computed from images that lack what it needs")

    good_alone = Sample(np.array([False]), np.zeros(1), np.array([True]))
    bad_alone = Sample(np.array([True]), np.zeros(1), np.array([False]))
    assert good_alone.missing([Need.GOOD, Need.VERDICTS, Need.ALARMS]) is None
    for need in (Need.ANOMALOUS, Need.MASKS, Need.REGIONS):
        assert good_alone.missing([Need.GOOD, need]) is need
        assert measure(good_alone, [Metric("m", "m", "m", refuse, (need,))]) == {}
    assert bad_alone.missing([Need.ANOMALOUS, Need.GOOD]) is Need.GOOD
    assert bad_alone.missing([Need.ALARMS]) is Need.ALARMS
    assert Sample(np.array([True]), np.zeros(1)).missing([Need.VERDICTS]) is Need.VERDICTS
