"""This module keeps the joined verdicts of parts of which several views were inspected.

Each view is an inspection of its own, whose source is `SOURCE/VIEW`; the joined verdict is a row beside them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, not_, or_, select
from sqlalchemy.orm import Session, joinedload

from patchebm.errors import ConfigError
from patchebm.station.arrival import Outcome
from patchebm.station.database.base import first_id, iso
from patchebm.station.database.history import Inspection, JoinedPart
from patchebm.station.database.products import Product, Source
from patchebm.station.errors import NotFoundError
from patchebm.station.services import inspections, messages
from patchebm.station.services.inspections import MAX_PAGE, Filters

VIEWS, PUSHED_VIEWS = JOINING = ("views", "pushed-views")
"""Kinds of sources that join views: of cameras, and of images that are pushed."""

API = "/api/v1/joined-parts"


@dataclass(frozen=True)
class JoinedFilters:
    """This class says which joined parts are wanted; None and "" leave a field open.

    Attributes:
        product: name.
        source: that joined them.
        part: what the line calls the part; the whole of it, or its start followed by `*`.
        verdict: OK or NG.
        since, until: times from and before which parts were joined.
    """

    product: str | None = None
    source: str | None = None
    part: str | None = None
    verdict: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def as_dicts(session: Session, rows: Sequence[JoinedPart]) -> list[Outcome]:
    """Returns joined parts as REST shows them; see `web.api.schemas.JoinedPart`.

    Args:
        session: open.
        rows: of which `shown` is the query.
    """
    wanted = {uuid.UUID(view) for row in rows for view in row.views.values() if view is not None}
    found = session.scalars(inspections.shown().where(Inspection.id.in_(wanted))) if wanted else ()
    views = {str(one.id): inspections.as_dict(one) for one in found}
    return [_as_dict(row, {name: views.get(view) for name, view in row.views.items()}) for row in rows]


def _as_dict(row: JoinedPart, views: Mapping[str, Outcome | None]) -> Outcome:
    worst = next(name for name, view in row.views.items() if view == str(row.worst_view_id))
    facts = views[worst] or {}
    return {
        "id": str(row.id),
        "time": iso(row.time),
        "product": row.product.name,
        "source": row.source,
        "part": row.part,
        "verdict": "NG" if row.anomalous else "OK",
        "ng_views": count_ng(views),
        "worst_view": worst,
        "score": facts["score"],
        "threshold": facts["threshold"],
        "tail_probability": facts["tail_probability"],
        "idempotency_key": row.idempotency_key,
        "views": dict(views),
    }


def count_ng(views: Mapping[str, Outcome | None]) -> int:
    """Returns the number of views that are NG."""
    return sum(view is not None and view["verdict"] == "NG" for view in views.values())


def shown() -> Select[JoinedPart]:
    """Returns the query of joined parts with what `as_dicts` needs of other tables, but the views."""
    return select(JoinedPart).options(joinedload(JoinedPart.product).load_only(Product.name))


def get(session: Session, part_id: uuid.UUID) -> Outcome:
    """Returns a joined part. Raises NotFoundError if there is none of that id."""
    row = session.scalar(shown().where(JoinedPart.id == part_id))
    if row is None:
        raise NotFoundError(f"there is no joined part {part_id}")
    return as_dicts(session, [row])[0]


def by_key(session: Session, product_id: int, key: str) -> Outcome | None:
    """Returns the joined part that came under an `Idempotency-Key`, or None."""
    query = shown().where(JoinedPart.product_id == product_id, JoinedPart.idempotency_key == key)
    row = session.scalar(query)
    return None if row is None else as_dicts(session, [row])[0]


def search(
    session: Session, filters: JoinedFilters, *, limit: int = 50, after: uuid.UUID | None = None
) -> list[Outcome]:
    """Returns joined parts, newest first.

    Args:
        session: open.
        filters: which.
        limit: how many at most; up to 500.
        after: the last id of the page before.

    Raises:
        NotFoundError: there is no such product.
        ConfigError: a filter cannot be.
    """
    query = shown().where(*_conditions(session, filters)).limit(min(limit, MAX_PAGE))
    if after is not None:
        query = query.where(JoinedPart.id < after)
    return as_dicts(session, session.scalars(query.order_by(JoinedPart.id.desc())).all())


def _conditions(session: Session, filters: JoinedFilters) -> list[Any]:
    found: list[Any] = []
    if filters.product:
        product_id = session.scalar(select(Product.id).where(Product.name == filters.product))
        if product_id is None:
            raise NotFoundError(f"there is no product '{filters.product:.64}'")
        found.append(JoinedPart.product_id == product_id)
    if filters.source:
        found.append(JoinedPart.source == filters.source)
    if filters.part:
        start = filters.part.removesuffix("*")
        whole = start == filters.part
        until = start + "\U0010ffff"
        found.append(
            JoinedPart.part == start if whole else and_(JoinedPart.part >= start, JoinedPart.part < until)
        )
    if filters.verdict:
        if filters.verdict not in ("OK", "NG"):
            raise ConfigError(f"verdict {filters.verdict!r:.20} is none of OK, NG")
        found.append(JoinedPart.anomalous.is_(filters.verdict == "NG"))
    # Ids sort by time.
    if filters.since is not None:
        found.append(JoinedPart.id >= first_id(filters.since))
    if filters.until is not None:
        found.append(JoinedPart.id < first_id(filters.until))
    return found


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
        idempotency_key=outcome["idempotency_key"],
        anomalous=outcome["verdict"] == "NG",
        worst_view_id=uuid.UUID(views[outcome["worst_view"]]["id"]),
        views={name: None if view is None else view["id"] for name, view in views.items()},
    )
    session.add(row)
    messages.enqueue(session, [product_id], [outcome], messages.PART)
    if row.idempotency_key is not None:
        inspections.resolve_missed(session, [(product_id, row.idempotency_key, row.worst_view_id)])


def sources_of(session: Session, product: Product, since: datetime) -> Sequence[str]:
    """Returns the sources that join views of a product, those included that are off now, by name.

    Args:
        session: open.
        product: whose views.
        since: sources that were deleted are named if they have joined a part since then.
    """
    there = select(Source.name).where(Source.product_id == product.id, Source.kind.in_(JOINING))
    of_parts = select(JoinedPart.source).where(
        JoinedPart.product_id == product.id, JoinedPart.id >= first_id(since)
    )
    return sorted({*session.scalars(there), *session.scalars(of_parts.distinct())})


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
