"""Which kinds there are of a part of a configuration, in this package and outside it."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from patchebm.config import features, pixels, training
from patchebm.config.choice import Choice
from patchebm.config.nearest import nearest
from patchebm.errors import ConfigError

_MODULES = (features, pixels, training)


def known_kinds(family: type[Choice]) -> dict[str, type[Choice]]:
    """Returns the classes of this package between which `kind` chooses, by their kind."""
    classes = [value for module in _MODULES for value in vars(module).values() if inspect.isclass(value)]
    return {c.kind: c for c in classes if issubclass(c, family) and c.kind}


def find_kind(family: type[Choice], kind: Any, key: str) -> type[Choice]:
    """Returns the class of a kind.

    Args:
        family: the base class that the configuration declares.
        kind: the name of a known kind; or `module:Class`, and then the module is imported, so that only
            configurations from people who may run code on this machine should be read.
        key: for messages, where the kind stands.

    Raises:
        ConfigError: there is no such kind, or the class does not belong to the family.
    """
    kinds = known_kinds(family)
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    if not isinstance(kind, str) or ":" not in kind:
        near = nearest(kind, kinds) if isinstance(kind, str) else ""
        raise ConfigError(
            f"{key} is {kind!r}{near}; it must be one of {', '.join(kinds)}, or module:Class for a class of "
            "your own"
        )
    module, name = kind.split(":", 1)
    try:
        found = getattr(importlib.import_module(module), name)
    # Whatever the module does while it is imported.
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ConfigError(
            f"{key} is {kind!r}, which cannot be imported ({reason}); "
            "install its package or put its folder on PYTHONPATH"
        ) from error
    if not (inspect.isclass(found) and issubclass(found, family)):
        raise ConfigError(f"{key} is {kind!r}, which is no subclass of {family.__module__}:{family.__name__}")
    if found.kind != kind:
        raise ConfigError(
            f"{key} is {kind!r}, and the default of {name}.kind is '{found.kind}'; make them equal"
        )
    return found
