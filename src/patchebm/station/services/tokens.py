"""This module keeps the tokens of the REST interface; their secrets are shown once and stored as hashes."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from patchebm.errors import ConfigError
from patchebm.station.database.base import now
from patchebm.station.database.people import ApiToken
from patchebm.station.errors import ConflictError, NotFoundError
from patchebm.station.notices import TOKENS, notify
from patchebm.station.roles import TOKEN_ROLES, Actor
from patchebm.station.services import audit, names

# So that scanners for leaked secrets know one.
PREFIX = "patchebm_"


def add(session: Session, actor: Actor, name: str, role: str) -> str:
    """Adds a token and returns it; it cannot be had again.

    Raises:
        ConfigError: the name or the role cannot be used.
        ConflictError: there is a token of that name.
    """
    names.slug(name, "token")
    if role not in TOKEN_ROLES:
        raise ConfigError(f"role '{role:.40}' is none of {', '.join(TOKEN_ROLES)}")
    if session.scalar(select(ApiToken.id).where(ApiToken.name == name)) is not None:
        raise ConflictError(f"there is or was a token '{name}'; choose another name")
    secret = PREFIX + secrets.token_urlsafe(32)
    session.add(ApiToken(name=name, hash=hash_of(secret), role=role, created=now(), created_by=actor.name))
    session.flush()
    audit.record(session, actor, "token.add", f"token:{name}", {"role": role})
    return secret


def revoke(session: Session, actor: Actor, name: str) -> None:
    """Makes a token worthless. Raises NotFoundError if there is none of that name."""
    token = session.scalar(select(ApiToken).where(ApiToken.name == name))
    if token is None:
        raise NotFoundError(f"there is no token '{name:.64}'")
    if token.revoked is None:
        token.revoked = now()
        notify(session, TOKENS)
        audit.record(session, actor, "token.revoke", f"token:{name}")


def find(session: Session, secret: str) -> ApiToken | None:
    """Returns the token that a secret is of, unless it was revoked."""
    token = session.scalar(select(ApiToken).where(ApiToken.hash == hash_of(secret)))
    return None if token is None or token.revoked is not None else token


def everything(session: Session) -> Sequence[ApiToken]:
    """Returns all tokens by name, revoked ones too."""
    return session.scalars(select(ApiToken).order_by(ApiToken.name)).all()


def hash_of(secret: str) -> str:
    """Returns the SHA-256 of a token in hexadecimal."""
    return hashlib.sha256(secret.encode()).hexdigest()
