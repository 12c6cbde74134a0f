"""This module writes and reads the audit log, to which the database only ever adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.station.database.base import now
from patchebm.station.database.people import AuditEntry
from patchebm.station.roles import Actor


def record(
    session: Session, actor: Actor, action: str, subject: str = "", details: dict[str, Any] | None = None
) -> None:
    """Adds an entry, in the transaction of what it tells of.

    Args:
        session: open.
        actor: who did it.
        action: for instance `model.activate`.
        subject: what it was done to, for instance `product:flange`.
        details: facts; never a secret.
    """
    session.add(
        AuditEntry(
            time=now(),
            actor=actor.name,
            action=action,
            subject=subject[:160],
            details=details or {},
            remote=actor.remote[:64],
        )
    )
    session.flush()


def entries(
    session: Session, *, action: str | None = None, before: int | None = None, limit: int = 100
) -> Sequence[AuditEntry]:
    """Returns entries, newest first.

    Args:
        session: open.
        action: only those whose action starts so.
        before: only those with a smaller id: the next page.
        limit: how many at most.
    """
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if action:
        query = query.where(AuditEntry.action.startswith(action, autoescape=True))
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return session.scalars(query).all()
