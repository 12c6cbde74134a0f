"""A part of a configuration that comes in several kinds, each with keys of its own."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, ClassVar


class Targeted:
    """Base of configuration classes that name what they configure."""

    target: ClassVar[str] = ""
    """`module:name` of what is configured. It is imported by `load_target` alone, so that configurations are
    read without torch."""

    @classmethod
    def load_target(cls) -> Any:
        """Returns the class or function that `target` names."""
        module, name = cls.target.split(":")
        return getattr(importlib.import_module(module), name)


@dataclass
class Choice(Targeted):
    """Base of configuration classes between which the key `kind` chooses.

    A subclass sets the default of `kind` to its own short name, and `target` to the class that it configures.
    One outside this package has `module:Class`, the place where it stands itself, for its kind.
    """

    kind: str = ""
