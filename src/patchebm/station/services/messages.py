"""This module fills the outbox: messages are written in the transaction of what they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from patchebm.station.database.base import now, table_of
from patchebm.station.database.history import OutboxMessage, Output
from patchebm.station.notices import MESSAGES, notify

INSPECTION, REVIEW, PART = "inspection", "review", "part"
# Messages among which the last triggered part is looked for.
RECENT = 100
# Messages of an output that is deleted which go at once: parts are stored in between.
AT_ONCE = 5000

# Of the table, not of the class, and made once: each batch of parts asks this.
_OUTPUTS = table_of(Output)
_ENABLED = select(_OUTPUTS.c.id, _OUTPUTS.c.product_id).where(_OUTPUTS.c.enabled)
# No output is deleted between this and the commit: PostgreSQL would refuse the messages, and their parts.
_ENABLED = _ENABLED.with_for_update(read=True, key_share=True)


def enqueue(
    session: Session, products: Sequence[int], bodies: Sequence[dict[str, Any]], kind: str = INSPECTION
) -> None:
    """Adds a message for each body and each output that it concerns.

    Args:
        session: open.
        products: `(N,)` the product of each body.
        bodies: `(N,)` what is sent; each has an `id`.
        kind: what they are.
    """
    outputs = session.execute(_ENABLED).all()
    time = now()
    rows: list[dict[str, Any]] = []
    for output_id, only in outputs:
        wanted = [
            body for product_id, body in zip(products, bodies, strict=True) if only in (None, product_id)
        ]
        numbered = [_is_part(kind, body) for body in wanted]
        last = _first_number(session, output_id, sum(numbered)) - 1 if any(numbered) else 0
        rows += [
            {
                "output_id": output_id,
                "key": f"{kind}-{body['id']}",
                "kind": kind,
                "body": body,
                "state": "pending",
                "created": time,
                "attempts": 0,
                "last_error": "",
                "number": last + sum(numbered[: place + 1]) if numbered[place] else 0,
            }
            for place, body in enumerate(wanted)
        ]
    if rows:
        session.execute(insert(OutboxMessage), rows)
        notify(session, MESSAGES)


def _is_part(kind: str, body: dict[str, Any]) -> bool:
    """Says whether a message is the verdict of a part: of one of its views it is not, nor is a review."""
    return kind == PART or (kind == INSPECTION and "/" not in body["source"])


def _first_number(session: Session, output_id: int, count: int) -> int:
    """Takes numbers for inspections of an output. Returns the first of them."""
    query = (
        update(Output)
        .where(Output.id == output_id)
        .values(numbered=Output.numbered + count)
        .returning(Output.numbered)
    )
    return session.execute(query).scalar_one() - count + 1


def last_triggered(session: Session, output: str) -> tuple[str, bool] | None:
    """Returns the last part that an output had triggered, of the newest that it was given.

    Args:
        session: open.
        output: its name; the keys of such parts begin with `output/`.

    Returns:
        The part's key, and whether its message is not sent yet; None if there is none.
    """
    query = (
        select(OutboxMessage.body, OutboxMessage.state)
        .join(Output, OutboxMessage.output_id == Output.id)
        .where(Output.name == output, OutboxMessage.number > 0)
        .order_by(OutboxMessage.id.desc())
        .limit(RECENT)
    )
    for body, state in session.execute(query):
        key = body.get("idempotency_key") or ""
        if key.startswith(f"{output}/"):
            return key, state != "sent"
    return None


def counts(session: Session) -> dict[int, dict[str, int]]:
    """Returns the number of messages that are not sent yet, by output and state."""
    query = (
        select(OutboxMessage.output_id, OutboxMessage.state, func.count())
        .where(OutboxMessage.state != "sent")
        .group_by(OutboxMessage.output_id, OutboxMessage.state)
    )
    found: dict[int, dict[str, int]] = {}
    for output_id, state, number in session.execute(query).all():
        found.setdefault(output_id, {})[state] = number
    return found


def forget_some(session: Session, output_id: int) -> tuple[int, int]:
    """Deletes messages of an output, sent or not, up to `AT_ONCE` of them.

    Returns:
        How many, and how many of them had not been sent.
    """
    some = select(OutboxMessage.id).where(OutboxMessage.output_id == output_id).limit(AT_ONCE)
    query = delete(OutboxMessage).where(OutboxMessage.id.in_(some)).returning(OutboxMessage.state)
    states = session.scalars(query, execution_options={"synchronize_session": False}).all()
    return len(states), len(states) - states.count("sent")


def forget_sent(session: Session, before: datetime) -> int:
    """Deletes messages that were sent before a time. Returns how many."""
    query = delete(OutboxMessage).where(OutboxMessage.state == "sent", OutboxMessage.sent < before)
    return int(session.execute(query).rowcount)  # type: ignore[attr-defined]
