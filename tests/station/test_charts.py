"""Charts: well-formed, described, escaped, and in the right places."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import numpy as np
import pytest

from patchebm.station.charts import Words, bars, control_chart, evidence_curve, score_histogram
from patchebm.station.statistics.control import Chart

WORDS = Words("<title> & co", "what it shows", "across")
SVG = "{http://www.w3.org/2000/svg}"


def parsed(svg: str) -> ElementTree.Element:
    assert "<script" not in svg
    # style= would be refused by the pages' policy.
    assert "style=" not in svg
    root = ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" '))
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert title.text == "<title> & co"
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    return root


def classed(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    return [node for node in root.iter() if node.get("class") == name]


def test_bars_of_a_histogram_hold_every_score_once() -> None:
    rng = np.random.default_rng(0)
    good, bad = rng.normal(size=300), rng.normal(8, 3, size=40)
    root = parsed(score_histogram([("good", good), ("defective", bad)], 3.0, WORDS, marker=5.0))
    unit = None
    for name, values in (("good", good), ("defective", bad)):
        heights = [float(node.get("height") or 0) for node in classed(root, name)]
        per_part = sum(heights) / len(values)
        unit = unit or per_part
        assert per_part == pytest.approx(unit, rel=0.05)
    line = classed(root, "threshold")[0]
    low, high = float(root.get("data-low") or 0), float(root.get("data-high") or 0)
    left, right = float(root.get("data-left") or 0), float(root.get("data-right") or 0)
    assert float(line.get("x1") or 0) == pytest.approx(
        left + (3 - low) / (high - low) * (right - left), abs=0.1
    )


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0]])
def test_a_histogram_of_few_scores_is_drawn(scores: list[float]) -> None:
    parsed(score_histogram([("good", scores)], 2.0, WORDS))


def test_the_curve_keeps_its_peak_and_shows_where_the_alarm_is() -> None:
    logs = np.zeros(5000)
    logs[3210] = math.log(1e6)
    root = parsed(evidence_curve(list(logs), math.log(100), WORDS))
    places = [
        float(point.split(",")[1]) for point in (classed(root, "series")[0].get("points") or "").split()
    ]
    assert len(places) < 1000
    line = float(classed(root, "threshold")[0].get("y1") or 0)
    assert min(places) < line < max(places)


def test_signals_of_a_control_chart_are_marked() -> None:
    values = np.array([0.0, 1.0, 9.0, -9.0])
    chart = Chart(values, 0.0, np.full(4, -2.0), np.full(4, 2.0))
    assert len(classed(parsed(control_chart(chart, WORDS, identifier="c")), "beyond")) == 2


def test_bars_carry_names_that_are_escaped() -> None:
    root = parsed(bars([("<b>", 0.1, 0.05, 0.2), ("w2", 0.0, 0.0, 0.03)], WORDS, identifier="b"))
    assert "<b>" in [node.text for node in root.iter(f"{SVG}text")]
    assert len(classed(root, "interval")) == 2
