"""This module is where an engineer moves the threshold or calibrates again, and another approves it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError, PatchebmError
from patchebm.runtime.calibration import Calibration as Facts
from patchebm.station.charts import Words, score_histogram
from patchebm.station.database.products import ModelVersion
from patchebm.station.errors import ConflictError
from patchebm.station.services import calibrations, options, products
from patchebm.station.services.insights import PREVIEWED, from_reviews, newest
from patchebm.station.statistics.recalibration import preview
from patchebm.station.web.dependencies import DatabaseSession, Engineer
from patchebm.station.web.pages.rendering import page, translator

router = APIRouter(include_in_schema=False)

METHODS = ("threshold", "rate", "reviews")


@router.get("/products/{product}/calibration")
def show(
    request: Request,
    session: DatabaseSession,
    actor: Engineer,
    product: str,
    method: str = "threshold",
    value: float | None = None,
) -> Response:
    """Returns the page, with a preview of what is asked for."""
    _ = translator(request, actor)
    found = products.get(session, product)
    model = _active(found.name, found.active_model)
    in_force = calibrations.facts_of(model.calibration)
    problem, wanted = "", in_force
    if value is not None:
        try:
            wanted = _wanted(session, model, in_force, method, value)
        except PatchebmError as error:
            problem = str(error)
    parts = newest(session, model)
    scores = [one.score for one in parts]
    reviewed = [one.review for one in parts]
    words = Words(
        _("Scores of the last parts"),
        _("Bars are counts of parts; the line is the threshold. Parts to its right are NG."),
        _("score (higher is more anomalous)"),
    )
    groups = [
        ("good", [s for s, r in zip(scores, reviewed, strict=True) if r == "good"]),
        ("plain", [s for s, r in zip(scores, reviewed, strict=True) if r in (None, "unsure")]),
        ("defective", [s for s, r in zip(scores, reviewed, strict=True) if r == "defective"]),
    ]
    threshold = wanted.threshold.value
    data = {
        "scores": [round(score, 6) for score in scores],
        "ng": [one.anomalous for one in parts],
        "reviews": reviewed,
        "tail": [in_force.tail.scores.tolist(), in_force.tail.weights.tolist()],
    }
    return page(
        request,
        "calibration.html",
        actor,
        product=found,
        model=model,
        in_force=in_force,
        wanted=wanted,
        method=method if method in METHODS else "threshold",
        value=value,
        problem=problem,
        preview=preview(scores, [one.anomalous for one in parts], reviewed, threshold),
        histogram=score_histogram(groups, threshold, words),
        data=json.dumps(data),
        most=PREVIEWED,
        history=calibrations.of_product(session, found, 30),
        four_eyes=options.read(session).four_eyes,
    )


@router.post("/products/{product}/calibration")
def propose(
    session: DatabaseSession,
    actor: Engineer,
    product: str,
    method: Annotated[str, Form(max_length=16)],
    value: Annotated[float, Form()],
    note: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Puts a calibration in force, or proposes it where four eyes are asked for."""
    found = products.get(session, product)
    model = _active(found.name, found.active_model)
    in_force = calibrations.facts_of(model.calibration)
    wanted = _wanted(session, model, in_force, method, value)
    kind = "recalibrated" if method == "reviews" else "threshold"
    calibrations.propose(session, actor, found, model, wanted, kind, note=note)
    return RedirectResponse(f"/products/{product}/calibration", 303)


@router.post("/products/{product}/calibration/{number}")
def decide(
    session: DatabaseSession,
    actor: Engineer,
    product: str,
    number: int,
    decision: Annotated[str, Form(pattern="^(approve|reject)$")],
) -> Response:
    """Approves or rejects a proposed calibration."""
    found = products.get(session, product)
    calibrations.decide(session, actor, found, number, approve=decision == "approve")
    return RedirectResponse(f"/products/{product}/calibration", 303)


def _active(name: str, model: ModelVersion | None) -> Any:
    if model is None or model.calibration is None:
        raise ConflictError(f"'{name}' has no active model; activate one first")
    return model


def _wanted(session: Session, model: ModelVersion, in_force: Facts, method: str, value: float) -> Facts:
    if method == "threshold":
        return calibrations.at_threshold(in_force, value)
    if method == "rate":
        return calibrations.at_rate(in_force, value)
    if method == "reviews":
        return from_reviews(session, model, value)
    raise ConfigError(f"method '{method:.20}' is none of {', '.join(METHODS)}")
