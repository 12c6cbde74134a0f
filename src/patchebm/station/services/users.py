"""This module keeps users and checks their passwords (Argon2id, RFC 9106)."""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.station.database.base import now
from patchebm.station.database.people import LoginSession, User
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.roles import USER_ROLES, Actor
from patchebm.station.services import audit, names

MIN_PASSWORD, MAX_PASSWORD = 10, 1024
# A check takes 64 MiB: one at a time keeps memory flat, and makes guessing slow.
_ONE_AT_A_TIME = threading.Lock()


def add(session: Session, actor: Actor, name: str, password: str, role: str) -> User:
    """Adds a user.

    Raises:
        ConfigError: the name, the password or the role cannot be used.
        ConflictError: there is a user of that name.
    """
    return add_hashed(session, actor, name, hash_password(password), role)


def add_hashed(session: Session, actor: Actor, name: str, hashed: str, role: str) -> User:
    """Adds a user, as `add` does, with what `hash_password` returned: that takes long."""
    name = names.person(name)
    require_user_role(role)
    if session.scalar(select(User.id).where(User.name == name)) is not None:
        raise ConflictError(f"there is a user '{name}' already; choose another name")
    user = User(name=name, password_hash=hashed, role=role, active=True, created=now())
    session.add(user)
    session.flush()
    audit.record(session, actor, "user.add", f"user:{name}", {"role": role})
    return user


def change(
    session: Session,
    actor: Actor,
    name: str,
    *,
    hashed: str | None = None,
    role: str | None = None,
    active: bool | None = None,
    language: str | None = None,
) -> User:
    """Changes what is given of a user; a new password, role or state ends the user's sessions.

    Args:
        session: open.
        actor: who changes it.
        name: of the user.
        hashed: what `hash_password` returned.
        role: operator, engineer or admin.
        active: whether the user may sign in.
        language: of pages; "" follows the browser.

    Raises:
        NotFoundError: there is no such user.
        ConfigError: the role cannot be used.
        ConflictError: it would leave the station without an admin.
    """
    user = get(session, name)
    before = {"role": user.role, "active": user.active}
    if role is not None:
        require_user_role(role)
        user.role = role
    if active is not None:
        user.active = active
    if language is not None:
        user.language = language or None
    if hashed is not None:
        user.password_hash = hashed
    session.flush()
    loses = before == {"role": "admin", "active": True} and (user.role != "admin" or not user.active)
    if loses and not admins(session):
        raise ConflictError(f"'{name}' is the only admin; make another user admin first")
    after = {"role": user.role, "active": user.active}
    if hashed is not None or before != after:
        for login in session.scalars(select(LoginSession).where(LoginSession.user_id == user.id)):
            session.delete(login)
        details = {"before": before, "after": after, "password": hashed is not None}
        audit.record(session, actor, "user.change", f"user:{name}", details)
    return user


def get(session: Session, name: str) -> User:
    """Returns a user. Raises NotFoundError if there is none of that name."""
    user = session.scalar(select(User).where(User.name == name))
    if user is None:
        raise NotFoundError(f"there is no user '{name:.64}'")
    return user


def find(session: Session, name: str) -> User | None:
    """Returns a user, or None; names are compared with their letters composed."""
    return session.scalar(select(User).where(User.name == unicodedata.normalize("NFC", name)))


def everyone(session: Session) -> Sequence[User]:
    """Returns all users by name."""
    return session.scalars(select(User).order_by(User.name)).all()


def admins(session: Session) -> int:
    """Returns the number of admins that may sign in."""
    query = select(func.count()).select_from(User).where(User.role == "admin", User.active)
    return session.scalar(query) or 0


def matching(user: User | None, password: str) -> bool:
    """Says whether a password is a user's; takes as long where there is no such user."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    stored = _nobody() if user is None or not user.active else user.password_hash
    with _ONE_AT_A_TIME:
        try:
            _hasher().verify(stored, password[:MAX_PASSWORD])
        except (Argon2Error, InvalidHashError):
            return False
    return user is not None and user.active


def hash_password(password: str) -> str:
    """Returns the hash of a password. Raises ConfigError if it is too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise ConfigError(f"the password has {len(password)} characters; use {MIN_PASSWORD} or more")
    with _ONE_AT_A_TIME:
        return str(_hasher().hash(password))


def require_user_role(role: str) -> None:
    """Raises ConfigError unless users can have a role."""
    if role not in USER_ROLES:
        raise ConfigError(f"role '{role:.40}' is none of {', '.join(USER_ROLES)}")


@cache
def _hasher() -> Any:
    from argon2 import PasswordHasher
    from argon2.profiles import RFC_9106_LOW_MEMORY

    return PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)


@cache
def _nobody() -> str:
    return str(_hasher().hash("nobody's password"))
