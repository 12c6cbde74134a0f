"""Tables as lines and as CSV, and how their numbers are written."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from patchebm.report.table import Table, cell, percent
from patchebm.report.tables import defects_table, metrics_file, metrics_table, predictions_file
from tests.simple_predictor import VALUES, evaluated


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.98765, "0.988"),
        (np.float32(12.34), "12.3"),
        (1234567, "1,234,567"),
        (None, "–"),
        (True, "yes"),
        (np.bool_(False), "no"),
        ("1.5", "1.5"),
        (float("nan"), "–"),
        (0.00012, "1.2e-04"),
        (np.int64(3), "3"),
        (1e9, "1,000,000,000"),
        (-0.5, "-0.500"),
        (0, "0"),
    ],
)
def test_cells_are_formatted(value: object, text: str) -> None:
    assert cell(value) == text


def test_percentages_have_as_many_digits_as_they_bear() -> None:
    assert [percent(share) for share in (0, 0.0123, 0.05, 0.456, 1)] == [
        *("0 %", "1.2 %", "5 %", "46 %", "100 %")
    ]


def test_columns_with_numbers_are_set_right() -> None:
    table = Table("c", ["name", "text", "number", "both"], [["a", "x", 1.0, None], ["b", None, None, 2]])
    assert table.numeric == [False, False, True, True]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="1 cells under 2 headings"):
        Table("c", ["a", "b"], [["x"]])


def test_lines_are_aligned_and_plain() -> None:
    table = Table(
        "caption", ["name", "value"], [["a", 0.5], ["longer", None], ["b", "0\N{NO-BREAK SPACE}to 1"]]
    )
    assert table.text().splitlines() == [
        "caption",
        "name     value",
        "a        0.500",
        "longer       -",
        "b       0 to 1",
    ]


def test_csv_keeps_all_digits() -> None:
    text = Table("c", ["name", "value"], [['a "b", c', 1 / 3], ["d", None]]).csv()
    assert list(csv.reader(io.StringIO(text))) == [["name", "value"], ['a "b", c', repr(1 / 3)], ["d", ""]]


def test_the_best_of_a_metric_is_marked_and_a_tie_is_not() -> None:
    columns = {
        "first": {"image_auroc": 0.9, "miss_rate": 0.5, "f1": 1.0},
        "second": {"image_auroc": 0.8, "miss_rate": 0.25, "f1": 1.0},
    }
    table = metrics_table("c", columns)
    assert [row[0] for row in table.rows] == ["image AUROC", "miss rate (lower is better)", "F1"]
    assert table.best == {(0, 1), (1, 2)}


def test_every_level_has_its_column_in_every_table(data: Path) -> None:
    results = evaluated(data)
    assert list(defects_table(results).header)[-4:] == [*VALUES, "ensemble"]
    assert list(metrics_table("c", results["levels"]).header) == ["metric", *VALUES, "ensemble"]
    assert {row[0] for row in metrics_file(results).rows} == {*VALUES, "ensemble"}
    rows = list(csv.DictReader(io.StringIO(predictions_file(results).csv())))
    assert len(rows) == len(results["predictions"])
    for row, record in zip(rows, results["predictions"], strict=True):
        assert {name: float(row[f"{name}_score"]) for name in VALUES} == record["levels"]
        assert (row["image"], row["defect"]) == (record["image"], record["defect"])
        assert row["anomalous"] == str(record["anomalous"])
        assert float(row["tail_probability"]) == record["tail_probability"]
