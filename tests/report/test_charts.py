"""What the charts show."""

from __future__ import annotations

import io

import numpy as np
import pytest

from patchebm.report.charts import roc_figure, score_figure


def test_score_figure_shows_every_score_and_the_threshold() -> None:
    chart = score_figure({"good": [0.0, 1.0, 1.0], "crack": [2.0, 5.0], "none": []}, threshold=1.5)
    (axes,) = chart.axes
    points = np.concatenate([np.asarray(marks.get_offsets()) for marks in axes.collections])
    assert sorted(points[:, 0]) == [0.0, 1.0, 1.0, 2.0, 5.0]
    # Rows 0 and 1, and equal scores do not lie on each other.
    assert sorted(np.rint(points[:, 1])) == [0, 0, 0, 1, 1]
    assert len({tuple(point) for point in points.tolist()}) == 5
    assert list(axes.lines[0].get_xdata()) == [1.5, 1.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["good (3)", "crack (2)"]


def test_roc_figure_names_the_auroc() -> None:
    chart = roc_figure({"patch": ([False, False, True], [0.1, 0.6, 0.5]), "x": ([True, True], [0.0, 1.0])})
    legend = chart.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["chance", "patch: AUROC 0.500"]


@pytest.mark.parametrize("name", ["$\\frac{$", "$x$"])
def test_names_are_no_formulas(name: str) -> None:
    """Between two dollar signs matplotlib reads TeX, and raises where it cannot."""
    scores, rates = score_figure({name: [1.0]}, 0.0), roc_figure({name: ([False, True], [0.0, 1.0])})
    for chart in (scores, rates):
        chart.savefig(io.BytesIO(), format="png")
    texts = [*scores.axes[0].get_yticklabels(), rates.axes[0].get_legend().get_texts()[1]]  # type: ignore[union-attr]
    assert [text.get_parse_math() for text in texts] == [False, False]
