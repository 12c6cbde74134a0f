"""This module turns errors into answers: problem details (RFC 9457) for programs, a page for browsers."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError, TimeoutError
from starlette.exceptions import HTTPException

from patchebm.errors import PatchebmError
from patchebm.station.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    NotSignedInError,
    TooLargeError,
    TooManyError,
    UnavailableError,
)
from patchebm.station.web.pages.rendering import error_page

_log = logging.getLogger(__name__)

_STATUS: list[tuple[type[PatchebmError], HTTPStatus]] = [
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (ConflictError, HTTPStatus.CONFLICT),
    (NotSignedInError, HTTPStatus.UNAUTHORIZED),
    (ForbiddenError, HTTPStatus.FORBIDDEN),
    (TooManyError, HTTPStatus.TOO_MANY_REQUESTS),
    (TooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnavailableError, HTTPStatus.SERVICE_UNAVAILABLE),
    # Whatever else a user can fix: an image, a bundle, a value.
    (PatchebmError, HTTPStatus.UNPROCESSABLE_ENTITY),
]


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """Returns problem details."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def add_handlers(app: FastAPI) -> None:
    """Makes an application answer errors so."""

    @app.exception_handler(PatchebmError)
    async def on_known(request: Request, error: PatchebmError) -> Response:
        status = next(status for kind, status in _STATUS if isinstance(error, kind))
        headers: dict[str, str] = {}
        if isinstance(error, TooManyError | UnavailableError):
            headers["Retry-After"] = str(math.ceil(getattr(error, "retry_after", 1.0)))
        if isinstance(error, NotSignedInError):
            headers["WWW-Authenticate"] = "Bearer"
        return _answer(request, status, str(error), headers)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return _answer(request, error.status_code, str(error.detail), dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "the body"
        return _answer(request, HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}", {})

    @app.exception_handler(OperationalError)
    @app.exception_handler(InterfaceError)
    @app.exception_handler(TimeoutError)
    async def on_database(request: Request, error: SQLAlchemyError) -> Response:
        _log.error("database failed: %s", getattr(error, "orig", error))
        detail = "the database does not answer or its disk is full; try again later"
        return _answer(request, HTTPStatus.SERVICE_UNAVAILABLE, detail, {"Retry-After": "2"})


def _answer(request: Request, status: int, detail: str, headers: dict[str, str]) -> Response:
    wants_page = "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/")
    if not wants_page:
        return problem(status, detail, headers)
    if status == HTTPStatus.UNAUTHORIZED and request.method == "GET":
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(here, safe='')}", HTTPStatus.SEE_OTHER)
    return error_page(request, status, detail, headers)
