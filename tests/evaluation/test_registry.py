"""A metric is one entry: another one shows up everywhere, and no other file spells its name."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchebm.evaluation.benchmark import Benchmark, Job
from patchebm.evaluation.benchmark_results import results as benchmark_results
from patchebm.evaluation.comparison import compare_runs
from patchebm.evaluation.evaluate import ENSEMBLE, Results, evaluate
from patchebm.evaluation.metrics import METRICS, Metric, Need
from patchebm.evaluation.results import card_figures
from patchebm.evaluation.runlog import RunLog
from patchebm.images.folders import ImageSet, open_image_set
from patchebm.report.benchmark_page import benchmark_markdown
from patchebm.report.compare_page import compare_text, write_compare_page
from patchebm.report.evaluation_page import evaluation_text, write_evaluation_page
from patchebm.report.tables import metrics_file
from tests.simple_predictor import VALUES, SimplePredictor, evaluated, fit_and_evaluate
from tests.tiny import tiny_config

SOURCE = Path(__file__).resolve().parents[2] / "src" / "patchebm"

MARGIN = Metric(
    "margin",
    "margin between classes",
    "the least score of an anomalous image less the highest of a good one",
    lambda sample: float(sample.scores[sample.labels].min() - sample.scores[~sample.labels].max()),
    (Need.ANOMALOUS, Need.GOOD),
    interval=lambda sample: [-9.0, 9.0],
)
WITH_ONE_MORE = (*METRICS, MARGIN)


@pytest.fixture(scope="module")
def results(data: Path) -> Results:
    return evaluated(data, metrics=WITH_ONE_MORE)


def test_it_is_in_the_results_of_each_level(results: Results) -> None:
    records = results["predictions"]
    for level in (*VALUES, ENSEMBLE):
        scores = np.array([r["score"] if level == ENSEMBLE else r["levels"][level] for r in records])
        bad = np.array([r["defect"] != "good" for r in records])
        assert results["levels"][level]["margin"] == pytest.approx(scores[bad].min() - scores[~bad].max())
    assert results["margin"] == results["levels"][ENSEMBLE]["margin"]
    assert results["margin_interval"] == [-9, 9]
    assert card_figures(results, WITH_ONE_MORE)["margin"] == results["margin"]
    assert "margin" not in card_figures(results)


def test_it_is_in_the_terminal_the_file_and_the_page(results: Results, tmp_path: Path) -> None:
    text = evaluation_text(results, WITH_ONE_MORE)
    (line,) = [line for line in text.splitlines() if line.startswith(MARGIN.label)]
    expected = [f"{results['levels'][level]['margin']:.3f}" for level in (*VALUES, ENSEMBLE)]
    assert line.removeprefix(MARGIN.label).split() == expected
    rows = list(csv.DictReader(io.StringIO(metrics_file(results, WITH_ONE_MORE).csv())))
    (row,) = [row for row in rows if row["metric"] == "margin" and row["level"] == ENSEMBLE]
    assert float(row["value"]) == results["margin"]
    assert (float(row["low"]), float(row["high"])) == (-9, 9)
    page = tmp_path / "page.html"
    write_evaluation_page(page, results, [], [], WITH_ONE_MORE)
    content = page.read_text()
    # In a tile, as a row of the table, and explained.
    assert content.count(MARGIN.label) == 3
    assert MARGIN.explanation in content
    write_evaluation_page(page, results, [], [])
    assert MARGIN.label not in page.read_text()


def test_where_it_cannot_be_computed_that_is_said(data: Path) -> None:
    whole = open_image_set(data)
    good = ImageSet(whole.name, whole.root, whole.train, tuple(p for p in whole.test if not p.anomalous))
    predictor = SimplePredictor([p.path for p in whole.train])
    found = evaluate(predictor, good, metrics=WITH_ONE_MORE)
    assert found["not_computed"]["margin"] == "no anomalous test images"
    text = evaluation_text(found, WITH_ONE_MORE)
    (line,) = [line for line in text.splitlines() if line.startswith("not computed: ")]
    assert MARGIN.label in line
    assert line.endswith("(no anomalous test images)")


def test_it_is_in_comparisons(results: Results, tmp_path: Path) -> None:
    better = results | {"margin": 7.5}
    by_set = {"part": {"first": results, "second": better}}
    compared = compare_runs(by_set, WITH_ONE_MORE)
    assert [run["margin"] for run in compared[0]["runs"]] == [results["margin"], 7.5]
    (line,) = [
        line for line in compare_text(compared, WITH_ONE_MORE).splitlines() if line.startswith(MARGIN.label)
    ]
    assert line.split()[-2:] == [f"{results['margin']:.3f}", "7.500"]
    page = tmp_path / "compare.html"
    write_compare_page(page, by_set, compared, WITH_ONE_MORE)
    assert '<td class="number best">7.500</td>' in page.read_text()


def test_it_is_in_the_tables_of_a_benchmark(data: Path, tmp_path: Path) -> None:
    def measured(job: Job, *rest: Any) -> dict[str, Any]:
        return fit_and_evaluate(job, *rest) | {"margin": 1.0 + (job.preset == "two") + job.seed}

    configs = {"one": tiny_config(), "two": tiny_config()}
    opened = Benchmark(data.parent, configs, (0, 1), RunLog(tmp_path / "log"), measured)
    opened.open_set(data.name)
    list(opened.run())
    found = benchmark_results(opened, [], WITH_ONE_MORE)
    assert found["figures"]["margin"]["two"]["mean"] == 2.5
    assert found["paired"]["margin"][0]["runs"]["mean_difference"] == -1
    text = benchmark_markdown(found, WITH_ONE_MORE)
    assert f"| {MARGIN.label} | {data.name} | mean |" in text
    assert "| two | 2.500 ± 0.707 | 2.500 ± 0.707 |" in text


def test_no_other_file_spells_the_name_of_a_metric() -> None:
    spelled = [metric.name for metric in METRICS if "_" in metric.name or metric.name == "aupro"]
    assert len(spelled) > 8
    files = [file for file in SOURCE.rglob("*") if file.suffix in (".py", ".html", ".txt", ".md", ".css")]
    for name in spelled:
        with_it = [file.name for file in files if name in file.read_text(encoding="utf-8")]
        assert with_it == ["metrics.py"], name


def test_no_page_or_table_spells_the_name_of_a_level() -> None:
    for folder in ("evaluation", "report"):
        for file in (SOURCE / folder).rglob("*.py"):
            assert '"patch"' not in file.read_text(encoding="utf-8"), file
