"""This module joins the verdicts of several views of a part to one, also after a process that was killed.

Views are stored one by one, and joined in a transaction of their own afterwards. A process that is killed in
between leaves views with an `unjoined_id`; the next start joins them, or lists the part as missed.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import select, update
from sqlalchemy.orm import Session, joinedload

from patchebm.station.arrival import Outcome
from patchebm.station.database.base import iso, now, time_id
from patchebm.station.database.history import Inspection, MissedPart
from patchebm.station.database.products import Product, Source
from patchebm.station.services import inspections, joined

_log = logging.getLogger(__name__)

STOPPED = "stopped"
"""Why a part has no verdict whose views were not all inspected when the process ended."""


class OpenSession(Protocol):
    """This class opens a session of one transaction: `Station.session`."""

    def __call__(self, *, write: bool = False) -> AbstractContextManager[Session]:
        """Yields the session."""
        ...


def joined_verdict(views: Mapping[str, Outcome | None], needed: int) -> str | None:
    """Returns OK or NG; None if views that were not inspected would decide.

    Args:
        views: outcomes by name; None for a view that was not inspected.
        needed: views that must be NG for the part to be NG.
    """
    ng, missing = joined.count_ng(views), list(views.values()).count(None)
    if ng >= needed:
        return "NG"
    return "OK" if ng + missing < needed else None


def worst_view(views: Mapping[str, Outcome | None]) -> str:
    """Returns the name of the view that shows the part at its worst: NG first, then the rarest score.

    Args:
        views: outcomes by name, one of them at least; None for a view that was not inspected.
    """
    found = {name: view for name, view in views.items() if view is not None}
    return min(found, key=lambda name: (found[name]["verdict"] != "NG", found[name]["tail_probability"]))


def store(
    session: Session,
    product_id: int,
    product: str,
    source: str,
    part: str,
    key: str | None,
    views: Mapping[str, Outcome | None],
    needed: int,
) -> Outcome | None:
    """Joins the verdicts of views and stores what comes of it.

    Args:
        session: in which all of it is stored, or nothing.
        product_id: of the part.
        product: its name.
        source: name of the source.
        part: what the line calls the part.
        key: `Idempotency-Key`, or None.
        views: outcomes by name; None for a view that was not inspected.
        needed: views that must be NG for the part to be NG.

    Returns:
        The joined verdict, see `web.api.schemas.JoinedPart`; None if views that were not inspected would
        decide: then there is none, and the others do not wait for them any more.
    """
    stored = [uuid.UUID(view["id"]) for view in views.values() if view is not None]
    session.execute(update(Inspection).where(Inspection.id.in_(stored)).values(unjoined_id=None))
    verdict = joined_verdict(views, needed)
    if verdict is None:
        return None
    time = now()
    worst = worst_view(views)
    facts = views[worst] or {}
    outcome: Outcome = {
        "id": str(time_id(time)),
        "time": iso(time),
        "product": product,
        "source": source,
        "part": part,
        "verdict": verdict,
        "ng_views": joined.count_ng(views),
        "worst_view": worst,
        "score": facts["score"],
        "threshold": facts["threshold"],
        "tail_probability": facts["tail_probability"],
        "idempotency_key": key,
        "views": dict(views),
    }
    joined.store(session, product_id, time, outcome)
    return outcome


def finish(open_session: OpenSession) -> tuple[int, int]:
    """Joins what a process left unjoined that ended too early. To be called before any source works.

    Args:
        open_session: opens the database.

    Returns:
        How many parts were joined, and how many were listed as missed since a view that was not inspected
        would decide.
    """
    with open_session() as session:
        query = select(Inspection.unjoined_id).where(Inspection.unjoined_id.is_not(None)).distinct()
        left = session.scalars(query).all()
    counts = {True: 0, False: 0}
    for unjoined_id in left:
        try:
            with open_session(write=True) as session:
                was_joined = _finish(session, unjoined_id)
        # One part must not keep the station from inspecting; the next start tries again.
        except Exception:
            _log.exception("the views %s could not be joined", unjoined_id)
        else:
            counts[was_joined] += 1
    return counts[True], counts[False]


def _finish(session: Session, unjoined_id: uuid.UUID | None) -> bool:
    """Joins the views of a part, or lists it as missed. Says whether there is a joined verdict."""
    rows = session.scalars(inspections.shown().where(Inspection.unjoined_id == unjoined_id)).all()
    found = {row.source.partition("/")[2]: row for row in rows}
    view, first = next(iter(found.items()))
    name = first.source.partition("/")[0]
    key = None if first.idempotency_key is None else first.idempotency_key.removesuffix(f"/{view}")
    query = select(Source).where(Source.name == name).options(joinedload(Source.product))
    source = session.scalar(query)
    if source is None or source.kind not in joined.JOINING:
        # Which views the part should have, nobody knows any more.
        _forget(session, rows)
        _miss(
            session,
            first.product_id,
            first,
            key,
            "before the views were joined, and their source was deleted",
        )
        return False
    settings: dict[str, Any] = source.settings["views"]
    views: dict[str, Outcome | None] = {}
    for view in dict.fromkeys([*settings, *found]):
        row = found.get(view) or _earlier(session, source, view, key)
        views[view] = None if row is None else inspections.as_dict(row)
    if key is not None and joined.by_key(session, source.product_id, key) is not None:
        _forget(session, rows)
        return True
    needed = int(source.settings.get("ng_views", 1))
    product = source.product
    if store(session, product.id, product.name, name, first.part, key, views, needed) is not None:
        return True
    missing = ", ".join(view for view in views if views[view] is None)
    why = f"before all views were inspected ({missing} is missing), and the others do not decide"
    _miss(session, source.product_id, first, key, f"{why}; trigger the part again")
    return False


def _earlier(session: Session, source: Source, view: str, key: str | None) -> Inspection | None:
    """Returns a view that was inspected before, when the part was sent under the same key; or None."""
    if key is None:
        return None
    product = source.settings["views"].get(view, {}).get("product", source.product.name)
    product_id = session.scalar(select(Product.id).where(Product.name == product))
    return None if product_id is None else inspections.by_key(session, product_id, f"{key}/{view}")


def _miss(session: Session, product_id: int, view: Inspection, key: str | None, why: str) -> None:
    """Lists a part as missed of which a view was inspected."""
    time = now()
    session.add(
        MissedPart(
            id=time_id(time),
            time=time,
            product_id=product_id,
            source=view.source.partition("/")[0],
            part=view.part,
            idempotency_key=key,
            reason=STOPPED,
            message=f"the station stopped {why}",
        )
    )


def _forget(session: Session, rows: Sequence[Inspection]) -> None:
    for row in rows:
        row.unjoined_id = None
