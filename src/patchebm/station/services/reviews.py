"""This module takes in what people say of parts."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.station.database.base import iso, now
from patchebm.station.database.history import Review
from patchebm.station.roles import Actor
from patchebm.station.services import audit, inspections, messages, names, options
from patchebm.station.statistics.queue import RANDOM, in_sample

VERDICTS = ("good", "defective", "unsure")


def add(
    session: Session,
    actor: Actor,
    part_id: uuid.UUID,
    verdict: str,
    *,
    defect: str = "",
    note: str = "",
) -> Review:
    """Adds a review; the newest counts.

    Args:
        session: open.
        actor: who says it.
        part_id: of the part.
        verdict: good, defective or unsure.
        defect: kind of defect, only for defective.
        note: free text.

    Raises:
        NotFoundError: there is no such part.
        ConfigError: a value cannot be.
    """
    inspection = inspections.get(session, part_id)
    if verdict not in VERDICTS:
        raise ConfigError(f"verdict '{verdict:.20}' is none of {', '.join(VERDICTS)}")
    defect = names.line(defect, "defect", 64)
    if defect and verdict != "defective":
        raise ConfigError(f"defect is '{defect}' for a part that is {verdict}; leave it out")
    before = inspection.review
    share = options.read(session).review_share
    sampled = in_sample(part_id, inspection.anomalous, share)
    review = Review(
        inspection_id=part_id,
        time=now(),
        actor=actor.name,
        verdict=verdict,
        defect=defect,
        note=names.line(note, "note", 500),
        # However a part was found: if it is in the random sample, chance picked it.
        picked=RANDOM if sampled else "",
        probability=share if sampled else None,
    )
    session.add(review)
    inspection.review, inspection.defect = verdict, defect
    session.flush()
    details = {"before": before, "after": verdict, "defect": defect}
    audit.record(session, actor, "review.add", f"inspection:{part_id}", details)
    body = as_dict(review) | {"id": f"{part_id}-{review.id}"}
    messages.enqueue(session, [inspection.product_id], [body], messages.REVIEW)
    return review


def of(session: Session, part_id: uuid.UUID) -> Sequence[Review]:
    """Returns all reviews of a part, newest first."""
    query = select(Review).where(Review.inspection_id == part_id).order_by(Review.id.desc())
    return session.scalars(query).all()


def as_dict(review: Review) -> dict[str, object]:
    """Returns a review as REST and webhooks show it."""
    return {
        "id": review.id,
        "inspection": str(review.inspection_id),
        "time": iso(review.time),
        "actor": review.actor,
        "verdict": review.verdict,
        "defect": review.defect,
        "note": review.note,
    }
