"""This module keeps the joined verdicts of parts of which several views were inspected.

Each view is an inspection of its own, whose source is `SOURCE/VIEW`; the joined verdict is a row beside them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, not_, or_, select
from sqlalchemy.orm import Session

from patchebm.station.arrival import Outcome
from patchebm.station.database.base import first_id
from patchebm.station.database.history import Inspection, JoinedPart
from patchebm.station.database.products import Product, Source
from patchebm.station.services import inspections, messages
from patchebm.station.services.inspections import Filters

VIEWS = "views"


def store(session: Session, product_id: int, time: datetime, outcome: Outcome) -> None:
    """Stores a joined verdict, and writes its message to the outputs.

    Args:
        session: in which all of it is stored, or nothing.
        product_id: of the part.
        time: of `outcome["id"]`.
        outcome: see `web.api.schemas.JoinedPart`.
    """
    views = outcome["views"]
    row = JoinedPart(
        id=uuid.UUID(outcome["id"]),
        time=time,
        product_id=product_id,
        source=outcome["source"],
        part=outcome["part"],
        anomalous=outcome["verdict"] == "NG",
        worst_view_id=uuid.UUID(views[outcome["worst_view"]]["id"]),
        views={name: None if view is None else view["id"] for name, view in views.items()},
    )
    session.add(row)
    messages.enqueue(session, [product_id], [outcome], messages.PART)


def sources_of(session: Session, product: Product) -> Sequence[str]:
    """Returns the sources that join views of a product, those included that are off now."""
    query = select(Source.name).where(Source.product_id == product.id, Source.kind == VIEWS)
    return session.scalars(query.order_by(Source.name)).all()


def newest(session: Session, product: Product, sources: Sequence[str]) -> Outcome | None:
    """Returns the newest part of a product with its verdict, or None.

    Args:
        session: open.
        product: whose part.
        sources: as `sources_of` says.

    Returns:
        The inspection; of a part with several views that of the worst one, with the joined verdict.
    """
    query = inspections.shown().where(Inspection.product_id == product.id, *_no_view_of(sources))
    whole = session.scalar(query.order_by(Inspection.id.desc()).limit(1))
    joined = None
    if sources:
        query_joined = select(JoinedPart).where(JoinedPart.product_id == product.id)
        joined = session.scalar(query_joined.order_by(JoinedPart.id.desc()).limit(1))
    if joined is None or (whole is not None and whole.id > joined.id):
        return None if whole is None else inspections.as_dict(whole)
    worst = inspections.as_dict(inspections.get(session, joined.worst_view_id))
    return worst | {"part": joined.part, "verdict": "NG" if joined.anomalous else "OK"}


def verdicts(session: Session, product: Product, sources: Sequence[str], since: datetime) -> dict[str, int]:
    """Returns the number of parts of each verdict; a part with several views counts once.

    Args:
        session: open.
        product: whose parts.
        sources: as `sources_of` says.
        since: from when on.
    """
    filters = Filters(product=product.name, since=since)
    found = inspections.verdicts(session, filters, _no_view_of(sources))
    if sources:
        query = (
            select(JoinedPart.anomalous, func.count())
            .where(JoinedPart.product_id == product.id, JoinedPart.id >= first_id(since))
            .group_by(JoinedPart.anomalous)
        )
        for anomalous, count in session.execute(query):
            found["NG" if anomalous else "OK"] += count
    return found


def _no_view_of(sources: Sequence[str]) -> list[Any]:
    if not sources:
        return []
    return [not_(or_(*(Inspection.source.startswith(f"{name}/", autoescape=True) for name in sources)))]
