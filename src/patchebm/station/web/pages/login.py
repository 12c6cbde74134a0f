"""This module lets people sign in and out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Cookie, Form, Request
from fastapi.responses import RedirectResponse, Response

from patchebm.station.errors import TooManyError
from patchebm.station.services import logins, users
from patchebm.station.web.dependencies import (
    COOKIE,
    DatabaseSession,
    Operator,
    TheStation,
    remote_of,
    require_same_origin,
)
from patchebm.station.web.pages.rendering import page, translator

router = APIRouter(include_in_schema=False)


@router.get("/login")
def login_form(request: Request, next: str = "/") -> Response:
    """Returns the form."""
    return page(request, "login.html", None, next=_own(next), message="")


@router.post("/login")
def login(
    request: Request,
    station: TheStation,
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=users.MAX_PASSWORD)],
    next: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Signs in, and goes on to the page that was asked for."""
    require_same_origin(request)
    remote = remote_of(request)
    keys = (("name", name), ("address", remote))
    if wait := max(station.failed_logins.wait(key) for key in keys):
        raise TooManyError(f"too many failed logins; try again in {wait:.0f} s", wait)
    with station.session() as session:
        user = users.find(session, name)
    # Outside of a transaction: a check takes long, and a writer would keep all others waiting.
    if user is None or not users.matching(user, password):
        if user is None:
            users.matching(None, password)
        for key in keys:
            station.failed_logins.take(key)
        with station.session(write=True) as session:
            logins.note_failure(session, name, remote)
        _ = translator(request, None)
        message = _("The name or the password is wrong.")
        return page(
            request, "login.html", None, status=HTTPStatus.FORBIDDEN, next=_own(next), message=message
        )
    station.failed_logins.forget(keys[0])
    with station.session(write=True) as session:
        secret, _ = logins.sign_in(session, user, remote, station.settings.session_hours)
    answer = RedirectResponse(_own(next), HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        secret,
        max_age=int(station.settings.session_hours * 3600),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="lax",
    )
    return answer


@router.post("/logout")
def logout(
    session: DatabaseSession, actor: Operator, cookie: Annotated[str, Cookie(alias=COOKIE)] = ""
) -> Response:
    """Signs out."""
    logins.sign_out(session, actor, cookie)
    answer = RedirectResponse("/login", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(COOKIE)
    return answer


def _own(address: str) -> str:
    """Returns an address if it is a path of this station, else the first page: no link leads elsewhere."""
    plain = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if plain and "\\" not in address else "/"
