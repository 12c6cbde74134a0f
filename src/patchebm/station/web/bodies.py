"""This module reads bodies of requests, and refuses those that are larger than they may be."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from patchebm.errors import PatchebmError
from patchebm.station.errors import TooLargeError
from patchebm.station.settings import Settings
from patchebm.station.sources.joiner import MOST

MB = 1_000_000
# Of what is neither an image nor a bundle: forms and JSON.
SMALL = 1 * MB
# What multipart adds to a file.
_AROUND = 64_000
_TOO_LARGE = 413


class BodyLimit:
    """This class is a layer that ends requests whose bodies are too large, whatever they claim.

    Args:
        app: what answers.
        settings: of the station.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._image = int(settings.upload_mb * MB)
        self._bundle = int(settings.bundle_mb * MB)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        large = {
            "/models": self._bundle,
            "/inspections": self._image,
            "/parts": MOST * (self._image + _AROUND),
            "/trainings": self._bundle,
        }
        limit = next((most for end, most in large.items() if path.endswith(end)), SMALL) + _AROUND
        left = limit

        async def receive_some() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    raise HTTPException(_TOO_LARGE, _sentence(limit))
            return message

        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > limit:
                left = -1
                break
        await self._app(scope, receive_some, send)


async def read_file(request: Request, field: str, most_mb: float) -> bytes:
    """Returns the file in a request: the body itself, or a field of multipart.

    Args:
        request: whose body is read.
        field: name of the field.
        most_mb: largest file.

    Raises:
        TooLargeError: it is larger.
        PatchebmError: there is no such field, or no body.
    """
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            upload = form.get(field)
            if not isinstance(upload, UploadFile):
                raise PatchebmError(f"the form has no file in the field '{field}'; send one")
            content = await upload.read()
    else:
        content = await request.body()
    if not content:
        raise PatchebmError(f"the body is empty; send a file, or a form with the field '{field}'")
    if len(content) > most_mb * MB:
        raise TooLargeError(_sentence(int(most_mb * MB)))
    return content


async def read_images(request: Request, most_mb: float, most: int) -> dict[str, bytes]:
    """Returns the files of a multipart body, by the names of their fields.

    Args:
        request: whose body is read.
        most_mb: largest file.
        most: files, at most.

    Raises:
        TooLargeError: a file is larger.
        PatchebmError: it is no form, a field comes twice, or what it holds is no file.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise PatchebmError("the body must be a form (multipart/form-data) with an image in each field")
    found: dict[str, bytes] = {}
    async with request.form(max_files=most, max_fields=1) as form:
        for name, upload in form.multi_items():
            if not isinstance(upload, UploadFile) or name in found:
                raise PatchebmError(f"the field '{name:.64}' of the form must be one file")
            if (upload.size or 0) > most_mb * MB:
                raise TooLargeError(_sentence(int(most_mb * MB)))
            found[name] = await upload.read()
    return found


def _sentence(limit: int) -> str:
    return f"the body is larger than {limit / MB:g} MB; send less, or raise the limit in station.toml"
