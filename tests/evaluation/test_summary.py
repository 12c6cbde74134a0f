"""Means, spreads and tables against figures worked out by hand."""

from __future__ import annotations

import pytest

from patchebm.evaluation.summary import markdown, std, summarise, table

COLUMNS = {
    "a": {"x": {0: 0.5, 1: 0.7}, "y": {0: 1.0, 1: 0.8}},
    "b": {"x": {0: 0.25, 1: 0.25}},
}


def test_mean_and_spread_over_seeds() -> None:
    summary = summarise(COLUMNS, ["x", "y"])
    assert list(summary) == ["a"], "a column without all sets is left out"
    facts = summary["a"]
    assert facts["mean_by_seed"] == pytest.approx([0.75, 0.75])
    assert facts["mean"] == pytest.approx(0.75)
    assert facts["std"] == pytest.approx(0, abs=1e-12)
    assert facts["sets"]["x"] == pytest.approx({"mean": 0.6, "std": 0.2 / 2**0.5})
    assert std([3.0]) == 0.0


def test_partial_columns_are_compared_on_the_sets_that_all_have() -> None:
    summary = summarise(COLUMNS, ["x", "y"], partial=True)
    assert summary["a"]["mean"] == pytest.approx(0.6)
    assert summary["b"]["mean"] == pytest.approx(0.25)
    assert set(summary["b"]["sets"]) == {"x"}
    text = table(summary, ["x", "y"], "figure", digits=2)
    assert text.splitlines() == [
        "| figure | x | y | mean |",
        "|---|---|---|---|",
        "| a | 0.60 ± 0.14 | 0.90 ± 0.14 | 0.60 ± 0.14 |",
        "| b | 0.25 ± 0.00 | – | 0.25 ± 0.00 |",
    ]


def test_without_a_common_set_there_is_no_mean() -> None:
    summary = summarise({"a": {"x": {0: 1.0}}, "b": {"y": {0: 0.5}}}, ["x", "y"], partial=True)
    assert "mean" not in summary["a"]
    assert table(summary, ["x", "y"]).splitlines()[2] == "| a | 1.000 | – | – |"


def test_a_single_seed_has_no_spread() -> None:
    columns = {"a": {"x": {0: 1.0}, "y": {0: 0.5, 1: 0.5}}}
    (row,) = table(summarise(columns, ["x", "y"]), ["x", "y"]).splitlines()[2:]
    assert row == "| a | 1.000 | 0.500 ± 0.000 | 0.750 |"


def test_a_cell_cannot_end_its_table() -> None:
    assert markdown(["h"], [["a|b\nc"]]).splitlines()[-1] == "| a\\|b c |"
