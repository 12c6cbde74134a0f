"""This module draws charts as matplotlib figures that no global state refers to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Chart
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from patchebm.report.table import number

# Blue, vermilion, green, purple, orange, sky: Okabe and Ito's colours, told apart by the colour-blind.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9")
_LINES = ("-", "--", "-.", ":")

# From here on small scores would be squeezed into a line on a linear axis.
_WIDE = 40.0


def score_figure(scores_by_group: Mapping[str, Sequence[float]], threshold: float) -> Chart:
    """This function draws every score as a point, one row per group, with the threshold as a line.

    Args:
        scores_by_group: scores by group, such as "good" and each defect, drawn from top to bottom. Empty
            groups are left out.
        threshold: scores above it are verdicts of "anomalous".
    """
    groups = [(name, np.asarray(values)) for name, values in scores_by_group.items() if len(values)]
    figure, axes = _chart(5.4, 1.2 + 0.45 * len(groups))
    for row, (_, values) in enumerate(groups):
        # Equal scores would hide each other; moving them apart in turn needs no randomness.
        height = row + 0.26 * ((np.arange(values.size) * 0.618034) % 1.0 * 2.0 - 1.0)
        above = values > threshold
        axes.scatter(values[~above], height[~above], s=20, c=_COLOURS[0], alpha=0.7, linewidths=0)
        axes.scatter(values[above], height[above], s=20, c=_COLOURS[1], marker="^", alpha=0.7, linewidths=0)
    axes.axvline(threshold, color="#222222", linewidth=1.5, linestyle="--")
    axes.set_yticks(range(len(groups)), [f"{_short(name)} ({values.size})" for name, values in groups])
    axes.set_ylim(max(len(groups), 1) - 0.5, -0.5)
    axes.set_xlabel("score (higher is more anomalous)")
    if any(np.abs(values).max() > _WIDE for _, values in groups):
        # Linear up to twice the threshold, where verdicts are decided, and by powers of ten beyond.
        dense = max(1.0, 2 * abs(threshold))
        axes.set_xscale("symlog", linthresh=dense, linscale=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.set_xlabel(f"score (higher is more anomalous; logarithmic beyond {dense:.0f})")
    axes.set_title(f"threshold {number(threshold)}", loc="left", fontsize="medium")
    for label in axes.get_yticklabels():
        # A folder may be called "$x$": names are not formulas.
        label.set_parse_math(False)
    return figure


def roc_figure(
    curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], point: tuple[float, float] | None = None
) -> Chart:
    """This function draws ROC curves, each named with its AUROC.

    Args:
        curves: by name, the labels (N,) bool, True for anomalous, and the scores (N,) float. A curve whose
            labels are all one class does not exist and is left out.
        point: share of good and of anomalous images above the threshold, drawn as a point.

    Raises:
        ValueError: labels and scores differ in length, or a score is not finite.
    """
    figure, axes = _chart(4.6, 4.3)
    axes.plot([0, 1], [0, 1], color="#888888", linewidth=1.0, label="chance")
    for index, (name, (labels, scores)) in enumerate(curves.items()):
        truth = np.asarray(labels, dtype=bool)
        if truth.all() or not truth.any():
            continue
        label = f"{_short(name)}: AUROC {roc_auc_score(truth, scores):.3f}"
        colour, line = _COLOURS[index % len(_COLOURS)], _LINES[index % len(_LINES)]
        rates = roc_curve(truth, scores)[:2]
        axes.plot(*rates, color=colour, linestyle=line, linewidth=2.0, label=label)
    if point is not None:
        axes.plot(*point, "o", color="#222222", markersize=8, label="at the threshold", clip_on=False)
    axes.set(xlabel="good parts called anomalous", ylabel="anomalous parts found", aspect="equal")
    for text in axes.legend(loc="lower right", frameon=False).get_texts():
        text.set_parse_math(False)
    return figure


def calibration_figure(probabilities: npt.ArrayLike) -> Chart:
    """This function draws which share of good test images is at least as odd as stated.

    Where tail probabilities hold, a share p of good images is at most p: the steps run along the diagonal,
    and at each p in 95 % of all samples within the band.

    Args:
        probabilities: (N,) tail probabilities of good test images.
    """
    values = np.sort(np.asarray(probabilities, dtype=np.float64))
    figure, axes = _chart(4.6, 4.3)
    stated = np.geomspace(min(1e-3, max(values.min(initial=1e-3), 1e-6)), 1.0, 200)
    low, high = (stats.binom.ppf(q, values.size, stated) / values.size for q in (0.025, 0.975))
    axes.fill_between(stated, low, high, color="#cccccc", linewidth=0, label="95 % of samples")
    axes.plot(stated, stated, color="#888888", linewidth=1.0, label="as stated")
    steps = np.concatenate(([stated[0]], values, [1.0]))
    shares = np.concatenate(([0.0], np.arange(1, values.size + 1) / values.size, [1.0]))
    label = f"{values.size} good test images"
    axes.step(steps, shares, where="post", color=_COLOURS[0], linewidth=2.0, label=label)
    axes.set(xscale="log", xlabel="stated: p or odder", ylabel="observed share", ylim=(0, 1.02))
    axes.set_xlim(stated[0], 1.0)
    axes.legend(loc="upper left", frameon=False)
    return figure


def training_figure(curves: Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]], ylabel: str) -> Chart:
    """This function draws curves over training steps, one for each network of a level.

    Args:
        curves: by name, the steps (N,) and the values (N,); what is not finite leaves a gap.
        ylabel: what the values are.
    """
    figure, axes = _chart(4.6, 3.0)
    for index, (name, (steps, values)) in enumerate(curves.items()):
        colour, line = _COLOURS[index % len(_COLOURS)], _LINES[index // len(_COLOURS) % len(_LINES)]
        axes.plot(
            np.asarray(steps), np.asarray(values), color=colour, linestyle=line, linewidth=1.5, label=name
        )
    axes.set(xlabel="step", ylabel=ylabel)
    if len(curves) > 1:
        axes.legend(frameon=False, fontsize="small")
    return figure


def _short(name: str) -> str:
    """Returns a name that leaves room for the drawing."""
    return name if len(name) <= 28 else name[:27] + "…"


def _chart(width: float, height: float) -> tuple[Chart, Axes]:
    """Returns an empty chart of a size in inches, without lines that carry nothing."""
    figure = Chart(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes
