"""This module keeps the browsers that have signed in."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from patchebm.station.database.base import now
from patchebm.station.database.people import LoginSession, User
from patchebm.station.roles import Actor, Role, role_of
from patchebm.station.services import audit

# How stale `last_seen` may be: else every request would write.
_SEEN_EVERY = timedelta(minutes=1)


def sign_in(session: Session, user: User, remote: str, hours: float) -> tuple[str, LoginSession]:
    """Opens a session for a user whose password was right.

    Returns:
        What the cookie holds, and the session.
    """
    secret = secrets.token_urlsafe(32)
    time = now()
    session.execute(delete(LoginSession).where(LoginSession.expires < time))
    login = LoginSession(
        hash=_hash(secret),
        user_id=user.id,
        csrf_token=secrets.token_urlsafe(32),
        created=time,
        last_seen=time,
        expires=time + timedelta(hours=hours),
        remote=remote[:64],
    )
    session.add(login)
    session.flush()
    audit.record(session, Actor(f"user:{user.name}", Role.LINE, remote), "login")
    return secret, login


def note_failure(session: Session, name: str, remote: str) -> None:
    """Writes a failed login into the audit log."""
    shown = "".join(c for c in name[:64] if c.isprintable())
    audit.record(session, Actor(f"user:{shown}", Role.LINE, remote), "login.failed")


def find(session: Session, secret: str, remote: str, idle_hours: float) -> Actor | None:
    """Returns who a cookie is of; None if its session has ended or the user was taken away."""
    login = session.get(LoginSession, _hash(secret))
    time = now()
    if login is None or login.expires < time or login.last_seen < time - timedelta(hours=idle_hours):
        return None
    if not login.user.active:
        return None
    return Actor(
        name=f"user:{login.user.name}",
        role=role_of(login.user.role),
        remote=remote,
        csrf_token=login.csrf_token,
        language=login.user.language,
        user_id=login.user_id,
    )


def is_stale(session: Session, secret: str) -> bool:
    """Says whether it is time to note that a session is in use."""
    login = session.get(LoginSession, _hash(secret))
    return login is not None and login.last_seen < now() - _SEEN_EVERY


def touch(session: Session, secret: str) -> None:
    """Notes that a session is in use."""
    login = session.get(LoginSession, _hash(secret))
    if login is not None:
        login.last_seen = now()


def sign_out(session: Session, actor: Actor, secret: str) -> None:
    """Ends a session."""
    login = session.scalar(select(LoginSession).where(LoginSession.hash == _hash(secret)))
    if login is not None:
        session.delete(login)
        audit.record(session, actor, "logout")


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
