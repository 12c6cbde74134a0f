"""This module shows whether camera, light or product have changed."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from patchebm.station.charts import Words, control_chart, evidence_curve
from patchebm.station.database.history import Inspection
from patchebm.station.i18n import noop
from patchebm.station.services import drift, inspections, products
from patchebm.station.statistics.control import BASELINE, average_chart, share_chart, sharpness_figure
from patchebm.station.statistics.drift import log_threshold
from patchebm.station.web.dependencies import DatabaseSession, Engineer, Operator
from patchebm.station.web.pages.rendering import page, translator

router = APIRouter(include_in_schema=False)

# Oddest parts that are shown, among so many of the newest.
ODDEST, AMONG = 8, 200
GROUP = 25
FIGURES = {"score": noop("score"), "brightness": noop("brightness"), "sharpness": noop("sharpness")}


@router.get("/products/{product}/drift")
def show(request: Request, session: DatabaseSession, actor: Operator, product: str) -> Response:
    """Returns the curve of the evidence, control charts, and the oddest parts."""
    _ = translator(request, actor)
    found = products.get(session, product)
    state = drift.current(session, found)
    context: dict[str, Any] = {"state": state, "charts": [], "oddest": [], "figure": "", "evidence": ""}
    if state is not None and state.parts:
        recent, first = drift.recent(session, state), drift.first(session, state, BASELINE)
        alarm_at = log_threshold(float(state.state["false_alarm_probability"]))
        logs = [one.log_martingale for one in recent if one.log_martingale is not None]
        words = Words(
            _("Evidence for a change"),
            _("Power of ten of the evidence, part by part; the line is where an alarm is raised."),
            _("parts, oldest to newest"),
        )
        figure = str(state.state["figure"])
        context |= {
            "evidence": evidence_curve(logs, alarm_at, words) if logs else "",
            "alarm_at": math.exp(alarm_at),
            "now": math.exp(min(state.log_martingale, 700)),
            "charts": _charts(recent, first, _),
            "oddest": _oddest(recent, first, figure or "score"),
            "figure": _(FIGURES[figure]) if figure else "",
        }
    return page(request, "drift.html", actor, product=found, **context)


@router.post("/products/{product}/drift")
def restart(
    session: DatabaseSession,
    actor: Engineer,
    product: str,
    compare: Annotated[str, Form(pattern="^(calibration|line)$")] = "calibration",
) -> Response:
    """Starts a new test."""
    drift.restart(session, actor, products.get(session, product), calibrated=compare == "calibration")
    return RedirectResponse(f"/products/{product}/drift", 303)


def _value(part: Inspection, figure: str) -> float:
    if figure == "sharpness":
        return sharpness_figure(part.sharpness)
    return part.brightness if figure == "brightness" else part.score


def _charts(recent: list[Inspection], first: Any, _: Any) -> list[tuple[str, str]]:
    """Returns titles and charts. The score is drawn of parts that were OK; the others have their own."""
    drawn = []
    for figure, name in FIGURES.items():
        shown = [one for one in recent if figure != "score" or not one.anomalous]
        chart = average_chart([_value(one, figure) for one in shown], [_value(one, figure) for one in first])
        if chart is not None:
            words = Words(
                _("Control chart") + ": " + _(name),
                _("Moving average of the figure with its limits; triangles lie beyond a limit."),
                _("parts, oldest to newest"),
            )
            drawn.append((words.title, control_chart(chart, words, identifier=f"chart-{figure}")))
    if len(recent) >= 2 * GROUP and len(first) >= BASELINE:
        usual = float(np.mean([one.anomalous for one in first]))
        words = Words(
            _("Control chart") + ": " + _("share of NG"),
            _("Share of NG in groups of parts, with limits; triangles lie beyond a limit."),
            _("groups of 25 parts"),
        )
        chart = share_chart([one.anomalous for one in recent], usual, GROUP)
        drawn.append((words.title, control_chart(chart, words, identifier="chart-ng")))
    return drawn


def _oddest(recent: list[Inspection], first: Any, figure: str) -> list[dict[str, Any]]:
    usual = float(np.median([_value(one, figure) for one in first]))
    ranked = sorted(recent[-AMONG:], key=lambda one: -abs(_value(one, figure) - usual))
    return [inspections.as_dict(one) for one in ranked[:ODDEST]]
