"""`patchebm evaluate` and `compare` as a user runs them; `tests/evaluation` tests what they measure."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchebm.cli.main import main
from patchebm.evaluation.metrics import METRICS
from patchebm.run_folder import RunFolder
from tests.failing import failure
from tests.tiny import TINY


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["train", str(data), "--out", str(out), *TINY]) == 0
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> RunFolder:
    """A run of one's own, without results."""
    return RunFolder(shutil.copytree(trained, tmp_path / "run"))


def evaluate(run: RunFolder, data: Path, *options: str) -> dict[str, Any]:
    assert main(["evaluate", str(run.path), str(data), *options]) == 0
    results: dict[str, Any] = json.loads(run.results_file(data.name).read_text())
    return results


def test_the_report_the_results_and_the_table(
    run: RunFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    results = evaluate(run, data, "--report", str(out), "--json", str(tmp_path / "r.json"))
    assert json.loads((out / "results.json").read_text()) == results
    assert json.loads((tmp_path / "r.json").read_text()) == results
    assert results["warnings"] == results["duplicates"] == []
    made_by = results["made_by"]
    assert made_by["command"][:2] == ["patchebm", "evaluate"]
    assert made_by["training"]["command"][:2] == ["patchebm", "train"]
    assert len(made_by["data_sha256"]) == len(made_by["model_sha256"]) == 64
    with (out / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["image"] for row in rows] == [record["image"] for record in results["predictions"]]
    levels = list(results["predictions"][0]["levels"])
    assert all(f"{level}_score" in rows[0] for level in levels)
    with (out / "metrics.csv").open(newline="") as stream:
        measured = {(row["level"], row["metric"]): float(row["value"]) for row in csv.DictReader(stream)}
    assert measured["ensemble", "image_auroc"] == results["image_auroc"]
    page = (out / "report.html").read_text()
    for words in ("Verdict", "closest call", "Tail probabilities", "What was run", made_by["data_sha256"]):
        assert words in page
    printed = capsys.readouterr().out
    assert all(metric.label in printed for metric in METRICS)
    assert f"{results['image_auroc']:.3f}" in printed
    assert printed.isascii()
    assert str(out / "report.html") in printed


def test_another_rate_moves_the_verdicts_and_not_the_scores(run: RunFolder, data: Path) -> None:
    strict, lax = (evaluate(run, data, "--false-alarm-rate", rate) for rate in ("0.2", "0.9"))
    assert strict["threshold"] > lax["threshold"]
    assert strict["image_auroc"] == lax["image_auroc"]
    assert lax["calibration"]["false_alarm_rate"] == 0.9


def test_an_exported_model_is_evaluated_and_reported(bundle_file: Path, data: Path, tmp_path: Path) -> None:
    """It knows neither its training images nor how it was trained."""
    out = tmp_path / "report"
    assert main(["evaluate", str(bundle_file), str(data), "--report", str(out)]) == 0
    results = json.loads((out / "results.json").read_text())
    assert "does not know its training images" in results["warnings"][0]
    assert results["made_by"]["training"] == {}
    page = (out / "report.html").read_text()
    assert "trained by" not in page
    assert results["warnings"][0] in page


def test_copies_of_training_images_are_said(
    run: RunFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(data, tmp_path / "own"))
    shutil.copy(sorted((own / "train" / "good").iterdir())[0], own / "test" / "good" / "copied.png")
    results = evaluate(run, own)
    assert [found["test"] for found in results["duplicates"]] == ["test/good/copied.png"]
    assert "test/good/copied.png = train/good/" in results["warnings"][0]
    assert f"warning: {results['warnings'][0]}" in capsys.readouterr().err


def test_a_run_without_a_model_is_named(
    run: RunFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.card_file.unlink()
    sentence = failure(capsys, "evaluate", str(run.path), str(data), "--report", str(tmp_path / "report"))
    assert str(run.path) in sentence
    assert "no finished model" in sentence
    assert not (tmp_path / "report").exists()
    assert not run.evaluations.exists()


def test_compare_puts_runs_side_by_side(
    run: RunFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = evaluate(run, data)
    second = RunFolder(shutil.copytree(run.path, tmp_path / "second"))
    # As if another model had been evaluated.
    scores = np.random.default_rng(0).normal(size=len(first["predictions"]))
    for record, score in zip(first["predictions"], scores, strict=True):
        record["score"] = score
    changed = first | {"image_auroc": 0.25}
    second.results_file(data.name).write_text(json.dumps(changed))
    out = tmp_path / "both"
    capsys.readouterr()
    assert main(["compare", str(run.path), str(second.path), "--out", str(out)]) == 0
    (facts,) = json.loads((out / "compare.json").read_text())
    assert facts["image_set"] == data.name
    assert [row["run"] for row in facts["runs"]] == ["run", "second"]
    assert [row["image_auroc"] for row in facts["runs"]] == [first["image_auroc"], 0.25]
    (pair,) = facts["pairs"]
    assert pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    assert pair["p_holm"] == pair["p_value"]
    page = (out / "compare.html").read_text()
    assert "run less second" in page
    printed = capsys.readouterr().out
    assert f"{pair['difference']:+.3f}" in printed
    assert printed.isascii()

    # Runs on other images are shown, and not tested.
    changed["made_by"]["data_sha256"] = "another"
    second.results_file(data.name).write_text(json.dumps(changed))
    assert main(["compare", str(run.path), str(second.path), "--out", str(out)]) == 0
    (facts,) = json.loads((out / "compare.json").read_text())
    assert "different images" in facts["pairs"][0]["not_compared"]
    assert "run and second were not compared" in capsys.readouterr().out


def test_what_cannot_be_compared_is_named(
    run: RunFolder, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", str(tmp_path / "both"))
    other = Path(shutil.copytree(run.path, tmp_path / "other"))
    evaluate(run, data)
    first = str(run.path)
    assert f"run patchebm evaluate {other} DATA first" in failure(capsys, "compare", first, str(other), *out)
    assert "nowhere" in failure(capsys, "compare", first, str(tmp_path / "nowhere"), *out)
    assert "at least two" in failure(capsys, "compare", first, *out)
    assert "at least two" in failure(capsys, "compare", first, first, *out)
    shutil.copytree(run.evaluations, RunFolder(other).evaluations)
    assert main(["calibrate", str(other), "--false-alarm-rate", "0.3"]) == 0
    assert "has changed since" in failure(capsys, "compare", first, str(other), *out)
    assert not (tmp_path / "both").exists()
