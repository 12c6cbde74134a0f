"""This module says who a request is from and what they may do, and opens the database for it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from patchebm.station.errors import ForbiddenError, NotSignedInError
from patchebm.station.roles import Actor, Role
from patchebm.station.services import logins
from patchebm.station.station import Station

COOKIE = "patchebm_station"
CSRF_HEADER, CSRF_FIELD = "X-CSRF-Token", "csrf_token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

_bearer = HTTPBearer(auto_error=False, description="A token of `patchebm station token add`.")
_cookie = APIKeyCookie(name=COOKIE, auto_error=False, description="A browser that has signed in.")


# Dependencies that do not wait are coroutines: FastAPI hands all others over to a thread each.


async def station_of(request: Request) -> Station:
    """Returns the station that a request is for."""
    station: Station = request.app.state.station
    return station


TheStation = Annotated[Station, Depends(station_of)]


def database_session(request: Request, station: TheStation) -> Iterator[Session]:
    """Yields a session that is committed before the answer goes out, and rolled back after an exception."""
    with station.session(write=request.method not in SAFE_METHODS) as session:
        yield session


# The scope: by default FastAPI would commit after the answer, which then could not say that it failed.
DatabaseSession = Annotated[Session, Depends(database_session, scope="function")]


def remote_of(request: Request) -> str:
    """Returns the address that a request came from."""
    return request.client.host if request.client is not None else ""


async def actor_of(
    request: Request,
    station: TheStation,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    cookie: Annotated[str | None, Depends(_cookie)],
) -> Actor:
    """Returns who a request is from.

    Raises:
        NotSignedInError: it does not say, or what it says is worth nothing (any more).
    """
    remote = remote_of(request)
    if bearer is not None:
        secret = bearer.credentials
        owner = station.tokens.known(secret) or await run_in_threadpool(station.tokens.find, secret)
        if owner is None:
            raise NotSignedInError("this token is unknown or revoked; ask an admin for another")
        return Actor(f"token:{owner.name}", owner.role, remote)
    if cookie is None:
        raise NotSignedInError("sign in, or send a token: Authorization: Bearer TOKEN")
    actor = await run_in_threadpool(_signed_in, station, cookie, remote)
    if actor is None:
        raise NotSignedInError("this session has ended; sign in again")
    return actor


def _signed_in(station: Station, cookie: str, remote: str) -> Actor | None:
    with station.session() as session:
        actor = logins.find(session, cookie, remote, station.settings.idle_hours)
        stale = actor is not None and logins.is_stale(session, cookie)
    if stale:
        with station.session(write=True) as session:
            logins.touch(session, cookie)
    return actor


async def checked_actor(request: Request, actor: Annotated[Actor, Depends(actor_of)]) -> Actor:
    """Returns who a request is from, once it is known that a page of this station made it.

    Raises:
        ForbiddenError: a browser sent it, and no page of this station did.
    """
    if not actor.csrf_token or request.method in SAFE_METHODS:
        return actor
    require_same_origin(request)
    sent = request.headers.get(CSRF_HEADER)
    if sent is None and "form" in request.headers.get("content-type", ""):
        value = (await request.form()).get(CSRF_FIELD)
        sent = value if isinstance(value, str) else None
    if sent is None or not hmac.compare_digest(sent.encode(), actor.csrf_token.encode()):
        raise ForbiddenError("this form has expired; load the page again and repeat")
    return actor


def require_same_origin(request: Request) -> None:
    """Raises ForbiddenError if a browser says that another site's page sent a request."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    foreign = site not in (None, "same-origin", "none")
    if origin is not None and site is None:
        foreign = origin.partition("://")[2] != request.headers.get("host", "")
    if foreign:
        raise ForbiddenError("this request came from another site's page; sign in and repeat it here")


def at_least(role: Role) -> Callable[[Actor], Awaitable[Actor]]:
    """Returns a dependency that hands over who asks, if they have a role or a higher one."""

    async def check(actor: Annotated[Actor, Depends(checked_actor)]) -> Actor:
        if actor.role < role:
            raise ForbiddenError(f"this needs the role {role.word}, and {actor.name} is {actor.role.word}")
        return actor

    # For the table of routes and roles that the tests hold the program to.
    check.role = role  # type: ignore[attr-defined]
    return check


Line = Annotated[Actor, Depends(at_least(Role.LINE))]
Operator = Annotated[Actor, Depends(at_least(Role.OPERATOR))]
Engineer = Annotated[Actor, Depends(at_least(Role.ENGINEER))]
Admin = Annotated[Actor, Depends(at_least(Role.ADMIN))]
