"""What an evaluation measures, and what it says of test sets that lack something; no model is trained."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from patchebm.errors import DataError
from patchebm.evaluation.evaluate import ENSEMBLE, evaluate
from patchebm.evaluation.metrics import METRICS, pixel_metrics
from patchebm.images.folders import open_image_set
from patchebm.images.reading import read_masks
from tests.simple_predictor import VALUES, SimplePredictor
from tests.tiny import write_set


@pytest.fixture(scope="module")
def predictor(data: Path) -> SimplePredictor:
    return SimplePredictor(sorted((data / "train" / "good").iterdir()))


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    """A set of one's own, to spoil."""
    return Path(shutil.copytree(data, tmp_path / "own"))


def results_of(predictor: SimplePredictor, data: Path, **options: Any) -> dict[str, Any]:
    return evaluate(predictor, open_image_set(data), **options)


def test_every_figure_can_be_recomputed_from_what_is_kept_of_the_images(
    predictor: SimplePredictor, data: Path
) -> None:
    observed: list[Any] = []
    results = results_of(predictor, data, observe=lambda *pair: observed.append(pair))
    records = results["predictions"]
    assert all((data / record["image"]).exists() for record in records)
    scores = np.array([record["score"] for record in records])
    labels = np.array([record["defect"] != "good" for record in records])
    assert list(results["levels"]) == [*VALUES, ENSEMBLE]
    columns = {name: [record["levels"][name] for record in records] for name in VALUES} | {ENSEMBLE: scores}
    for name, level in results["levels"].items():
        assert level["image_auroc"] == pytest.approx(roc_auc_score(labels, columns[name]), abs=1e-12)
        low, high = level["image_auroc_interval"]
        assert low <= level["image_auroc"] <= high
        assert {"pixel_auroc", "aupro", "per_defect", "per_kind"} <= set(level)
    assert results["image_auroc"] == results["levels"][ENSEMBLE]["image_auroc"]
    # Each level has figures of its own maps.
    assert len({level["pixel_auroc"] for level in results["levels"].values()}) == 4
    for name, level in results["levels"].items():
        maps, masks = [], []
        for image, prediction in observed:
            heat = prediction.heat_map if name == ENSEMBLE else prediction.level_maps[name]
            maps.append(heat)
            masks.append(
                read_masks(image.masks, heat.shape).pixels
                if image.masks
                else np.zeros(heat.shape, dtype=bool)
            )
        expected = pixel_metrics(maps, masks)
        assert {key: level[key] for key in expected} == pytest.approx(expected)
    assert results["miss_count"] == int((labels & (scores <= results["threshold"])).sum())
    assert sum(facts["miss_count"] for facts in results["per_defect"].values()) == results["miss_count"]
    for defect, facts in results["per_defect"].items():
        rows = np.array([record["defect"] in (defect, "good") for record in records])
        assert facts["image_auroc"] == pytest.approx(roc_auc_score(labels[rows], scores[rows]), abs=1e-12)
    assert {"local", "global"} == set(results["per_kind"])
    assert {metric.name for metric in METRICS} <= set(results)
    assert results["not_computed"] == {}
    assert results["warnings"] == []


def test_one_level_is_the_whole(data: Path) -> None:
    one = SimplePredictor(sorted((data / "train" / "good").iterdir()), levels=["contrast"])
    results = results_of(one, data)
    assert list(results["levels"]) == ["contrast"]
    assert results["levels"]["contrast"]["aupro"] == results["aupro"]


def test_all_images_are_observed_with_their_maps(predictor: SimplePredictor, data: Path) -> None:
    observed, ticks = [], []
    results_of(predictor, data, observe=lambda *pair: observed.append(pair), tick=lambda: ticks.append(1))
    images = open_image_set(data).test
    assert [image for image, _ in observed] == list(images)
    assert all(prediction.heat_map is not None for _, prediction in observed)
    assert len(ticks) == len(images)


def test_without_defects_false_alarms_are_counted_and_the_rest_says_why(
    predictor: SimplePredictor, own: Path
) -> None:
    for folder in [*own.glob("test/*"), *own.glob("ground_truth/*")]:
        if folder.name != "good":
            shutil.rmtree(folder)
    results = results_of(predictor, own)
    assert results["good_count"] == 3
    assert len(results["false_alarm_rate_observed_interval"]) == 2
    missing = {metric.name for metric in METRICS} - {"false_alarm_rate_observed"}
    assert results["not_computed"] == dict.fromkeys(missing, "no anomalous test images")
    assert not missing & set(results)


def test_without_good_images_misses_are_counted_and_the_rest_says_why(
    predictor: SimplePredictor, own: Path
) -> None:
    shutil.rmtree(own / "test" / "good")
    results = results_of(predictor, own)
    assert results["recall"] == pytest.approx(1 - results["miss_rate"])
    for name in ("image_auroc", "false_alarm_rate_observed", "f1", "precision"):
        assert results["not_computed"][name] == "no good test images"
    # The pixels of defective parts are of both kinds.
    assert 0 <= results["pixel_auroc"] <= 1


def test_without_masks_there_are_no_pixel_figures(predictor: SimplePredictor, own: Path) -> None:
    assert results_of(predictor, own, pixels=False)["not_computed"]["aupro"] == "not asked for"
    shutil.rmtree(own / "ground_truth")
    results = results_of(predictor, own)
    assert "no masks" in results["not_computed"]["pixel_auroc"]
    assert "image_auroc" in results


def test_nothing_called_anomalous_has_no_precision(data: Path) -> None:
    cautious = SimplePredictor(sorted((data / "train" / "good").iterdir()), rate=1e-9)
    results = results_of(cautious, data)
    assert results["not_computed"] == {"precision": "nothing was called anomalous"}
    assert results["f1"] == 0


def test_empty_masks_are_named(predictor: SimplePredictor, own: Path) -> None:
    masks = sorted((own / "ground_truth").rglob("*.png"))
    Image.new("L", Image.open(masks[0]).size).save(masks[0])
    assert str(masks[0]) in results_of(predictor, own)["warnings"][0]
    for mask in masks[1:]:
        Image.new("L", Image.open(mask).size).save(mask)
    assert "mark no pixel" in results_of(predictor, own)["not_computed"]["aupro"]


def test_defects_without_masks_are_named(predictor: SimplePredictor, own: Path) -> None:
    shutil.rmtree(own / "ground_truth" / "crack")
    assert "no masks for crack" in results_of(predictor, own)["warnings"][0]


def test_images_of_unknown_truth_are_left_out_and_named(predictor: SimplePredictor, own: Path) -> None:
    shutil.copy(sorted((own / "test" / "good").iterdir())[0], own / "test" / "loose.png")
    results = results_of(predictor, own)
    assert "loose.png" in results["warnings"][0]
    assert results["good_count"] == 3


def test_test_images_are_needed(predictor: SimplePredictor, data: Path) -> None:
    with pytest.raises(DataError, match="no test images"):
        results_of(predictor, data / "train" / "good")


def test_names_that_are_no_unicode_can_be_written(predictor: SimplePredictor, tmp_path: Path) -> None:
    data = write_set(tmp_path, train=1, test=1)
    image = next((data / "test" / "good").iterdir())
    image.rename(image.with_name(b"teil-\xe9.png".decode("utf-8", "surrogateescape")))
    names = [record["image"] for record in results_of(predictor, data)["predictions"]]
    assert "test/good/teil-\\udce9.png" in names
