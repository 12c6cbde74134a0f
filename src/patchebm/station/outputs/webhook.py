"""This module posts messages to a web address, signed as standardwebhooks.com says (version 1)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from typing import Any

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError
from patchebm.line.poster import Poster
from patchebm.station.outputs.base import Failure, Line, Message

# How Standard Webhooks writes a secret for HMAC.
SECRET_PREFIX = "whsec_"
_KEYS = ("url", "secret", "timeout")


class WebhookSender:
    """This class posts each message as JSON: `{"type": ..., "data": ...}`.

    `webhook-id` is the message's key, `webhook-signature` is `v1,` and the base64 of the HMAC-SHA256 of
    `id.timestamp.body` under the secret. `Idempotency-Key` repeats the id, as `patchebm watch` sends it.

    Args:
        settings: `url`, `secret` (`whsec_` and base64) and `timeout` in seconds.

    Raises:
        ConfigError: a setting is missing, unknown or cannot be.
    """

    longest_pause = 60.0

    def __init__(self, settings: dict[str, Any]) -> None:
        for key in settings:
            if key not in _KEYS:
                raise ConfigError(f"a webhook has no setting '{key:.40}'{nearest(key, _KEYS)}")
        url, timeout = settings.get("url"), settings.get("timeout", 10.0)
        if not isinstance(url, str):
            raise ConfigError("a webhook needs url, an address such as https://host/path")
        if not isinstance(timeout, int | float) or isinstance(timeout, bool) or not 0 < timeout <= 300:
            raise ConfigError("timeout of a webhook must be between 0 and 300 seconds")
        self._poster = Poster(url, "url", float(timeout))
        self._secret = _secret_bytes(settings.get("secret"))

    def start(self, line: Line, name: str) -> None:
        """Does nothing: each message has a connection of its own."""

    def send(self, message: Message) -> Failure | None:
        """Sends a message once. Returns None if it has arrived."""
        body = json.dumps({"type": message.kind, "data": message.body}, allow_nan=False).encode()
        sent = str(int(time.time()))
        headers = {
            "webhook-id": message.key,
            "webhook-timestamp": sent,
            "webhook-signature": signature(self._secret, message.key, sent, body),
            "Idempotency-Key": message.key,
        }
        problem = self._poster.post(body, headers)
        return None if problem is None else Failure(f"{self._poster.host} {problem}", problem.answered)

    def close(self) -> None:
        """Does nothing: no connection stays open."""

    def check(self) -> str | None:
        """Connects to the host, and sends nothing. Returns what is wrong, or None; see `Sender.check`."""
        return self._poster.check()

    @property
    def state(self) -> str:
        """Returns "": what is wrong is known where a message is sent."""
        return ""

    @property
    def shown(self) -> dict[str, Any]:
        """Returns its host: paths hold secrets, too."""
        return {"host": self._poster.host}


def new_secret() -> str:
    """Returns a fresh secret, as settings hold it."""
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def signature(secret: bytes, key: str, timestamp: str, body: bytes) -> str:
    """Returns the header `webhook-signature` of a message."""
    signed = b".".join([key.encode(), timestamp.encode(), body])
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


def _secret_bytes(secret: Any) -> bytes:
    try:
        if not isinstance(secret, str) or not secret.startswith(SECRET_PREFIX):
            raise ValueError
        found = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        if len(found) < 24:
            raise ValueError
    except ValueError as error:
        raise ConfigError(
            "secret of a webhook must be whsec_ and the base64 of at least 24 random bytes; leave it out to "
            "get one"
        ) from error
    return found
