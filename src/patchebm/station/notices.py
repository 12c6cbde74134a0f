"""This module tells the running station what a transaction changed, once it is committed."""

from __future__ import annotations

from sqlalchemy.orm import Session

# The models, calibrations or products that inspect.
MODELS = "models"
# Tokens that were revoked.
TOKENS = "tokens"
# Outputs and their settings.
OUTPUTS = "outputs"
# Sources and their settings.
SOURCES = "sources"
# Messages in the outbox.
MESSAGES = "messages"

_KEY = "notices"


def notify(session: Session, what: str) -> None:
    """Notes that a transaction changed something; `Station.session` passes it on after the commit."""
    session.info.setdefault(_KEY, set()).add(what)


def noted(session: Session) -> frozenset[str]:
    """Returns what a transaction changed."""
    return frozenset(session.info.get(_KEY, ()))
