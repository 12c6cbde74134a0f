"""This module posts JSON to a web address, once, and says in a few words why that did not work."""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from patchebm._version import __version__
from patchebm.errors import ConfigError


class Poster:
    """This class posts to one address.

    Args:
        url: of http or https. Redirects are not followed: they would turn the POST into a GET.
        what: what messages call the address, such as `--webhook`.
        timeout: seconds to wait for the receiver.

    Attributes:
        host: all that messages show of the address, for paths hold secrets.

    Raises:
        ConfigError: the address cannot be used.
    """

    def __init__(self, url: str, what: str, timeout: float = 10.0) -> None:
        self.host = check_url(url, what)
        self._url = url
        self._timeout = timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Problem | None:
        """Sends a body once. Returns None if it has arrived."""
        own = {"Content-Type": "application/json", "User-Agent": f"patchebm/{__version__}"}
        request = urllib.request.Request(self._url, data=body, method="POST", headers={**own, **headers})
        try:
            with self._opener.open(request, timeout=self._timeout):
                return None
        except urllib.error.HTTPError as error:
            error.close()
            return Problem(f"answers {error.code}", answered=True)
        except urllib.error.URLError as error:
            return Problem(f"cannot be reached ({error.reason})", answered=False)
        except (OSError, ValueError, http.client.HTTPException) as error:
            return Problem(f"does not answer properly ({error or type(error).__name__})", answered=False)

    def check(self) -> str | None:
        """Connects, and sends nothing. Returns what is wrong as a sentence, or None."""
        parts = urlsplit(self._url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            with socket.create_connection((parts.hostname or "", port), self._timeout):
                return None
        except OSError as error:
            return f"{self.host} cannot be reached ({error.strerror or error})"


class Problem:
    """This class says why a record has not arrived, and whether the receiver answered at all."""

    def __init__(self, sentence: str, *, answered: bool) -> None:
        self._sentence = sentence
        self.answered = answered

    def __str__(self) -> str:
        return self._sentence


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """This class makes a redirect an error."""

    def redirect_request(self, *_: Any) -> None:
        """Follows no redirect."""
        return


def check_url(url: str, what: str) -> str:
    """Returns the host of an address of http or https, with its port.

    Args:
        url: the address.
        what: what messages call it.

    Raises:
        ConfigError: the address cannot be used.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{what} is no web address ({error}); use https://host/path") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or " " in url:
        raise ConfigError(
            f"{what} must be an address of http or https in plain ASCII, such as https://host/path"
        )
    if parts.username is not None:
        raise ConfigError(f"{what} must not hold a user or password before the host; use a token in its path")
    return parts.hostname if port is None else f"{parts.hostname}:{port}"
