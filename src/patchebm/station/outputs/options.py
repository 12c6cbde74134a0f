"""This module reads the settings of an output, and says which one is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError


class Options:
    """This class reads settings.

    Args:
        kind: what messages call the output, such as `mqtt`.
        settings: as given.
        known: names of the settings that it has.

    Raises:
        ConfigError: a setting is unknown.
    """

    def __init__(self, kind: str, settings: dict[str, Any], known: Sequence[str]) -> None:
        self._kind = kind
        self._settings = settings
        for key in settings:
            if key not in known:
                raise ConfigError(f"{kind} has no setting '{key:.40}'{nearest(key, known)}")

    def text(self, key: str, default: str | None = None) -> str:
        """Returns a text. Raises ConfigError if it is missing or something else."""
        value = self._settings.get(key, default)
        if not isinstance(value, str) or len(value) > 1000 or not value.isprintable():
            raise ConfigError(f"{self._kind} needs {key}, a text")
        return value

    def host(self, key: str = "host", default: str | None = None) -> str:
        """Returns a host name or address. Raises ConfigError if it cannot be one."""
        value = self.text(key, default)
        if not value or any(c.isspace() or c in "/@" for c in value):
            raise ConfigError(f"{key} of {self._kind} must be a name or an address, such as 192.168.0.10")
        return value

    def whole(self, key: str, default: int, low: int, high: int) -> int:
        """Returns a whole number between bounds, which are included. Raises ConfigError for another."""
        value = self._settings.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigError(f"{key} of {self._kind} must be a whole number from {low} to {high}")
        return value

    def seconds(self, key: str, default: float, low: float, high: float) -> float:
        """Returns seconds between bounds, which are included. Raises ConfigError for others."""
        value = self._settings.get(key, default)
        right = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not right or not low <= value <= high:
            raise ConfigError(f"{key} of {self._kind} must be from {low:g} to {high:g} seconds")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """Returns true or false. Raises ConfigError for anything else."""
        value = self._settings.get(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{key} of {self._kind} must be true or false")
        return value

    def products(self) -> list[str]:
        """Returns the products that a PLC may choose from. Raises ConfigError if there is none."""
        value = self._settings.get("products")
        right = isinstance(value, list) and 0 < len(value) < 1000 and all(isinstance(x, str) for x in value)
        if not right or len(set(value or ())) != len(value or ()):
            raise ConfigError(f'{self._kind} needs products, a list of names such as ["flange"]')
        return list(value or ())
