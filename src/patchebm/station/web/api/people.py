"""This module keeps users and tokens, and shows what people did."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query

from patchebm.station.database import tables
from patchebm.station.services import audit, options, tokens, users
from patchebm.station.web.api import PROBLEMS, schemas
from patchebm.station.web.dependencies import Admin, DatabaseSession, Operator, TheStation

router = APIRouter(tags=["people"], responses=PROBLEMS)

Name = Annotated[str, Path(max_length=64)]


@router.get("/users")
def all_users(session: DatabaseSession, actor: Admin) -> list[schemas.User]:
    """Returns all users by name."""
    return [_user(row) for row in users.everyone(session)]


@router.post("/users", status_code=201)
def add_user(station: TheStation, actor: Admin, body: schemas.NewUser) -> schemas.User:
    """Adds a user."""
    # Hashing takes long, and happens outside of a transaction.
    hashed = users.hash_password(body.password)
    with station.session(write=True) as session:
        return _user(users.add_hashed(session, actor, body.name, hashed, body.role))


@router.patch("/users/{user}")
def change_user(station: TheStation, actor: Admin, user: Name, body: schemas.UserChange) -> schemas.User:
    """Changes a user's password or role, or takes the user away; the user's sessions end."""
    hashed = None if body.password is None else users.hash_password(body.password)
    with station.session(write=True) as session:
        changed = users.change(session, actor, user, hashed=hashed, role=body.role, active=body.active)
        return _user(changed)


@router.get("/tokens")
def all_tokens(session: DatabaseSession, actor: Admin) -> list[schemas.Token]:
    """Returns all tokens by name, without their secrets."""
    return [_token(row) for row in tokens.everything(session)]


@router.post("/tokens", status_code=201)
def add_token(session: DatabaseSession, actor: Admin, body: schemas.NewToken) -> schemas.TokenAdded:
    """Adds a token; it is shown this once."""
    secret = tokens.add(session, actor, body.name, body.role)
    return schemas.TokenAdded(name=body.name, role=body.role, token=secret)


@router.delete("/tokens/{token}", status_code=204)
def revoke_token(session: DatabaseSession, actor: Admin, token: Name) -> None:
    """Makes a token worthless."""
    tokens.revoke(session, actor, token)


@router.get("/audit")
def audit_log(
    session: DatabaseSession,
    actor: Admin,
    action: Annotated[str | None, Query(max_length=64, description="Start of the action.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
    cursor: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
) -> schemas.AuditPage:
    """Returns what was done, newest first."""
    found = audit.entries(session, action=action, before=cursor, limit=limit + 1)
    more = len(found) > limit
    items = [
        schemas.AuditEntry(
            id=row.id,
            time=row.time,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            details=row.details,
            remote=row.remote,
        )
        for row in found[:limit]
    ]
    return schemas.AuditPage(items=items, next=items[-1].id if more else None)


@router.get("/options")
def read_options(session: DatabaseSession, actor: Operator) -> dict[str, Any]:
    """Returns the options."""
    return asdict(options.read(session))


@router.patch("/options")
def change_options(session: DatabaseSession, actor: Admin, body: schemas.Options) -> dict[str, Any]:
    """Changes some options."""
    return asdict(options.change(session, actor, body.model_extra or {}))


def _user(row: tables.User) -> schemas.User:
    return schemas.User(
        name=row.name, role=row.role, active=row.active, language=row.language, created=row.created
    )


def _token(row: tables.ApiToken) -> schemas.Token:
    return schemas.Token(
        name=row.name,
        role=row.role,
        created=row.created,
        created_by=row.created_by,
        last_used=row.last_used,
        revoked=row.revoked,
    )
