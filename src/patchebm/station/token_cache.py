"""This module remembers who tokens are of, so that most requests read no database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from sqlalchemy.orm import Session

from patchebm.station.roles import Role, role_of
from patchebm.station.services import tokens

# Seconds after which the database is asked again. A token that is revoked by this station, as all are, is
# forgotten at once; this is for hands in the database.
RECHECK = 2.0


class Owner(NamedTuple):
    """This class says who a token is of: its name, and its role."""

    name: str
    role: Role


class TokenCache:
    """This class finds the owners of tokens; threads may share it. It keeps hashes, never a secret.

    Args:
        open_session: opens the database for reading.
    """

    def __init__(self, open_session: Callable[[], AbstractContextManager[Session]]) -> None:
        self._open_session = open_session
        self._lock = threading.Lock()
        # By hash: the owner, and when the database said so. As many as there are valid tokens, at most.
        self._known: dict[str, tuple[Owner, float]] = {}

    def known(self, secret: str) -> Owner | None:
        """Returns the owner of a token that was asked for a short while ago; it reads no database."""
        owner, since = self._known.get(tokens.hash_of(secret), (None, 0.0))
        return owner if time.monotonic() - since < RECHECK else None

    def find(self, secret: str) -> Owner | None:
        """Returns the owner of a token, asking the database; None if it is unknown or was revoked."""
        now, known = time.monotonic(), self._known
        with self._open_session() as session:
            token = tokens.find(session, secret)
            if token is None:
                return None
            owner = Owner(token.name, role_of(token.role))
        # Where all was forgotten meanwhile, this goes into what nobody reads any more.
        with self._lock:
            known[tokens.hash_of(secret)] = (owner, now)
        return owner

    def forget(self) -> None:
        """Asks the database again for each token."""
        with self._lock:
            self._known = {}
