"""This module reads the settings of a source, and says in one sentence which of them cannot be."""

from __future__ import annotations

import math
import re
from typing import Any

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError

_SECRET = re.compile(r"(?<=://)[^/@\s]*@")
# What is shown in place of name and password.
HIDDEN = "…@"


class Options:
    """This class takes the settings of a source one by one.

    Args:
        kind: of the source, for messages.
        settings: as they are stored.

    Attributes:
        kind: of the source.
    """

    def __init__(self, kind: str, settings: dict[str, Any]) -> None:
        self.kind = kind
        self._settings = settings
        self._known: list[str] = []

    def number(self, key: str, default: float, low: float = 0, high: float = math.inf) -> float:
        """Returns a number. Raises ConfigError if it is none, or outside `low` to `high`."""
        value = self.maybe(key, low, high)
        return default if value is None else value

    def maybe(self, key: str, low: float = 0, high: float = math.inf) -> float | None:
        """Returns a number, or None if it is left out. Raises as `number`."""
        value = self.get(key)
        if value is None:
            return None
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not right or not low <= value <= high:
            bounds = f"from {low:g} to {high:g}" if math.isfinite(high) else f"of at least {low:g}"
            raise ConfigError(f"{key} of a {self.kind} source must be a number {bounds}, not {value!r:.40}")
        return float(value)

    def word(self, key: str, default: str, choices: tuple[str, ...] = ()) -> str:
        """Returns a text. Raises ConfigError if it is none, or none of some choices."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > 500 or not value.isprintable():
            raise ConfigError(f"{key} of a {self.kind} source must be one line of text")
        if choices and value not in choices:
            raise ConfigError(f"{key} '{value:.40}' is none of {', '.join(choices)}{nearest(value, choices)}")
        return value

    def get(self, key: str) -> Any:
        """Returns what was given, or None."""
        self._known.append(key)
        return self._settings.get(key)

    def finish(self) -> None:
        """Raises ConfigError if a setting was given that nobody took."""
        for key in self._settings:
            if key not in self._known:
                raise ConfigError(
                    f"a {self.kind} source has no setting '{key:.40}'{nearest(key, self._known)}"
                )


def without_secrets(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns settings as pages, REST and the audit log show them: without passwords in addresses."""
    return {
        key: without_secrets(value)
        if isinstance(value, dict)
        else _SECRET.sub(HIDDEN, value)
        if isinstance(value, str)
        else value
        for key, value in settings.items()
    }
