"""This module draws charts as SVG, with titles and descriptions for those who cannot see them, and no script.

Colours come from the style sheet of the pages, by class. Every text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from patchebm.station.statistics.control import Chart

WIDTH, HEIGHT = 640, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 14, 14, 40
# Points beyond this are drawn as the largest and smallest of neighbours: a browser draws thousands slowly.
MOST_POINTS = 600
_BINS = 40


class Words(NamedTuple):
    """This class holds the texts of a chart, in the reader's language.

    Attributes:
        title: what the chart is.
        description: what it shows, in a sentence.
        x: below the horizontal axis.
    """

    title: str
    description: str
    x: str


class _Axes:
    """This class turns figures into places on the paper."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        (self.x_low, self.x_high), (self.y_low, self.y_high) = _spread(x), _spread(y)

    def across(self, value: float) -> float:
        share = (value - self.x_low) / (self.x_high - self.x_low)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def up(self, value: float) -> float:
        share = min(1.0, max(0.0, (value - self.y_low) / (self.y_high - self.y_low)))
        return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)

    def frame(self, words: Words, *, x_ticks: bool = True) -> list[str]:
        parts = []
        for tick in _ticks(self.y_low, self.y_high):
            y = self.up(tick)
            parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{tick:g}</text>')
        for tick in _ticks(self.x_low, self.x_high) if x_ticks else ():
            x, y = self.across(tick), HEIGHT - _BOTTOM + 16
            parts.append(f'<text x="{x}" y="{y}" text-anchor="middle">{tick:g}</text>')
        middle = (_LEFT + WIDTH - _RIGHT) / 2
        parts.append(f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(words.x)}</text>')
        return parts


def score_histogram(
    groups: Sequence[tuple[str, Sequence[float]]],
    threshold: float,
    words: Words,
    *,
    marker: float | None = None,
    identifier: str = "histogram",
) -> str:
    """Returns the histogram of scores, with the threshold as a line that a script may move.

    Args:
        groups: class of the style sheet and scores of each group, drawn on top of each other.
        threshold: scores above it are NG.
        words: texts.
        marker: a score to point at, for instance that of one part.
        identifier: of the drawing; the line's is `IDENTIFIER-threshold`.
    """
    everything = np.concatenate(
        [np.asarray(values, dtype=np.float64) for _, values in groups] or [np.zeros(0)]
    )
    points = [threshold, *([marker] if marker is not None else [])]
    low = min([*points, *(everything.min(initial=math.inf),)])
    # A few very odd parts would squeeze all others into one bar.
    top = float(np.quantile(everything, 0.99)) if len(everything) else threshold
    high = max(*points, min(top * 1.2, float(everything.max(initial=threshold))), threshold + 1)
    edges = np.linspace(low, high, _BINS + 1)
    counts = [np.histogram(np.clip(values, low, high), edges)[0] for _, values in groups]
    total = np.sum(counts, axis=0) if counts else np.zeros(_BINS)
    axes = _Axes((low, high), (0.0, max(1.0, float(total.max()))))
    body = axes.frame(words)
    below = np.zeros(_BINS)
    for (style, _), count in zip(groups, counts, strict=True):
        for i in np.flatnonzero(count):
            left, right = axes.across(edges[i]), axes.across(edges[i + 1])
            upper, lower = axes.up(below[i] + count[i]), axes.up(below[i])
            width = max(0.5, round(right - left - 1, 1))
            height = round(lower - upper, 1)
            body.append(f'<rect class="{style}" x="{left}" y="{upper}" width="{width}" height="{height}"/>')
        below = below + count
    at = axes.across(threshold)
    body.append(
        f'<line class="threshold" id="{identifier}-threshold" x1="{at}" x2="{at}" '
        f'y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
    )
    if marker is not None:
        x, y = axes.across(marker), HEIGHT - _BOTTOM
        body.append(f'<path class="marker" d="M{x} {y - 2}l-7 -14h14z"/>')
    extra = f' data-low="{axes.x_low:.9g}" data-high="{axes.x_high:.9g}" data-left="{_LEFT}"'
    return _svg(identifier, words, body, extra + f' data-right="{WIDTH - _RIGHT}"')


def evidence_curve(
    logs: Sequence[float], alarm_at: float, words: Words, *, identifier: str = "evidence"
) -> str:
    """Returns the curve of a martingale over parts, as powers of ten, with the line at which it is an alarm.

    Args:
        logs: `(N,)` natural logarithms.
        alarm_at: the same, of the alarm.
        words: texts.
        identifier: of the drawing.
    """
    values = np.asarray(logs, dtype=np.float64) / math.log(10)
    line = alarm_at / math.log(10)
    low, high = min(-1.0, float(values.min(initial=0))), max(line * 1.2, float(values.max(initial=0)))
    axes = _Axes((1, max(2, len(values))), (low, high))
    body = axes.frame(words)
    body.append(_level("threshold", axes, line))
    body.append(_line("series", axes, values))
    return _svg(identifier, words, body)


def control_chart(chart: Chart, words: Words, *, identifier: str) -> str:
    """Returns a control chart: the figure, what is usual, the limits, and marks where it lies beyond them."""
    finite = [*chart.values, *chart.low, *chart.high, chart.centre]
    axes = _Axes((1, max(2, len(chart.values))), (min(finite), max(finite)))
    body = axes.frame(words)
    body.append(_level("centre", axes, chart.centre))
    for limit in (chart.low, chart.high):
        body.append(_line("limit", axes, limit))
    body.append(_line("series", axes, chart.values))
    beyond = np.flatnonzero(chart.outside)
    for i in beyond[:: max(1, len(beyond) // 100)]:
        x, y = axes.across(i + 1), axes.up(chart.values[i])
        body.append(f'<path class="beyond" d="M{x} {y - 5}l5 9h-10z"/>')
    return _svg(identifier, words, body)


def bars(rows: Sequence[tuple[str, float, float, float]], words: Words, *, identifier: str) -> str:
    """Returns shares as bars with their intervals.

    Args:
        rows: name, value, and low and high end of the interval, each in [0, 1].
        words: texts.
        identifier: of the drawing.
    """
    axes = _Axes((0, max(1, len(rows))), (0.0, max([0.01, *(row[3] for row in rows)])))
    body = axes.frame(words, x_ticks=False)
    for i, (name, value, low, high) in enumerate(rows):
        left, right = axes.across(i + 0.2), axes.across(i + 0.8)
        middle, y = (left + right) / 2, axes.up(value)
        height = round(HEIGHT - _BOTTOM - y, 1)
        body.append(
            f'<rect class="bar" x="{left}" y="{y}" width="{round(right - left, 1)}" height="{height}"/>'
        )
        body.append(
            f'<path class="interval" d="M{middle} {axes.up(low)}V{axes.up(high)}m-5 0h10'
            f'M{middle - 5} {axes.up(low)}h10"/>'
        )
        body.append(
            f'<text x="{middle}" y="{HEIGHT - _BOTTOM + 16}" text-anchor="middle">{escape(name)}</text>'
        )
    return _svg(identifier, words, body)


def _svg(identifier: str, words: Words, body: Sequence[str], extra: str = "") -> str:
    return (
        f'<svg class="chart" id="{identifier}" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-labelledby="{identifier}-title {identifier}-desc"{extra}>'
        f'<title id="{identifier}-title">{escape(words.title)}</title>'
        f'<desc id="{identifier}-desc">{escape(words.description)}</desc>' + "".join(body) + "</svg>"
    )


def _level(style: str, axes: _Axes, value: float) -> str:
    y = axes.up(value)
    return f'<line class="{style}" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'


def _line(style: str, axes: _Axes, values: NDArray[np.float64]) -> str:
    places = _thinned(values)
    points = " ".join(f"{axes.across(i + 1)},{axes.up(values[i])}" for i in places)
    return f'<polyline class="{style}" points="{points}"/>'


def _thinned(values: NDArray[np.float64]) -> Sequence[int]:
    """Returns the places of the smallest and the largest value of each stretch, so that no peak goes."""
    if len(values) <= MOST_POINTS:
        return range(len(values))
    found: set[int] = {0, len(values) - 1}
    for stretch in np.array_split(np.arange(len(values)), MOST_POINTS // 2):
        found.add(int(stretch[np.argmin(values[stretch])]))
        found.add(int(stretch[np.argmax(values[stretch])]))
    return sorted(found)


def _spread(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = map(float, bounds)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 4
    step = 10 ** math.floor(math.log10(raw))
    step *= next(factor for factor in (1, 2, 5, 10) if factor * step >= raw * 0.999)
    return [round(i * step, 12) for i in range(math.ceil(low / step), math.floor(high / step) + 1)]
