"""This module shows the history as a gallery or a table, and each part on a page of its own."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from patchebm.errors import ConfigError
from patchebm.station.charts import Words, score_histogram
from patchebm.station.services import inspections, options, products, reviews, shifts
from patchebm.station.services.calibrations import facts_of
from patchebm.station.services.inspections import Filters
from patchebm.station.web.dependencies import DatabaseSession, Operator
from patchebm.station.web.pages.rendering import page, translator

router = APIRouter(include_in_schema=False)

PAGE = 48
# Names of fields of the form that are filters as they stand.
_WORDS = ("product", "part", "source", "verdict", "review", "defect")
_NUMBERS = ("min_score", "max_score")
_FIELDS = (*_WORDS, *_NUMBERS, "model", "since", "until", "shift")


@router.get("/history")
def history(
    request: Request,
    session: DatabaseSession,
    actor: Operator,
    view: str = "gallery",
    cursor: Annotated[uuid.UUID | None, Query()] = None,
) -> Response:
    """Returns parts, newest first, that fit the form."""
    asked = {key: value.strip() for key, value in request.query_params.items() if value.strip()}
    filters = _filters(asked, shifts.start_of(options.read(session), datetime.now().astimezone()))
    found = inspections.search(session, filters, limit=PAGE + 1, after=cursor)
    shown = [inspections.as_dict(one) for one in found[:PAGE]]
    kept = {key: value for key, value in asked.items() if key not in ("cursor", "view")}
    following = urlencode(kept | {"view": view, "cursor": shown[-1]["id"]}) if len(found) > PAGE else None
    return page(
        request,
        "history.html",
        actor,
        parts=shown,
        asked=dict.fromkeys(_FIELDS, "") | asked,
        products=products.everything(session),
        view="table" if view == "table" else "gallery",
        query=urlencode(kept),
        following=following,
    )


@router.get("/parts/{part}")
def part(request: Request, session: DatabaseSession, actor: Operator, part: uuid.UUID) -> Response:
    """Returns the page of a part."""
    _ = translator(request, actor)
    row = inspections.get(session, part)
    facts = facts_of(row.calibration)
    model = row.product.active_model
    words = Words(
        _("Score among good parts"),
        _("The bars are good parts that the model was calibrated on; the triangle is this part."),
        _("score (higher is more anomalous)"),
    )
    return page(
        request,
        "part.html",
        actor,
        part=inspections.as_dict(row),
        row=row,
        histogram=score_histogram(
            [("good", facts.tail.scores.tolist())], row.threshold, words, marker=row.score
        ),
        calibration_parts=facts.tail.parts,
        reviews=reviews.of(session, part),
        model_now=model.number if model is not None else None,
        threshold_now=model.calibration.threshold if model is not None and model.calibration else None,
        same_model=model is not None and model.id == row.model_id,
    )


@router.post("/parts/{part}/reviews")
def review(
    session: DatabaseSession,
    actor: Operator,
    part: uuid.UUID,
    verdict: Annotated[str, Form(max_length=16)],
    defect: Annotated[str, Form(max_length=64)] = "",
    note: Annotated[str, Form(max_length=500)] = "",
    queue: Annotated[str, Form(max_length=64)] = "",
) -> Response:
    """Adds a review, and goes back to the queue or the part that it came from."""
    kind = defect.strip() if verdict == "defective" else ""
    reviews.add(session, actor, part, verdict, defect=kind, note=note)
    if queue:
        product = queue.removeprefix("all")
        return RedirectResponse("/review" + (f"?{urlencode({'product': product})}" if product else ""), 303)
    return RedirectResponse(f"/parts/{part}", 303)


def _filters(asked: dict[str, str], shift: datetime) -> Filters:
    values: dict[str, Any] = {key: asked[key] for key in _WORDS if key in asked}
    try:
        values |= {key: float(asked[key]) for key in _NUMBERS if key in asked}
        if "model" in asked:
            values["model"] = int(asked["model"])
        for key in ("since", "until"):
            if key in asked:
                # Of an input of the type datetime-local: in the station's own zone.
                values[key] = datetime.fromisoformat(asked[key]).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(
            f"the history's form has a value that cannot be read ({error}); correct it"
        ) from error
    back = {"this": timedelta(0), "last": timedelta(hours=8)}.get(asked.get("shift", ""))
    if back is not None:
        values["since"] = shift - back
        if back:
            values["until"] = shift
    return Filters(**values)
