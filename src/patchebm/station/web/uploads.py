"""This module writes the files of a form to disk as they come, so that none is held in memory."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request, Response
from fastapi.routing import APIRoute
from python_multipart.exceptions import ParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile

from patchebm.errors import PatchebmError
from patchebm.station.web.bodies import SMALL

# Files of a form, at most.
MOST_FILES = 20_000
# Bytes of the headers of a field, at most.
_MOST_HEADER = 8_192


@dataclass(frozen=True)
class Upload:
    """This class is a file that came in a form.

    Attributes:
        field: name of the field.
        name: that the browser gives the file.
        path: where it lies, until the request is answered.
    """

    field: str
    name: str
    path: Path


class StreamedForm:
    """This class takes a multipart body in pieces, and writes its files into a folder.

    Args:
        boundary: of the body.
        folder: made when the first file comes.

    Attributes:
        fields: name and value of each field that is no file.
        uploads: the files; a browser that chose none sends one without a name, which is left out.
    """

    def __init__(self, boundary: bytes, folder: Path) -> None:
        self._folder = folder
        self.fields: list[tuple[str, str | UploadFile]] = []
        self.uploads: list[Upload] = []
        self._file: BinaryIO | None = None
        self._headers: dict[bytes, bytes] = {}
        self._key, self._value, self._text = bytearray(), bytearray(), bytearray()
        self._name, self._is_file, self._is_whole = "", False, False
        self._size = 0
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_begin,
                "on_header_field": lambda data, start, end: self._on_header(self._key, data[start:end]),
                "on_header_value": lambda data, start, end: self._on_header(self._value, data[start:end]),
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_part_data": lambda data, start, end: self._on_data(data[start:end]),
                "on_part_end": self._on_end,
                "on_end": self._on_whole,
            },
        )

    def write(self, piece: bytes) -> None:
        """Takes the next piece. Raises PatchebmError if it is no form, is too large, or there is no room."""
        try:
            self._parser.write(piece)
        except ParseError as error:
            raise PatchebmError("the form cannot be read; send it again") from error
        except OSError as error:
            raise PatchebmError(
                f"the files could not be written ({error.strerror or error}); free some space"
            ) from error

    def close(self) -> None:
        """Ends the form. Raises PatchebmError if its end is missing."""
        self.abandon()
        if not self._is_whole:
            raise PatchebmError("the form ended too early; send it again")

    def abandon(self) -> None:
        """Closes the file that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _on_begin(self) -> None:
        self._headers = {}

    def _on_header(self, text: bytearray, piece: bytes) -> None:
        text += piece
        if len(text) > _MOST_HEADER:
            raise PatchebmError("the form has a field whose name is too long; send it again")

    def _on_header_end(self) -> None:
        self._headers[bytes(self._key).lower()] = bytes(self._value)
        self._key, self._value = bytearray(), bytearray()

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._name = options.get(b"name", b"").decode(errors="replace")
        self._is_file = b"filename" in options
        self._text = bytearray()
        file_name = options.get(b"filename", b"").decode(errors="replace")
        if not file_name:
            return
        if len(self.uploads) == MOST_FILES:
            raise PatchebmError(f"the form has more than {MOST_FILES} files; send fewer")
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{len(self.uploads):05d}"
        self._file = path.open("xb")
        self.uploads.append(Upload(self._name, file_name, path))

    def _on_data(self, piece: bytes) -> None:
        if self._file is not None:
            self._file.write(piece)
        elif not self._is_file:
            self._size += len(piece)
            if self._size > SMALL:
                raise PatchebmError("the form has fields that are too long; send less")
            self._text += piece

    def _on_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        elif not self._is_file:
            self.fields.append((self._name, self._text.decode(errors="replace")))

    def _on_whole(self) -> None:
        self._is_whole = True


class StreamedRequest(Request):
    """This class is a request whose form holds the fields alone; its files lie on disk until `clean`."""

    uploads: list[Upload]

    def __init__(self, scope: Any, receive: Any) -> None:
        super().__init__(scope, receive)
        self.uploads = []
        # Beside the trainings: those who take the files move them.
        self._folder: Path = scope["app"].state.station.storage.uploads() / str(uuid.uuid4())
        self._fields: FormData | None = None

    async def form(self, **limits: Any) -> FormData:  # type: ignore[override]
        """Returns the fields. Raises PatchebmError if the form cannot be read."""
        if self._fields is None:
            kind, options = parse_options_header(self.headers.get("content-type"))
            if kind != b"multipart/form-data":
                self._fields = await super().form(**limits)
                return self._fields
            if not options.get(b"boundary"):
                raise PatchebmError("the form does not say where its fields end; send it again")
            form = StreamedForm(options[b"boundary"], self._folder)
            try:
                async for piece in self.stream():
                    # The disk may be slow: the others go on meanwhile.
                    await run_in_threadpool(form.write, piece)
                form.close()
            finally:
                form.abandon()
            self._fields, self.uploads = FormData(form.fields), form.uploads
        return self._fields

    def clean(self) -> None:
        """Deletes the files that nobody has taken."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder)


class StreamedRoute(APIRoute):
    """This class is a route whose requests are `StreamedRequest`s."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Returns what answers."""
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            streamed = StreamedRequest(request.scope, request.receive)
            try:
                return await answer(streamed)
            finally:
                await run_in_threadpool(streamed.clean)

        return handle
