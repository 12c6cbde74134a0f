"""This module is the first page: all products, how they do, and what needs somebody."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from patchebm.station.database.products import Product
from patchebm.station.roles import Role
from patchebm.station.services import drift, inspections, joined, models, options, products, shifts
from patchebm.station.web.dependencies import DatabaseSession, Engineer, Operator
from patchebm.station.web.pages.rendering import page

router = APIRouter(include_in_schema=False)


@router.get("/")
def home(request: Request, session: DatabaseSession, actor: Operator) -> Response:
    """Returns the first page."""
    since = shifts.start_of(options.read(session), datetime.now().astimezone())
    shown = [_summary(session, product, since) for product in products.everything(session)]
    missed = inspections.missed_counts(session, since)
    return page(
        request,
        "home.html",
        actor,
        products=shown,
        missed=sum(missed.values()),
        since=since,
        may_add=actor.role >= Role.ENGINEER,
    )


@router.post("/products")
def add(
    session: DatabaseSession,
    actor: Engineer,
    name: Annotated[str, Form(max_length=64)],
    title: Annotated[str, Form(max_length=120)] = "",
) -> Response:
    """Adds a product, and goes on to its page."""
    products.add(session, actor, name.strip(), title=title)
    return RedirectResponse(f"/products/{name.strip()}", 303)


def _summary(session: Session, product: Product, since: datetime) -> dict[str, Any]:
    views = joined.sources_of(session, product, since)
    test = drift.current(session, product)
    calibration = models.active_calibration(product)
    return {
        "name": product.name,
        "title": product.title,
        "model": product.active_model.number if product.active_model is not None else None,
        "threshold": calibration.threshold if calibration is not None else None,
        "counts": joined.verdicts(session, product, views, since),
        "newest": joined.newest(session, product, views),
        "drift": test is not None and test.alarm is not None,
    }
