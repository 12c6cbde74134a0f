"""This module holds the station's own errors; `web.problems` turns each into a status of HTTP."""

from __future__ import annotations

from patchebm.errors import PatchebmError


class NotFoundError(PatchebmError):
    """What was asked for does not exist."""


class ConflictError(PatchebmError):
    """What was asked for contradicts what is there already."""


class NotSignedInError(PatchebmError):
    """The request says not, or wrongly, who it is from."""


class ForbiddenError(PatchebmError):
    """Who asks may not do this."""


class TooManyError(PatchebmError):
    """A limit on logins, requests or waiting parts is reached.

    Args:
        message: one sentence.
        retry_after: seconds until it is worth another try.
    """

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TooLargeError(PatchebmError):
    """An upload is larger than the station takes."""


class UnavailableError(PatchebmError):
    """The station cannot do this now: it is stopping, has no model, or the disk or the database fails."""
