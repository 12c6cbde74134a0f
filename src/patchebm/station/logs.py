"""This module writes logs as lines of JSON, for machines, or as plain lines, for people."""

from __future__ import annotations

import json
import logging
import sys
from datetime import datetime, timezone

_OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """This class makes one JSON object of a record; what callers put into `extra` becomes keys of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line."""
        facts: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        facts |= {key: value for key, value in record.__dict__.items() if key not in _OWN}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, default=str)


class PlainLines(logging.Formatter):
    """This class makes lines whose characters cannot move a terminal's cursor."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the line, and those of an exception."""
        text = super().format(record)
        return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def set_up(kind: str) -> None:
    """Sends all logs to standard error.

    Args:
        kind: `json`, or `plain`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if kind == "json" else PlainLines("%(asctime)s %(levelname)s %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    # Each migration step and each request would be a line; requests are logged by `web.requests`.
    for name in ("alembic", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Each attempt to reach a PLC that is away would be lines; outputs say themselves what fails.
    for name in ("pymodbus", "snap7", "asyncua"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
