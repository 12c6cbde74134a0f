"""This module holds the pages of users, tokens, options and the audit log, and each user's own."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from patchebm.errors import ConfigError
from patchebm.station.database.people import User
from patchebm.station.errors import ForbiddenError
from patchebm.station.i18n import LANGUAGES
from patchebm.station.roles import TOKEN_ROLES, USER_ROLES
from patchebm.station.services import audit, options, tokens, users
from patchebm.station.web.dependencies import Admin, DatabaseSession, Operator, TheStation
from patchebm.station.web.pages.rendering import page

router = APIRouter(include_in_schema=False)

AUDIT_PAGE = 100
Name = Annotated[str, Form(max_length=64)]
Password = Annotated[str, Form(max_length=users.MAX_PASSWORD)]


@router.get("/users")
def show(request: Request, session: DatabaseSession, actor: Admin) -> Response:
    """Returns users, tokens and options."""
    return _people(request, session, actor, secret="")


@router.post("/users")
def add_user(
    station: TheStation, actor: Admin, name: Name, password: Password, role: Annotated[str, Form()]
) -> Response:
    """Adds a user."""
    hashed = users.hash_password(password)
    with station.session(write=True) as session:
        users.add_hashed(session, actor, name, hashed, role)
    return RedirectResponse("/users", 303)


@router.post("/users/change")
def change_user(
    session: DatabaseSession,
    actor: Admin,
    name: Name,
    role: Annotated[str | None, Form()] = None,
    active: Annotated[bool | None, Form()] = None,
) -> Response:
    """Changes a user's role, or whether the user may sign in."""
    users.change(session, actor, name, role=role, active=active)
    return RedirectResponse("/users", 303)


@router.post("/tokens")
def add_token(
    request: Request, session: DatabaseSession, actor: Admin, name: Name, role: Annotated[str, Form()]
) -> Response:
    """Adds a token, and shows it this once."""
    secret = tokens.add(session, actor, name, role)
    return _people(request, session, actor, secret=secret)


@router.post("/tokens/revoke")
def revoke_token(session: DatabaseSession, actor: Admin, name: Name) -> Response:
    """Makes a token worthless."""
    tokens.revoke(session, actor, name)
    return RedirectResponse("/users", 303)


@router.post("/options")
async def change_options(request: Request, station: TheStation, actor: Admin) -> Response:
    """Changes options."""
    form = await request.form()
    before = asdict(options.Options())
    changes: dict[str, Any] = {}
    for key, default in before.items():
        if isinstance(default, bool):
            changes[key] = key in form
        elif key in form:
            text = str(form[key]).strip()
            try:
                changes[key] = float(text) if isinstance(default, float) else text
            except ValueError as error:
                raise ConfigError(f"option {key} is '{text:.20}'; give a number") from error
    with station.session(write=True) as session:
        options.change(session, actor, changes)
    return RedirectResponse("/users", 303)


@router.get("/account")
def account(request: Request, actor: Operator) -> Response:
    """Returns the user's own page."""
    return page(request, "account.html", actor)


@router.post("/account/language")
def language(session: DatabaseSession, actor: Operator, language: Annotated[str, Form()] = "") -> Response:
    """Chooses the language of the pages; "" follows the browser."""
    if language and language not in LANGUAGES:
        raise ConfigError(f"language '{language:.10}' is none of {', '.join(LANGUAGES)}")
    session.get_one(User, _user_id(actor)).language = language or None
    return RedirectResponse("/account", 303)


@router.post("/account/password")
def password(station: TheStation, actor: Operator, old: Password, new: Password) -> Response:
    """Changes the user's own password; all of the user's sessions end."""
    with station.session() as session:
        user = session.get_one(User, _user_id(actor))
    if not users.matching(user, old):
        raise ForbiddenError("the old password is wrong; try again")
    hashed = users.hash_password(new)
    with station.session(write=True) as session:
        users.change(session, actor, user.name, hashed=hashed)
    return RedirectResponse("/login", 303)


@router.get("/audit")
def log(
    request: Request, session: DatabaseSession, actor: Admin, action: str = "", before: int | None = None
) -> Response:
    """Returns the audit log, newest first."""
    found = audit.entries(session, action=action, before=before, limit=AUDIT_PAGE)
    following = found[-1].id if len(found) == AUDIT_PAGE else None
    return page(request, "audit.html", actor, entries=found, action=action, following=following)


def _people(request: Request, session: Any, actor: Any, *, secret: str) -> Response:
    return page(
        request,
        "users.html",
        actor,
        users=users.everyone(session),
        tokens=tokens.everything(session),
        options=asdict(options.read(session)),
        user_roles=USER_ROLES,
        token_roles=TOKEN_ROLES,
        secret=secret,
    )


def _user_id(actor: Any) -> int:
    if actor.user_id is None:
        raise ConfigError("a token has no account; sign in as a user")
    return int(actor.user_id)
