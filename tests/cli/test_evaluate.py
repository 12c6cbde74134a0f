"""`patchebm evaluate` and `compare`: what they write, and what they say of test sets that lack something."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from patchebm.cli.main import main
from tests.failing import failure
from tests.tiny import TINY, write_set


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", str(data), "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A run of one's own, without results."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    """A set of one's own, to spoil."""
    return Path(shutil.copytree(data, tmp_path / "own"))


def evaluate(run: Path, data: Path, *options: str) -> dict[str, Any]:
    assert main(["evaluate", str(run), str(data), *options]) == 0
    results: dict[str, Any] = json.loads((run / "evaluation" / f"{data.name}.json").read_text())
    return results


def images(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_the_report_the_results_and_the_table(run: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    results = evaluate(run, data, "--report", str(out), "--json", str(tmp_path / "r.json"))
    assert json.loads((out / "results.json").read_text()) == results
    assert json.loads((tmp_path / "r.json").read_text()) == results
    # Every figure can be recomputed from what is kept of the images.
    scores = np.array([record["score"] for record in results["predictions"]])
    labels = np.array([record["defect"] != "good" for record in results["predictions"]])
    assert results["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert results["image_auroc_interval"][0] <= results["image_auroc"] <= results["image_auroc_interval"][1]
    assert results["miss_count"] == int((labels & (scores <= results["threshold"])).sum())
    assert sum(facts["miss_count"] for facts in results["per_defect"].values()) == results["miss_count"]
    assert {"f1", "recall", "fpr_at_95_tpr", "oracle_f1", "pixel_auroc", "aupro_05"} <= set(results)
    assert results["duplicates"] == []
    assert results["warnings"] == []
    made_by = results["made_by"]
    assert made_by["command"][:2] == ["patchebm", "evaluate"]
    assert made_by["training"]["command"][:2] == ["patchebm", "train"]
    assert len(made_by["data_sha256"]) == 64
    with (out / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [record["image"] for record in results["predictions"]]
    assert all((data / row["image"]).exists() for row in rows)
    assert all(0 < float(row["tail_probability"]) <= 1 for row in rows)
    assert {"patch_score", "image_score", "extrapolated", "anomalous", "defect"} <= set(rows[0])
    page = (out / "report.html").read_text()
    for words in ("Verdict", "closest call", "Tail probabilities", "Training", made_by["data_sha256"]):
        assert words in page


def test_another_rate_moves_the_verdicts_and_not_the_scores(run: Path, data: Path) -> None:
    strict, lax = (evaluate(run, data, "--false-alarm-rate", rate) for rate in ("0.2", "0.9"))
    assert strict["threshold"] > lax["threshold"]
    assert strict["image_auroc"] == lax["image_auroc"]
    assert lax["calibration"]["false_alarm_rate"] == 0.9


def test_without_defects_false_alarms_are_counted_and_the_rest_says_why(
    run: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in [*own.glob("test/*"), *own.glob("ground_truth/*")]:
        if folder.name != "good":
            shutil.rmtree(folder)
    results = evaluate(run, own, "--report", str(tmp_path / "report"))
    assert results["good_count"] == 3
    assert len(results["false_alarm_rate_interval"]) == 2
    assert "image_auroc" not in results
    for name in ("image_auroc", "image_ap", "miss_rate", "f1", "pixel_auroc", "aupro", "oracle_f1"):
        assert results["not_computed"][name] == "no anomalous test images"
    assert "no image_auroc: no anomalous test images" in capsys.readouterr().out
    assert "no anomalous test images" in (tmp_path / "report" / "report.html").read_text()


def test_without_good_images_misses_are_counted_and_the_rest_says_why(
    run: Path, own: Path, tmp_path: Path
) -> None:
    shutil.rmtree(own / "test" / "good")
    results = evaluate(run, own, "--report", str(tmp_path / "report"))
    assert results["recall"] == pytest.approx(1 - results["miss_rate"])
    for name in ("image_auroc", "false_alarm_rate_observed", "f1", "precision"):
        assert results["not_computed"][name] == "no good test images"
    # The pixels of defective parts are of both kinds.
    assert 0 <= results["pixel_auroc"] <= 1
    assert (tmp_path / "report" / "report.html").exists()


def test_without_masks_there_are_no_pixel_figures(run: Path, own: Path, tmp_path: Path) -> None:
    shutil.rmtree(own / "ground_truth")
    results = evaluate(run, own, "--report", str(tmp_path / "report"))
    assert "no masks" in results["not_computed"]["pixel_auroc"]
    assert "image_auroc" in results
    # Heat maps are drawn all the same.
    assert (tmp_path / "report" / "report.html").read_text().count("data:image/jpeg") > 3


def test_empty_masks_are_named(run: Path, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks = sorted((own / "ground_truth").rglob("*.png"))
    Image.new("L", Image.open(masks[0]).size).save(masks[0])
    results = evaluate(run, own)
    assert str(masks[0]) in results["warnings"][0]
    assert str(masks[0]) in capsys.readouterr().err
    for mask in masks[1:]:
        Image.new("L", Image.open(mask).size).save(mask)
    assert "mark no pixel" in evaluate(run, own)["not_computed"]["aupro"]


def test_images_of_unknown_truth_are_left_out_and_named(run: Path, own: Path) -> None:
    shutil.copy(images(own / "test" / "good")[0], own / "test" / "loose.png")
    results = evaluate(run, own)
    assert "loose.png" in results["warnings"][0]
    assert results["good_count"] == 3


def test_copies_of_training_images_are_named(
    run: Path, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = images(own / "train" / "good")[:2]
    shutil.copy(first, own / "test" / "good" / "copied.png")
    with Image.open(second) as image:
        image.convert("L").save(own / "test" / "good" / "again.png")
    results = evaluate(run, own, "--report", str(tmp_path / "report"))
    assert [(d["test"], d["train"], d["exact"]) for d in results["duplicates"]] == [
        ("test/good/again.png", f"train/good/{second.name}", False),
        ("test/good/copied.png", f"train/good/{first.name}", True),
    ]
    errors, page = capsys.readouterr().err, (tmp_path / "report" / "report.html").read_text()
    for said in (errors, page):
        assert "test/good/copied.png = train/good/" in said
        assert "test/good/again.png = train/good/" in said


def test_the_run_knows_its_images_wherever_it_is_evaluated(run: Path, data: Path, own: Path) -> None:
    """The training images of the data at hand need not be those of the run."""
    seen = images(own / "train" / "good")[0]
    seen.rename(own / "test" / "good" / "moved.png")
    assert evaluate(run, own)["duplicates"][0]["train"] == f"train/good/{seen.name}"
    (run / "training_images.npz").unlink()
    results = evaluate(run, own)
    assert results["duplicates"] == []
    assert "does not know its training images" in results["warnings"][0]


def test_damaged_fingerprints_are_named(run: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = run / "training_images.npz"
    file.write_bytes(file.read_bytes()[:100])
    assert "training_images.npz" in failure(capsys, "evaluate", str(run), str(data))


def test_a_run_without_a_model_is_named(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "model.json").unlink()
    sentence = failure(capsys, "evaluate", str(run), str(data), "--report", str(tmp_path / "report"))
    assert str(run) in sentence
    assert "no finished model" in sentence
    assert not (tmp_path / "report").exists()
    assert not (run / "evaluation").exists()


def test_compare_puts_runs_side_by_side(run: Path, data: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    assert main(["train", str(data), "--out", str(second), *TINY, "--seed", "5"]) == 0
    first = evaluate(run, data)
    evaluate(second, data)
    assert main(["compare", str(run), str(second), "--out", str(tmp_path / "both")]) == 0
    (facts,) = json.loads((tmp_path / "both" / "compare.json").read_text())
    assert facts["image_set"] == data.name
    assert [row["run"] for row in facts["runs"]] == ["run", "second"]
    assert facts["runs"][0]["image_auroc"] == first["image_auroc"]
    (pair,) = facts["pairs"]
    expected = facts["runs"][0]["image_auroc"] - facts["runs"][1]["image_auroc"]
    assert pair["difference"] == pytest.approx(expected)
    assert pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    page = (tmp_path / "both" / "compare.html").read_text()
    assert "run less second" in page
    assert "http" not in page.split("base64")[0]


def test_runs_on_other_images_are_shown_and_not_tested(
    run: Path, data: Path, own: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    evaluate(run, data)
    changed = own.rename(own.parent / data.name)
    images(changed / "test" / "good")[0].unlink()
    evaluate(other, changed)
    assert main(["compare", str(run), str(other), "--out", str(tmp_path / "both")]) == 0
    (facts,) = json.loads((tmp_path / "both" / "compare.json").read_text())
    assert "different images" in facts["pairs"][0]["not_compared"]


def test_what_cannot_be_compared_is_named(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "both"))
    other = Path(shutil.copytree(run, tmp_path / "other"))
    evaluate(run, data)
    assert f"run patchebm evaluate {other} DATA first" in failure(
        capsys, "compare", str(run), str(other), *out
    )
    assert "nowhere" in failure(capsys, "compare", str(run), str(tmp_path / "nowhere"), *out)
    assert "at least two" in failure(capsys, "compare", str(run), *out)
    assert "at least two" in failure(capsys, "compare", str(run), str(run), *out)
    evaluate(other, data)
    kept = other / "evaluation" / f"{data.name}.json"
    kept.write_text(kept.read_text()[:200])
    assert kept.name in failure(capsys, "compare", str(run), str(other), *out)
    evaluate(other, data)
    assert main(["calibrate", str(other), "--false-alarm-rate", "0.3"]) == 0
    assert "has changed since" in failure(capsys, "compare", str(run), str(other), *out)
    assert not (tmp_path / "both").exists()
