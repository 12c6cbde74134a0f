"""This module reads the history of parts, and shapes a part for REST, webhooks and pages alike."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select, update
from sqlalchemy.orm import Session, joinedload

from patchebm.errors import ConfigError
from patchebm.station.database.base import first_id, iso
from patchebm.station.database.history import Inspection, MissedPart
from patchebm.station.database.products import ModelVersion, Product
from patchebm.station.errors import NotFoundError

MAX_PAGE = 500
API = "/api/v1/inspections"


@dataclass(frozen=True)
class Filters:
    """This class says which parts are wanted; None and "" leave a field open.

    Attributes:
        product: name.
        source: where from.
        part: what the line calls the part; the whole of it, or its start followed by `*`.
        model: version of the model; needs `product`.
        verdict: OK or NG.
        review: good, defective, unsure, `any`, or `none` for parts without one.
        defect: kind that the newest review names.
        since, until: times from and before which parts came.
        min_score, max_score: bounds of the score.
        max_tail: largest tail probability.
        min_latency_ms: smallest latency.
        level: name of a level whose score is at least `min_level`.
        min_level: see `level`.
        sha256: of the image.
    """

    product: str | None = None
    source: str | None = None
    part: str | None = None
    model: int | None = None
    verdict: str | None = None
    review: str | None = None
    defect: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None
    max_score: float | None = None
    max_tail: float | None = None
    min_latency_ms: float | None = None
    level: str | None = None
    min_level: float | None = None
    sha256: str | None = None


def shown() -> Select[Inspection]:
    """Returns the query of parts with what `as_dict` needs of other tables."""
    return select(Inspection).options(
        joinedload(Inspection.product).load_only(Product.name),
        joinedload(Inspection.model).load_only(ModelVersion.number),
    )


def as_dict(inspection: Inspection) -> dict[str, Any]:
    """Returns a part as REST, webhooks and pages show it; see `web.api.schemas.Inspection`."""
    row = {column.key: getattr(inspection, column.key) for column in Inspection.__mapper__.column_attrs}
    return from_row(row, inspection.product.name, inspection.model.number)


def from_row(row: dict[str, Any], product: str, version: int) -> dict[str, Any]:
    """Returns what `as_dict` does, from the columns of a part that may not be stored yet."""
    part_id = str(row["id"])
    kept = row.get("image_deleted") is None
    return {
        "id": part_id,
        "time": iso(row["time"]),
        "product": product,
        "source": row["source"],
        "part": row["part"],
        "model": version,
        "calibration": row["calibration_id"],
        "verdict": "NG" if row["anomalous"] else "OK",
        "score": row["score"],
        "threshold": row["threshold"],
        "tail_probability": row["tail_probability"],
        "extrapolated": row["extrapolated"],
        "levels": row["levels"],
        "region_count": row["region_count"],
        "regions": row["regions"],
        "latency_ms": row["latency_ms"],
        "width": row["width"],
        "height": row["height"],
        "roi": row["roi"],
        "sha256": row["image_sha256"],
        "image": f"{API}/{part_id}/image" if kept else None,
        "map": f"{API}/{part_id}/map" if kept else None,
        "review": row.get("review"),
        "defect": row.get("defect") or "",
        "idempotency_key": row["idempotency_key"],
    }


def get(session: Session, part_id: uuid.UUID) -> Inspection:
    """Returns a part. Raises NotFoundError if there is none of that id."""
    inspection = session.scalar(shown().where(Inspection.id == part_id))
    if inspection is None:
        raise NotFoundError(f"there is no inspection {part_id}")
    return inspection


def by_key(session: Session, product_id: int, key: str) -> Inspection | None:
    """Returns the part that came under an `Idempotency-Key`, or None."""
    return session.scalar(
        shown().where(Inspection.product_id == product_id, Inspection.idempotency_key == key)
    )


def search(
    session: Session,
    filters: Filters,
    *,
    limit: int = 50,
    after: uuid.UUID | None = None,
    oldest_first: bool = False,
) -> Sequence[Inspection]:
    """Returns parts, newest first.

    Args:
        session: open.
        filters: which.
        limit: how many at most; up to 500.
        after: the last id of the page before.
        oldest_first: whether to turn the order around.

    Raises:
        NotFoundError: there is no such product.
        ConfigError: a filter cannot be.
    """
    query = shown().where(*conditions(session, filters)).limit(min(limit, MAX_PAGE))
    if after is not None:
        query = query.where(Inspection.id > after if oldest_first else Inspection.id < after)
    return session.scalars(query.order_by(Inspection.id if oldest_first else Inspection.id.desc())).all()


def count(session: Session, filters: Filters) -> int:
    """Returns the number of parts."""
    query = select(func.count()).select_from(Inspection).where(*conditions(session, filters))
    return session.scalar(query) or 0


def verdicts(session: Session, filters: Filters, also: Sequence[Any] = ()) -> dict[str, int]:
    """Returns the number of parts of each verdict, as a shift's counters show them.

    Args:
        session: open.
        filters: which parts.
        also: conditions of SQL that they fulfil, too.
    """
    query = (
        select(Inspection.anomalous, func.count())
        .where(*conditions(session, filters), *also)
        .group_by(Inspection.anomalous)
    )
    found = dict(session.execute(query).all())
    return {"OK": found.get(False, 0), "NG": found.get(True, 0)}


def conditions(session: Session, filters: Filters) -> list[Any]:
    """Returns the conditions of a query. Raises as `search`."""
    found: list[Any] = []
    if filters.product:
        product_id = session.scalar(select(Product.id).where(Product.name == filters.product))
        if product_id is None:
            raise NotFoundError(f"there is no product '{filters.product:.64}'")
        found.append(Inspection.product_id == product_id)
        if filters.model is not None:
            versions = select(ModelVersion.id).where(
                ModelVersion.product_id == product_id, ModelVersion.number == filters.model
            )
            found.append(Inspection.model_id.in_(versions))
    elif filters.model is not None:
        raise ConfigError("model is a version of a product; say product, too")
    # Ids sort by time, and every index ends with the id: no index of the time is needed.
    if filters.since is not None:
        found.append(Inspection.id >= first_id(filters.since))
    if filters.until is not None:
        found.append(Inspection.id < first_id(filters.until))
    if filters.source:
        found.append(Inspection.source == filters.source)
    if filters.part:
        start = filters.part.removesuffix("*")
        whole = start == filters.part
        found.append(Inspection.part == start if whole else _starts(start))
    if filters.verdict:
        if filters.verdict not in ("OK", "NG"):
            raise ConfigError(f"verdict {filters.verdict!r:.20} is none of OK, NG")
        found.append(Inspection.anomalous.is_(filters.verdict == "NG"))
    if filters.review:
        found.append(_review(filters.review))
    if filters.defect:
        found.append(Inspection.defect == filters.defect)
    if filters.sha256:
        found.append(Inspection.image_sha256 == filters.sha256)
    for bound, column, sign in (
        (filters.min_score, Inspection.score, 1),
        (filters.max_score, Inspection.score, -1),
        (filters.max_tail, Inspection.tail_probability, -1),
        (filters.min_latency_ms, Inspection.latency_ms, 1),
    ):
        if bound is not None:
            found.append(column >= bound if sign > 0 else column <= bound)
    if filters.level:
        score = Inspection.levels[filters.level].as_float()
        found.append(score >= (filters.min_level if filters.min_level is not None else 0.0))
    return found


def _starts(start: str) -> Any:
    # A range, which uses the index on every database and takes no wild cards.
    return and_(Inspection.part >= start, Inspection.part < start + "\U0010ffff")


def _review(review: str) -> Any:
    if review == "none":
        return Inspection.review.is_(None)
    if review == "any":
        return Inspection.review.is_not(None)
    if review not in ("good", "defective", "unsure"):
        raise ConfigError(f"review {review!r:.20} is none of good, defective, unsure, any, none")
    return Inspection.review == review


def resolve_missed(session: Session, inspected: Sequence[tuple[int, str, uuid.UUID]]) -> None:
    """Notes which missed parts were sent again and inspected.

    Args:
        session: open.
        inspected: product, `Idempotency-Key` and id of each part that was inspected.
    """
    if not inspected:
        return
    keys = [key for _, key, _ in inspected]
    query = select(MissedPart.product_id, MissedPart.idempotency_key)
    found = set(
        session.execute(query.where(MissedPart.idempotency_key.in_(keys), MissedPart.inspection_id.is_(None)))
    )
    for product_id, key, part_id in inspected:
        if (product_id, key) in found:
            session.execute(
                update(MissedPart)
                .where(MissedPart.product_id == product_id, MissedPart.idempotency_key == key)
                .values(inspection_id=part_id)
            )


def missed(
    session: Session,
    *,
    product: str | None = None,
    after: uuid.UUID | None = None,
    open_only: bool = False,
    limit: int = 50,
) -> Sequence[MissedPart]:
    """Returns parts that came and were not inspected, newest first.

    Args:
        session: open.
        product: of which product; None for all.
        after: the last id of the page before.
        open_only: whether to leave out those that were inspected when they came again.
        limit: how many at most.
    """
    query = select(MissedPart).options(joinedload(MissedPart.product).load_only(Product.name))
    if product:
        query = query.join(Product).where(Product.name == product)
    if after is not None:
        query = query.where(MissedPart.id < after)
    if open_only:
        query = query.where(MissedPart.inspection_id.is_(None))
    return session.scalars(query.order_by(MissedPart.id.desc()).limit(min(limit, MAX_PAGE))).all()


def missed_counts(session: Session, since: datetime | None = None) -> dict[str, int]:
    """Returns the number of parts that were never inspected, by reason."""
    query = select(MissedPart.reason, func.count()).where(MissedPart.inspection_id.is_(None))
    if since is not None:
        query = query.where(MissedPart.id >= first_id(since))
    return dict(session.execute(query.group_by(MissedPart.reason)).all())
