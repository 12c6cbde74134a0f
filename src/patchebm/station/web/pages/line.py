"""This module is the operator's page: the newest verdict, to be read from three metres."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from patchebm.station.services import drift, inspections, joined, options, products, shifts, sources
from patchebm.station.services.inspections import Filters
from patchebm.station.web.dependencies import DatabaseSession, Operator, TheStation
from patchebm.station.web.pages.rendering import page

router = APIRouter(include_in_schema=False)

# Parts in the strip below the verdict.
SHOWN = 12


@router.get("/line/{product}")
def line(
    request: Request, session: DatabaseSession, station: TheStation, actor: Operator, product: str
) -> Response:
    """Returns the page of a product; a script keeps it up to date."""
    found = products.get(session, product)
    chosen = options.read(session)
    since = shifts.start_of(chosen, datetime.now().astimezone())
    parts = [
        inspections.as_dict(one) for one in inspections.search(session, Filters(product=product), limit=SHOWN)
    ]
    test = drift.current(session, found)
    views = joined.sources_of(session, found, since)
    states = station.sources.states()
    own = [one.name for one in sources.everything(session) if one.product_id == found.id]
    return page(
        request,
        "line.html",
        actor,
        product=found,
        parts=parts,
        newest=joined.newest(session, found, views),
        views=views,
        troubles={name: states[name] for name in own if states.get(name)},
        counts=joined.verdicts(session, found, views, since),
        missed=len(inspections.missed(session, product=product, open_only=True, limit=500)),
        since=since,
        sound=chosen.sound,
        drift=test is not None and test.alarm is not None,
        shown=SHOWN,
    )
