"""This module shows the parts that wait for a review, and what reviews say of false alarms and misses."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from fastapi import APIRouter, Request
from fastapi.responses import Response

from patchebm.station.charts import Words, bars
from patchebm.station.i18n import noop
from patchebm.station.services import inspections, options, products
from patchebm.station.services.insights import review_queue, weekly_rates
from patchebm.station.web.dependencies import DatabaseSession, Operator
from patchebm.station.web.pages.rendering import page, translator

router = APIRouter(include_in_schema=False)

# Parts of the queue that are looked up at once.
QUEUE = 100
WEEKS = 8
_REASONS = {
    "queue:threshold": noop("near the threshold"),
    "queue:levels": noop("the levels disagree"),
    "queue:random": noop("picked by chance"),
    "queue:alarm": noop("NG without a review"),
}


@router.get("/review")
def queue(
    request: Request, session: DatabaseSession, actor: Operator, product: str = "", skip: int = 0
) -> Response:
    """Returns the part that should be reviewed next."""
    _ = translator(request, actor)
    only = products.get(session, product) if product else None
    waiting = review_queue(session, only, QUEUE)
    place = min(max(skip, 0), max(len(waiting) - 1, 0))
    picked = waiting[place] if waiting else None
    part = inspections.as_dict(inspections.get(session, picked.id)) if picked is not None else None
    following = waiting[place + 1].id if place + 1 < len(waiting) else None
    return page(
        request,
        "review.html",
        actor,
        part=part,
        reason=_(_REASONS[picked.reason]) if picked is not None else "",
        waiting=len(waiting),
        most=QUEUE,
        skip=place,
        following=following,
        only=product,
        products=products.everything(session),
    )


@router.get("/rates")
def rates(request: Request, session: DatabaseSession, actor: Operator, product: str = "") -> Response:
    """Returns what reviews say, by product, model and week."""
    _ = translator(request, actor)
    only = products.get(session, product) if product else None
    until = datetime.now(timezone.utc)
    rows = weekly_rates(session, until - timedelta(weeks=WEEKS - 1), until, only)
    charts = []
    for i, row in enumerate(row for row in rows if row.week is None):
        weeks = [
            (f"{one.week:%d.%m.}", one.rates.false_alarms)
            for one in reversed(rows)
            if one.week is not None and (one.product, one.model) == (row.product, row.model)
        ]
        drawn = [(name, share.value, share.low, share.high) for name, share in weeks if share is not None]
        words = Words(
            _("False alarms by week"),
            _("Share of good parts that were called NG, with intervals of 95 %."),
            _("week from"),
        )
        charts.append((row.product, row.model, bars(drawn, words, identifier=f"weeks-{i}") if drawn else ""))
    return page(
        request,
        "rates.html",
        actor,
        rows=rows,
        charts=charts,
        share=options.read(session).review_share,
        only=product,
        products=products.everything(session),
    )
